"""Corruptions: what each does to an image that can be worked out, drawn from the position alone, undone by nothing."""

import numpy as np
import pytest
import torch

from eebench.data import from_arrays
from eebench.data.base import Split
from eebench.data.corruptions import HELD, KINDS, CorruptedImages, corrupt, corrupted_images

SEVERITIES = (1, 3, 5)


def pictures(size, channels=3, number=6):
    random = torch.Generator().manual_seed(1)
    coarse = torch.rand(number, channels, 4, 4, generator=random)
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear").clamp(0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 96])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_at_every_size(kind, size, channels):
    images = pictures(size, channels)
    far = []
    for severity in SEVERITIES:
        found = corrupt(images, kind, severity, range(6))
        assert found.shape == images.shape
        assert found.min() >= 0
        assert found.max() <= 1
        far.append(float((found - images).abs().mean()))
    assert far[0] > 0
    assert far[2] > far[0] or kind == "pixelate"  # whose coarse grid hits the fine one better or worse by chance


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_corrupted_as_its_position_says(kind):
    images = pictures(28)
    whole = corrupt(images, kind, 3, range(6))
    assert torch.equal(whole, corrupt(images, kind, 3, range(6)))
    torch.testing.assert_close(whole[4:], corrupt(images[4:], kind, 3, [4, 5]))
    noise = kind.endswith("noise")
    same = torch.stack([images[0], images[0]])
    one, other = corrupt(same, kind, 3, [0, 1])
    assert torch.equal(one, other) == (not noise)


def test_gaussian_noise_has_the_deviation_it_says():
    grey = torch.full((40, 1, 28, 28), 0.5)
    assert float((corrupt(grey, "gaussian_noise", 5, range(40)) - 0.5).std()) == pytest.approx(0.10, rel=0.03)


def test_shot_noise_is_poisson():
    grey = torch.full((40, 1, 28, 28), 0.5)
    found = corrupt(grey, "shot_noise", 5, range(40))
    assert float(found.mean()) == pytest.approx(0.5, abs=0.003)
    assert float(found.var()) == pytest.approx(0.5 / 50, rel=0.05)


def test_impulse_noise_hits_the_share_it_says():
    grey = torch.full((40, 1, 28, 28), 0.5)
    found = corrupt(grey, "impulse_noise", 5, range(40))
    assert float((found != 0.5).float().mean()) == pytest.approx(0.07, rel=0.1)
    assert set(found.unique().tolist()) == {0.0, 0.5, 1.0}


def test_brightness_raises_the_value_and_keeps_the_hue():
    pixel = torch.tensor([0.5, 0.25, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    found = corrupt(pixel, "brightness", 4, [0])[0, :, 0, 0]
    torch.testing.assert_close(found, torch.tensor([0.7, 0.35, 0.0]))
    black = corrupt(torch.zeros(1, 3, 8, 8), "brightness", 4, [0])
    torch.testing.assert_close(black, torch.full_like(black, 0.2))


def test_contrast_draws_towards_the_mean():
    image = torch.cat([torch.zeros(1, 1, 8, 4), torch.ones(1, 1, 8, 4)], -1)
    found = corrupt(image, "contrast", 2, [0])
    torch.testing.assert_close(found, 0.5 * image + 0.25)


def test_strengths_of_large_images_are_others():
    grey = torch.full((4, 1, 96, 96), 0.5)
    assert float((corrupt(grey, "gaussian_noise", 1, range(4)) - 0.5).std()) == pytest.approx(0.08, rel=0.05)


@pytest.fixture(scope="module", params=[1, 3])
def data(request):
    pixels = (pictures(12, request.param, 60) * 255).round().to(torch.uint8)
    targets = np.arange(60) % 3
    rows = {"train": slice(30), "val": slice(30, 45), "test": slice(45, 60)}
    return from_arrays("made", {name: (pixels[some], targets[some]) for name, some in rows.items()})


def test_inputs_are_the_data_sets_own_and_back(data):
    inputs = torch.stack([data.test.inputs[i] for i in range(len(data.test))])
    shares = data.preprocessing.shares(inputs)
    assert 0 <= shares.min() < shares.max() <= 1 + 1e-6
    torch.testing.assert_close(data.preprocessing.inputs(shares), inputs)
    held = corrupted_images(data.test, data.preprocessing, "shot_noise", 3)
    torch.testing.assert_close(
        data.preprocessing.shares(held.inputs), corrupt(shares, "shot_noise", 3, range(len(data.test)))
    )


def test_grey_in_three_channels_stays_grey(data):
    if data.preprocessing.colours != "L":
        pytest.skip("colour")
    three = data.normalised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert three.test.inputs[0].shape[0] == 3
    found = corrupted_images(three.test, three.preprocessing, "gaussian_noise", 5)
    mean, std = (torch.tensor(v)[:, None, None] for v in (three.preprocessing.mean, three.preprocessing.std))
    shown = found.inputs * std + mean
    torch.testing.assert_close(shown[:, 0], shown[:, 2], atol=1e-6, rtol=0)


def test_what_does_not_fit_in_memory_is_made_when_it_is_asked_for(data, monkeypatch):
    held = corrupted_images(data.test, data.preprocessing, "impulse_noise", 1)
    monkeypatch.setattr("eebench.data.corruptions.HELD", 1)
    lazy = corrupted_images(data.test, data.preprocessing, "impulse_noise", 1)
    assert isinstance(lazy.inputs, CorruptedImages)
    assert isinstance(lazy, Split)
    assert HELD > 1
    torch.testing.assert_close(lazy.inputs[7], held.inputs[7])
