"""Data sets of small images, held in memory as bytes: an image is normalised (and augmented) when it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eebench.api import Task
from eebench.data.base import Data, Split
from eebench.data.names import patch_size_for
from eebench.data.splits import SHARES, divide

__all__ = ["Pixels", "moments", "pixel_data"]

CROP = 0xC  # keeps these random numbers apart from those that shuffle the batches, which (seed, epoch) alone draws


class Pixels(Sequence[Tensor]):
    """Images of one size in memory. Item ``i`` is a function of (seed, epoch, i): see ``set_epoch``.

    Args:
        pixels: (N, C, H, W) uint8.
        mean: (C, 1, 1), in the unit of ``pixels``.
        std: (C, 1, 1), likewise.
        size: side to resize to in pixels (bicubic, antialiased); None keeps (H, W).
        channels: 3 shows a grey image in three equal channels.
        augment: crop at random after padding by an eighth of the side with zeros (4 of 32 pixels, as is usual for
            CIFAR: He et al., CVPR 2016, section 4.2).
        flip: with ``augment``, mirror every other image.
    """

    def __init__(
        self,
        pixels: Tensor,
        mean: Tensor,
        std: Tensor,
        *,
        size: int | None = None,
        channels: int | None = None,
        augment: bool = False,
        flip: bool = False,
    ) -> None:
        self.pixels, self.mean, self.std = pixels, mean, std
        self.size, self.channels = size, channels or pixels.shape[1]
        self.augment, self.flip = augment, flip
        self.pad = pixels.shape[-1] // 8
        self.set_epoch(0, 0)

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Draw this epoch's crops and flips for every image at once. Without augmentation nothing changes."""
        if not self.augment:
            return
        rng = np.random.default_rng([seed, epoch, CROP])
        self.corners = rng.integers(0, 2 * self.pad + 1, (len(self), 2))
        self.mirrored = rng.random(len(self)) < 0.5

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # no slices: nothing asks for one
        """One image (channels, size, size), float32, normalised."""
        image = self.pixels[index]
        if self.augment:
            (top, left), (height, width) = self.corners[index].tolist(), image.shape[-2:]
            image = F.pad(image, [self.pad] * 4)[:, top : top + height, left : left + width]
            if self.flip and self.mirrored[index]:
                image = image.flip(-1)
        image = image.float()
        if self.size is not None:
            image = F.interpolate(image[None], (self.size, self.size), mode="bicubic", antialias=True)[0]
        image = (image - self.mean) / self.std
        return image.expand(self.channels, -1, -1)

    def stamp(self) -> bytes:
        """Fingerprint of all pixels."""
        return hashlib.sha256(self.pixels.numpy().tobytes()).digest()

    def take(self, ids: np.ndarray) -> Tensor:
        """A batch at once, (n, channels, size, size): the items stacked, without a loop where none is needed."""
        if self.augment or self.size is not None:
            return torch.stack([self[int(i)] for i in ids])
        images = (self.pixels[torch.from_numpy(ids)].float() - self.mean) / self.std
        return images.expand(-1, self.channels, -1, -1)


def moments(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Exact mean and standard deviation of each channel, (C, 1, 1), of (N, C, H, W) uint8; a constant has std 1."""
    levels = torch.arange(256, dtype=torch.float64)
    counts = torch.stack([torch.bincount(pixels[:, c].flatten(), minlength=256) for c in range(pixels.shape[1])])
    weights = counts.double() / counts.sum(1, keepdim=True)
    mean = weights @ levels
    std = ((levels - mean[:, None]).square() * weights).sum(1).sqrt()
    std = torch.where(std > 0, std, 1.0)
    return mean.float()[:, None, None], std.float()[:, None, None]


def pixel_data(
    name: str,
    sources: Mapping[str, tuple[Tensor, np.ndarray]],
    labels: Sequence[str],
    *,
    image_size: int | None,
    augment: bool,
    flip: bool,
    shares: Sequence[float] = SHARES,
) -> Data:
    """A data set of small images, normalised with the mean and standard deviation of its training pixels.

    Args:
        name: as the user typed it.
        sources: by split, pixels (N, C, H, W) uint8 and class ids (N,) int64.
        labels: class names by id.
        image_size: as in ``eebench.data.load``.
        augment: crop (and flip) training images at random.
        flip: whether a mirrored image still means the same.
        shares: how to split a data set that comes in one piece.
    """
    parts = divide({split: targets for split, (_, targets) in sources.items()}, name, labels=labels, shares=shares)
    depth, native = sources["train"][0].shape[1:3]
    resized = image_size is not None and image_size != native
    mean, std = moments(sources["train"][0][torch.from_numpy(parts.train.ids)])

    def split(part, random: bool) -> Split:
        pixels, targets = sources[part.source]
        images = Pixels(
            pixels[torch.from_numpy(part.ids)],
            mean,
            std,
            size=image_size if resized else None,
            channels=3 if resized else depth,
            augment=random,
            flip=flip,
        )
        return Split(images, targets[part.ids])

    notes = list(parts.notes)
    if augment:
        notes.append("training images are cropped at random after padding" + (" and mirrored" if flip else ""))
    return Data(
        name=name,
        modality="vision",
        task=Task(classes=len(labels), labels=tuple(labels)),
        train=split(parts.train, augment),
        val=split(parts.val, False),
        test=split(parts.test, False),
        split_hash=parts.sha256,
        augments=augment,
        image_size=image_size or native,
        patch_size=None if resized else patch_size_for(native),
        channels=3 if resized else depth,
        notes=notes,
    )
