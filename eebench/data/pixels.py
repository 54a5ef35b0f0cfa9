"""Data sets of small images, held in memory as bytes: an image is augmented and normalised when it is asked for."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from eebench.api import Task
from eebench.data.augment import Augmentation, described, small_default
from eebench.data.base import Data, Split
from eebench.data.kind import Request
from eebench.data.preprocessing import Preprocessing
from eebench.data.splits import SHARES, Part, divide

__all__ = ["Pixels", "moments", "patch_size_for", "pixel_data"]

SMALL = 32  # pixels: up to here images run at their own size, with a patch size of their own


class Pixels(Sequence[Tensor]):
    """Images of one size in memory. Item ``i`` is a function of (seed, epoch, i): see ``set_epoch``.

    Args:
        pixels: (N, C, H, W) uint8.
        preprocessing: what makes a model's input of them.
        augmentation: what is done to them at random before; None: nothing.
    """

    def __init__(self, pixels: Tensor, preprocessing: Preprocessing, augmentation: Augmentation | None = None) -> None:
        self.pixels, self.preprocessing, self.augmentation = pixels, preprocessing, augmentation

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Draw this epoch's changes for every image at once. Without augmentation nothing changes."""
        if self.augmentation is not None:
            self.augmentation.set_epoch(seed, epoch)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # no slices: nothing asks for one
        """One image (channels, size, size), float32, normalised."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return self.take(np.array([index % len(self)]))[0]

    def stamp(self) -> bytes:
        """Fingerprint of all pixels and of what is made of them."""
        return hashlib.sha256(self.pixels.numpy().tobytes() + repr(self.preprocessing).encode()).digest()

    def subset(self, ids: np.ndarray) -> Pixels:
        """The images at these positions, augmented as their positions here would be."""
        augmentation = self.augmentation and Augmentation(
            self.augmentation.how,
            len(ids),
            self.pixels.shape[-1],
            flip=self.augmentation.mirrors,
            white=self.augmentation.white,
        )
        return Pixels(self.pixels[torch.from_numpy(ids)], self.preprocessing, augmentation)

    def prepared(self, preprocessing: Preprocessing) -> Pixels:
        """The same images, prepared otherwise."""
        return Pixels(self.pixels, preprocessing, copy.copy(self.augmentation))

    def take(self, ids: np.ndarray) -> Tensor:
        """A batch (n, channels, size, size): the items at these positions, stacked."""
        images = self.pixels[torch.from_numpy(ids)]
        if self.augmentation is not None:
            images = self.augmentation(images, ids)
        return self.preprocessing.finish(images)


def patch_size_for(image_size: int) -> int | None:
    """The patch size (pixels) a data set of small square images asks a ViT for; None above 32 pixels or when none fits.

    8 pixels give 4x4 patches of 2, 28 give 7x7 of 4, 32 give 8x8 of 4.
    """
    patch = 2 if image_size <= 16 else 4
    return patch if image_size <= SMALL and image_size % patch == 0 else None


def moments(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Exact mean and standard deviation of each channel, (C,), of (N, C, H, W) uint8; a constant has std 1."""
    levels = torch.arange(256, dtype=torch.float64)
    counts = torch.stack([torch.bincount(pixels[:, c].flatten(), minlength=256) for c in range(pixels.shape[1])])
    weights = counts.double() / counts.sum(1, keepdim=True)
    mean = weights @ levels
    std = ((levels - mean[:, None]).square() * weights).sum(1).sqrt()
    return mean.float(), torch.where(std > 0, std, 1.0).float()


def pixel_data(
    request: Request | str,
    sources: Mapping[str, tuple[Tensor | np.ndarray, np.ndarray]],
    labels: Sequence[str],
    *,
    augment: str | None = None,
    flip: bool = False,
    own: bool = False,
    shares: Sequence[float] = SHARES,
    white: int = 255,
    notes: Sequence[str] = (),
) -> Data:
    """A data set of small square images, normalised with the mean and standard deviation of its training pixels.

    Args:
        request: what was asked for; a name alone asks for nothing in particular.
        sources: by split (``train`` and perhaps ``val``, ``test``), pixels (N, C, H, W) uint8 and class ids (N,) int64.
        labels: class names by id.
        augment: what is done to training images where nothing is asked for; None: see ``augment.small_default``.
        flip: whether a mirrored image is known to mean the same.
        own: the user's own images, about which nothing is known: never cropped or mirrored unless asked.
        shares: how to split a data set that comes in one piece.
        white: the value of full brightness.
        notes: said in the log and the record.
    """
    request = Request(request) if isinstance(request, str) else request
    images = {split: torch.as_tensor(pixels) for split, (pixels, _) in sources.items()}
    parts = divide(
        {split: np.asarray(targets) for split, (_, targets) in sources.items()},
        request.name,
        labels=labels,
        shares=shares,
        limit=request.limit,
        digests={split: _digests(pixels) for split, pixels in images.items()},
    )
    depth, native = images["train"].shape[1:3]
    size = request.image_size or native
    mean, std = moments(images["train"][torch.from_numpy(parts.train.ids)])
    preprocessing = Preprocessing(
        modality="vision",
        labels=tuple(labels),
        colours="L" if depth == 1 else "RGB",
        white=white,
        native=native,
        size=size,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        channels=depth if size == native else 3,
    )
    how = request.augment or augment or small_default(depth, flip=flip, own=own)

    def split(part: Part, random: bool) -> Split:
        changes = Augmentation(how, len(part.ids), native, flip=flip, white=white) if random and how != "none" else None
        return Split(
            Pixels(images[part.source][torch.from_numpy(part.ids)], preprocessing, changes),
            np.asarray(sources[part.source][1])[part.ids],
        )

    told = [described(how, asked=request.augment is not None, small=native)]
    return Data(
        name=request.name,
        modality="vision",
        task=Task(classes=len(labels), labels=tuple(labels)),
        train=split(parts.train, True),
        val=split(parts.val, False),
        test=split(parts.test, False),
        split_hash=parts.sha256,
        augment=how,
        image_size=size,
        patch_size=patch_size_for(native) if size == native else None,
        channels=preprocessing.channels,
        notes=[*notes, *parts.notes, *(told if how != "none" or request.augment else [])],
        preprocessing=preprocessing,
        official=parts.official,
        copies=parts.copies,
    )


def _digests(pixels: Tensor) -> Callable[[np.ndarray], Sequence[bytes]]:
    """A function from positions to one digest an image."""
    rows = np.ascontiguousarray(pixels.numpy().reshape(len(pixels), -1))
    return lambda ids: [hashlib.blake2b(rows[i], digest_size=16).digest() for i in ids]
