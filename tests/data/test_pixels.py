"""Small images in memory: normalisation, augmentation as a function of (seed, epoch, index), and the digits."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from eebench import data
from eebench.data.base import batches
from eebench.data.pixels import Pixels, moments, pixel_data

DIGITS_SPLIT = "d4ea398318098f1e793b78596dc62020e0f0b91de8a2db30eabbb4175db2ee3f"


def noise(n=6, channels=3, side=8, seed=0):
    return torch.randint(
        0, 256, (n, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def test_moments_are_those_of_the_pixels():
    pixels = noise(20)
    mean, std = moments(pixels)
    torch.testing.assert_close(mean.flatten(), pixels.double().mean((0, 2, 3)).float())
    torch.testing.assert_close(std.flatten(), pixels.double().std((0, 2, 3), correction=0).float())
    assert moments(torch.full((2, 1, 4, 4), 7, dtype=torch.uint8))[1].item() == 1


def test_without_augmentation_an_image_is_normalised_and_no_more():
    pixels = noise()
    mean, std = moments(pixels)
    images = Pixels(pixels, mean, std)
    before = torch.stack(list(images))
    torch.testing.assert_close(before, (pixels.float() - mean) / std)
    images.set_epoch(3, 5)
    assert torch.equal(torch.stack(list(images)), before)


def test_augmentation_is_a_crop_of_the_padded_image_perhaps_mirrored():
    pixels = noise(n=40, side=16)
    zero, one = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    images = Pixels(pixels, zero, one, augment=True, flip=True)
    images.set_epoch(1, 2)
    seen = set()
    for i, image in enumerate(images):
        padded = F.pad(pixels[i], [2] * 4).float()
        crops = {
            (top, left, mirrored): padded[:, top : top + 16, left : left + 16].flip([-1] if mirrored else [])
            for top in range(5)
            for left in range(5)
            for mirrored in (False, True)
        }
        matches = [key for key, crop in crops.items() if torch.equal(crop, image)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) > 20
    assert {key[2] for key in seen} == {False, True}
    assert {key[0] for key in seen} == {key[1] for key in seen} == set(range(5))


def test_digits_like_sets_are_never_mirrored():
    pixels = torch.arange(8, dtype=torch.uint8).add(1).expand(50, 1, 8, 8)  # every row rises from left to right
    images = Pixels(pixels, torch.zeros(1, 1, 1), torch.ones(1, 1, 1), augment=True, flip=False)
    for image in images:
        inside = image[0][(image[0] > 0).any(1)][0]
        inside = inside[inside > 0]
        assert (inside.diff() > 0).all()


def test_an_item_is_a_function_of_seed_epoch_and_index():
    def items(seed, epoch, order):
        images = Pixels(noise(30, side=16), *moments(noise(30, side=16)), augment=True, flip=True)
        images.set_epoch(seed, epoch)
        found = {i: images[i] for i in order}
        return torch.stack([found[i] for i in range(30)])

    first = items(0, 4, range(30))
    assert torch.equal(first, items(0, 4, reversed(range(30))))
    assert not torch.equal(first, items(0, 5, range(30)))
    assert not torch.equal(first, items(1, 4, range(30)))


def test_resizing_is_bicubic_and_shows_grey_in_three_channels():
    pixels = noise(2, channels=1)
    mean, std = moments(pixels)
    image = Pixels(pixels, mean, std, size=20, channels=3)[1]
    assert image.shape == (3, 20, 20)
    assert torch.equal(image[0], image[2])
    oracle = F.interpolate(pixels[1:2].float(), (20, 20), mode="bicubic", antialias=True)[0]
    torch.testing.assert_close(image[:1], (oracle - mean) / std)


def test_a_data_set_is_normalised_by_its_training_pixels_alone():
    dark, bright = noise(60) // 8, noise(20) // 2 + 120
    targets = np.arange(60) % 3
    sources = {"train": (dark, targets), "test": (bright, np.arange(20) % 3)}
    found = pixel_data("x", sources, ["a", "b", "c"], image_size=None, augment=True, flip=False)
    train = torch.stack(
        [
            (found.train.inputs.pixels[i].float() - found.train.inputs.mean) / found.train.inputs.std
            for i in range(len(found.train))
        ]
    )
    torch.testing.assert_close(train.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert torch.stack(list(found.test.inputs)).mean() > 2
    assert found.augments
    assert not found.val.inputs.augment
    assert not found.test.inputs.augment


def test_digits_are_scikit_learns_normalised_and_split_for_good():
    found = data.load("digits")
    assert (found.image_size, found.patch_size, found.channels, found.augments) == (8, 2, 1, False)
    assert [len(s) for s in (found.train, found.val, found.test)] == [1200, 236, 361]
    assert found.split_hash == DIGITS_SPLIT
    assert found.task.classes == 10
    assert found.task.metric == "accuracy"

    bunch = load_digits()
    values = torch.cat([torch.stack(list(s.inputs)) for s in (found.train, found.val, found.test)])
    targets = np.concatenate([s.targets for s in (found.train, found.val, found.test)])
    mean, std = found.train.inputs.mean / 16, found.train.inputs.std / 16
    pixels = ((values * std + mean) * 16).round().squeeze(1).long().numpy()
    ours = sorted((image.tobytes(), int(t)) for image, t in zip(pixels, targets, strict=True))
    theirs = sorted(
        (image.astype(np.int64).tobytes(), int(t)) for image, t in zip(bunch.images, bunch.target, strict=True)
    )
    assert ours == theirs
    whole = np.bincount(bunch.target)
    for split, share in ((found.train, 1200 / 1797), (found.val, 237 / 1797), (found.test, 360 / 1797)):
        assert np.abs(np.bincount(split.targets) - share * whole).max() <= 1


def test_digits_go_through_batches():
    found = data.load("digits")
    batch = next(batches(found.test, torch.stack, 7))
    assert batch.inputs.shape == (7, 1, 8, 8)
    assert batch.inputs.dtype == torch.float32
    assert batch.targets.dtype == torch.int64


def test_at_another_size_digits_are_fed_as_a_pre_trained_model_expects():
    found = data.load("digits", image_size=32)
    assert (found.image_size, found.patch_size, found.channels) == (32, None, 3)
    assert found.test.inputs[0].shape == (3, 32, 32)
    assert found.split_hash == DIGITS_SPLIT
    assert data.load("digits", image_size=8).patch_size == 2


@pytest.mark.parametrize("index", [6, -7])
def test_the_end_is_an_index_error(index):
    with pytest.raises(IndexError):
        Pixels(noise(), *moments(noise()), augment=True)[index]


@pytest.mark.parametrize("settings", [{}, {"channels": 3}, {"size": 12}, {"augment": True, "flip": True}])
def test_a_batch_is_its_items_stacked(settings):
    pixels = torch.randint(0, 256, (9, 1, 8, 8), dtype=torch.uint8)
    images = Pixels(pixels, torch.full((1, 1, 1), 100.0), torch.full((1, 1, 1), 50.0), **settings)
    images.set_epoch(3, 1)
    ids = np.array([4, 0, 8, 4])
    assert torch.equal(images.take(ids), torch.stack([images[int(i)] for i in ids]))
