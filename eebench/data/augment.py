"""Random changes to training images: declared, recorded, and a function of (seed, epoch, position).

========== ================================================= ======================================================
name       small images, held in memory                      larger ones, at the size that the model sees
========== ================================================= ======================================================
none       nothing                                           nothing: as for evaluation
shift      by up to a fourteenth of the side (2 pixels of    likewise (16 pixels of 224)
           28), the edge repeated
crop       by up to an eighth of the side (4 pixels of 32),  timm's random resized crop: 8 to 100 % of the area,
           what comes in is 0: He et al., CVPR 2016, 4.2     aspect 3/4 to 4/3
crop+      and every other one mirrored                      and every other one mirrored: timm's default
mirror
randaug-   crop, mirrored where the data set says that it    the same with timm's ``rand-m9-mstd0.5-inc1``
ment       may be, and torchvision's RandAugment (2
           operations of magnitude 9)
========== ================================================= ======================================================

RandAugment: Cubuk et al., NeurIPS 2020.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from eebench.data.preprocessing import Preprocessing

__all__ = ["Augmentation", "described", "large_training", "seeded", "small_default"]

DRAWS = 0xC  # keeps these random numbers apart from those that shuffle the batches, which (seed, epoch) alone draws


def small_default(channels: int, *, flip: bool, own: bool = False) -> str:
    """What small images get where nothing is asked for: only a known data set's images are cropped or mirrored.

    Args:
        channels: 1 for grey images: they are shifted.
        flip: whether a mirrored image is known to mean the same.
        own: the user's own images, about which nothing is known.
    """
    if channels == 1 or own:
        return "shift"
    return "crop+mirror" if flip else "crop"


def described(augment: str, *, asked: bool, small: int | None) -> str:
    """A note for the record: what is done, and who says so.

    Args:
        augment: one of ``kind.AUGMENTS``.
        asked: whether the user named it.
        small: side of small images in pixels; None for larger ones.
    """
    cropped = "cropped at random after padding" if small else "cropped and resized at random"
    how = {
        "none": "used as they are",
        "shift": f"shifted by up to {_most(small)} pixels" if small else "shifted by up to a fourteenth of their side",
        "crop": cropped,
        "crop+mirror": f"{cropped} and mirrored",
        "randaugment": f"{cropped} and changed by RandAugment",
    }[augment]
    return f"training images are {how} (augment {augment}, {'as asked' if asked else 'the default for this data set'})"


class Augmentation:
    """Random changes to small images in memory, a batch at once.

    Args:
        how: one of ``kind.AUGMENTS`` but ``none``.
        count: number of training images.
        side: of an image, in pixels.
        flip: whether a mirrored image means the same; for ``randaugment``.
        white: the value of full brightness.
    """

    def __init__(self, how: str, count: int, side: int, *, flip: bool = False, white: int = 255) -> None:
        self.how, self.count, self.white = how, count, white
        self.pad = _most(side) if how == "shift" else side // 8
        self.mirrors = how == "crop+mirror" or (how == "randaugment" and flip)
        self.set_epoch(0, 0)

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Draw this epoch's offsets and mirrors for every image at once."""
        self.entropy = (seed, epoch)
        rng = np.random.default_rng([seed, epoch, DRAWS])
        self.corners = rng.integers(0, 2 * self.pad + 1, (self.count, 2))
        self.mirrored = rng.random(self.count) < 0.5

    def __call__(self, images: Tensor, ids: np.ndarray) -> Tensor:
        """Images (n, C, H, W), changed; ``ids`` (n,) are their positions in the training split."""
        height, width = images.shape[-2:]
        margin = ((0, 0), (0, 0), (self.pad, self.pad), (self.pad, self.pad))
        padded = np.pad(images.numpy(), margin, mode="edge" if self.how == "shift" else "constant")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
        top, left = self.corners[ids].T
        moved = windows[np.arange(len(ids)), :, top, left]
        if self.mirrors:
            moved = np.where(self.mirrored[ids][:, None, None, None], moved[..., ::-1], moved)
        changed = torch.from_numpy(np.ascontiguousarray(moved))
        return self._rand_augment(changed, ids) if self.how == "randaugment" else changed

    def _rand_augment(self, images: Tensor, ids: np.ndarray) -> Tensor:
        from torchvision.transforms import RandAugment

        transform = RandAugment(num_ops=2, magnitude=9)
        bytes_ = images if self.white == 255 else (images.float() * (255 / self.white)).round().byte()
        found = []
        for image, position in zip(bytes_, ids, strict=True):
            with seeded(*self.entropy, int(position)):
                found.append(transform(image))
        stacked = torch.stack(found)
        return stacked if self.white == 255 else stacked.float() * (self.white / 255)


def large_training(how: str, preprocessing: Preprocessing, *, flip: bool) -> Callable[[Image.Image], Any] | None:
    """From an RGB image of any size to a training tensor (3, size, size); None where nothing is random.

    Args:
        how: one of ``kind.AUGMENTS``.
        preprocessing: what is done for evaluation.
        flip: whether a mirrored image means the same; for ``randaugment``.
    """
    from timm.data import create_transform
    from torchvision import transforms as tv

    size = preprocessing.size or 0
    if how == "none":
        return None
    if how == "shift":
        pad = _most(size)
        move = tv.Compose([tv.Pad(pad, padding_mode="edge"), tv.RandomCrop(size)])
        return lambda image: preprocessing.finish(move(preprocessing.levels(image)[None]))[0]
    mirrored = how == "crop+mirror" or (how == "randaugment" and flip)
    options: dict[str, Any] = {
        "hflip": 0.5 if mirrored else 0.0,
        "color_jitter": None,
        "auto_augment": "rand-m9-mstd0.5-inc1" if how == "randaugment" else None,
        "interpolation": "bicubic",
        "mean": preprocessing.mean,
        "std": preprocessing.std,
    }
    return create_transform(size, is_training=True, **options)


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Python's, numpy's and torch's CPU random numbers as a function of ``entropy``; put back afterwards.

    timm's and torchvision's transforms draw from these. Other devices' generators are left alone.
    """
    seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)  # torch takes 63 bits
    before, numpy_before = random.getstate(), np.random.get_state()  # noqa: NPY002  # timm draws from numpy's global one
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPU as well
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)  # noqa: NPY002


def _most(side: int | None) -> int:
    """Pixels that ``shift`` moves an image by, at most."""
    return max(1, (side or 0) // 14)
