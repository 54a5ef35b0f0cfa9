"""Augmentation is what was declared, and a function of (seed, epoch, position)."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import RandAugment

from eebench import data
from eebench.data.augment import Augmentation, seeded, small_default
from eebench.data.images import Images, Source
from eebench.data.kind import AUGMENTS
from eebench.data.pixels import pixel_data
from eebench.data.preprocessing import Preprocessing

from .test_images import fill, picture
from .test_pixels import noise


def positions(how, pixels, pad, mode, flip=False):
    """Which of all possible windows of the padded image each augmented image is: (top, left, mirrored)."""
    side = pixels.shape[-1]
    changes = Augmentation(how, len(pixels), side, flip=flip)
    changes.set_epoch(1, 2)
    seen = []
    for i, image in enumerate(changes(pixels, np.arange(len(pixels)))):
        padded = F.pad(pixels[i].float(), [pad] * 4, mode=mode)
        crops = {
            (top, left, mirrored): padded[:, top : top + side, left : left + side].flip([-1] if mirrored else [])
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
            for mirrored in (False, True)
        }
        matches = [key for key, crop in crops.items() if torch.equal(crop, image.float())]
        assert len(matches) == 1
        seen.append(matches[0])
    return seen


@pytest.mark.parametrize(("how", "pad", "mode"), [("crop", 2, "constant"), ("shift", 1, "replicate")])
def test_crops_and_shifts_are_windows_of_the_padded_image(how, pad, mode):
    seen = positions(how, noise(n=60, side=16), pad, mode)
    assert {key[0] for key in seen} == {key[1] for key in seen} == set(range(2 * pad + 1))
    assert not any(key[2] for key in seen)


def test_a_mirrored_crop_mirrors_every_other_image():
    seen = positions("crop+mirror", noise(n=200, side=16), 2, "constant")
    assert 70 < sum(key[2] for key in seen) < 130
    assert {key[0] for key in seen} == {key[1] for key in seen} == set(range(5))


def test_shifts_are_two_pixels_of_28_and_repeat_the_edge():
    white = torch.full((30, 1, 28, 28), 255, dtype=torch.uint8)  # a page: what comes in at its edge is paper as well
    changes = Augmentation("shift", 30, 28)
    assert changes.pad == 2
    assert bool((changes(white, np.arange(30)) == 255).all())


@pytest.mark.parametrize("how", AUGMENTS[1:])
def test_an_item_is_a_function_of_seed_epoch_and_position(how):
    pixels = noise(30, side=16)

    def items(seed, epoch, order):
        changes = Augmentation(how, 30, 16, flip=True)
        changes.set_epoch(seed, epoch)
        found = {i: changes(pixels[i : i + 1], np.array([i]))[0] for i in order}
        return torch.stack([found[i] for i in range(30)])

    first = items(0, 4, range(30))
    assert torch.equal(first, items(0, 4, reversed(range(30))))
    assert not torch.equal(first, items(0, 5, range(30)))
    assert not torch.equal(first, items(1, 4, range(30)))


def test_randaugment_is_torchvisions_after_the_crop():
    pixels = noise(5, side=16)
    changes, crops = Augmentation("randaugment", 5, 16), Augmentation("crop", 5, 16)
    for each in (changes, crops):
        each.set_epoch(7, 3)
    cropped = crops(pixels, np.arange(5))
    for i in range(5):
        with seeded(7, 3, i):
            oracle = RandAugment(num_ops=2, magnitude=9)(cropped[i])
        assert torch.equal(changes(pixels, np.arange(5))[i], oracle)


def test_randaugment_of_grey_levels_up_to_16_stays_within_them():
    pixels = noise(40, channels=1) // 16
    changed = Augmentation("randaugment", 40, 8, white=16)(pixels, np.arange(40))
    assert changed.min() >= 0
    assert 12 < changed.max() <= 16


def test_defaults():
    assert small_default(1, flip=True) == small_default(3, flip=True, own=True) == "shift"
    assert (small_default(3, flip=True), small_default(3, flip=False)) == ("crop+mirror", "crop")


def test_what_is_done_is_recorded_and_said(tmp_path):
    fill(tmp_path / "small", ["a", "b"], 10, size=(28, 28))
    fill(tmp_path / "large", ["a", "b"], 10)
    small, large = data.load(str(tmp_path / "small")), data.load(str(tmp_path / "large"), image_size=32)
    assert (small.augment, large.augment) == ("shift", "crop")
    asked = data.load(str(tmp_path / "large"), image_size=32, augment="crop+mirror")
    default = "the default for this data set"
    assert f"training images are shifted by up to 2 pixels (augment shift, {default})" in small.notes
    assert f"training images are cropped and resized at random (augment crop, {default})" in large.notes
    assert (
        "training images are cropped and resized at random and mirrored (augment crop+mirror, as asked)" in asked.notes
    )
    assert data.load(str(tmp_path / "small"), augment="none").augments is False
    assert "training images are used as they are (augment none, as asked)" in data.load("digits", augment="none").notes
    assert data.load("digits").augment == "none"


@pytest.mark.parametrize("how", AUGMENTS)
def test_large_images(how):
    source = Source(lambda i: picture(i), np.arange(20))
    values = {"crop": 0.875, "size": 28, "scale": 255.0, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    plain = Images(source, np.arange(20), Preprocessing("vision", **values))
    images = Images(source, np.arange(20), Preprocessing("vision", **values), how)

    def epoch(number):
        images.set_epoch(0, number)
        return torch.stack([images[i] for i in range(20)])

    first, second = epoch(1), epoch(2)
    assert first.shape == (20, 3, 28, 28)
    assert torch.equal(first, epoch(1))
    assert torch.equal(first, second) == (how == "none")
    assert torch.equal(first, torch.stack(list(plain))) == (how == "none")
    if how == "shift":  # by up to a fourteenth: the middle of every image is in every shift of it
        middle = torch.stack(list(plain))[:, :, 2:-2, 2:-2]
        shifts = [first[:, :, t : t + 24, left : left + 24] for t in range(5) for left in range(5)]
        assert all(any(torch.equal(shift[i], middle[i]) for shift in shifts) for i in range(20))


def test_digits_like_sets_are_never_mirrored():
    pixels = torch.arange(8, dtype=torch.uint8).add(1).expand(50, 1, 8, 8).clone()  # rises from left to right
    pixels += (10 * torch.arange(50, dtype=torch.uint8) // 5)[:, None, None, None]
    found = pixel_data("x", {"train": (pixels.repeat(2, 1, 1, 1), np.arange(100) % 2)}, ["a", "b"])
    for image in found.train.inputs:
        assert (image[0, 3].diff() >= 0).all()
