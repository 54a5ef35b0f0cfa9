"""Images that stay where they are: read, decoded and transformed when they are asked for."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from eebench.api import Task
from eebench.data.base import Data, Split
from eebench.data.names import SMALL, patch_size_for
from eebench.data.splits import Part, divide

__all__ = ["Images", "Source", "image_data", "native_size", "rgb", "seeded", "transforms"]

LARGE = 224  # pixels: the size of larger images when none is asked for
PROBES = 32  # images looked at to tell a data set of small images


@dataclass(frozen=True)
class Source:
    """Where a split's images come from: ``read(i)`` is an RGB image."""

    read: Callable[[int], Image.Image]
    targets: np.ndarray  # (N,) int64
    files: Sequence[Path] = ()  # one an image, where they are files of their own


class Images(Sequence[Tensor]):
    """Some of a source's images, transformed. Item ``i`` is a function of (seed, epoch, i): see ``set_epoch``."""

    def __init__(
        self, source: Source, ids: np.ndarray, transform: Callable[[Image.Image], Tensor], augment: bool
    ) -> None:
        self.source, self.ids = source, ids
        self.transform, self.augment = transform, augment
        self.set_epoch(0, 0)

    def set_epoch(self, seed: int, epoch: int) -> None:
        """What random transforms draw from, together with the position; without augmentation nothing changes."""
        self.entropy = (seed, epoch)

    def stamp(self) -> bytes | None:
        """Fingerprint of the images' files by path, size and time of change; None where there are none."""
        if not self.source.files:
            return None
        digest = hashlib.sha256()
        for index in self.ids:
            file = self.source.files[int(index)]
            state = file.stat()
            digest.update(f"{file}|{state.st_size}|{state.st_mtime_ns}|".encode())
        return digest.digest()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # no slices: nothing asks for one
        """One image (3, size, size), float32, normalised. Raises UserError when its file cannot be read."""
        image = self.source.read(int(self.ids[index]))
        if not self.augment:
            return self.transform(image)
        with seeded(*self.entropy, index):
            return self.transform(image)


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Python's and torch's CPU random numbers as a function of ``entropy``; what they were is put back afterwards.

    timm's and torchvision's transforms draw from these two. Other devices' generators are left alone.
    """
    seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)  # torch takes 63 bits
    before = random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPU as well
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)


def rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: grey repeated, transparency dropped, 16-bit grey scaled (Pillow alone clips it to white)."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.float64) / 257  # 65535 / 255
        image = Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
    if image.mode in ("P", "PA"):  # a palette's transparency is understood on the way through RGBA only
        image = image.convert("RGBA")
    return image.convert("RGB")


def native_size(source: Source) -> int | None:
    """The side of a source's images when they are small squares, all of one size (judged by 32 of them); else None."""
    count = len(source.targets)
    probes = np.unique(np.linspace(0, count - 1, min(count, PROBES)).astype(int))
    sizes = {source.read(int(i)).size for i in probes}
    width, height = next(iter(sizes))
    return width if len(sizes) == 1 and width == height <= SMALL else None


def transforms(size: int, native: int | None, *, augment: bool, flip: bool) -> Callable[[Image.Image], Any]:
    """From an RGB image to a normalised tensor (3, size, size).

    Large images: timm's ``create_transform``, bicubic: random resized crop and mirror for training, resize and centre
    crop otherwise. Small ones (``native``): the whole image, for training cropped after padding by an eighth.
    Normalised with ImageNet's mean and standard deviation.
    """
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
    from torchvision import transforms as tv

    if native is None:
        options: dict[str, Any] = {"hflip": 0.5 if flip else 0.0, "color_jitter": None, "interpolation": "bicubic"}
        return create_transform(size, is_training=augment, **options)
    bicubic = tv.InterpolationMode.BICUBIC
    steps: list[Any] = [tv.Resize((native, native), bicubic)]  # does nothing unless the probes missed an odd one
    steps += [tv.RandomCrop(native, padding=native // 8)] if augment else []
    steps += [tv.RandomHorizontalFlip()] if augment and flip else []
    steps += [tv.Resize((size, size), bicubic)] if size != native else []
    return tv.Compose([*steps, tv.ToTensor(), tv.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)])


def image_data(
    name: str,
    sources: Mapping[str, Source],
    labels: Sequence[str],
    *,
    image_size: int | None,
    flip: bool = True,
    notes: Sequence[str] = (),
) -> Data:
    """A data set of images that stay where they are. Arguments as in ``pixels.pixel_data``."""
    parts = divide({split: source.targets for split, source in sources.items()}, name, labels=labels)
    native = native_size(sources["train"])
    if native is not None and patch_size_for(native) is None:
        native = None  # no patch size fits it: resized like a large one
    size = image_size or native or LARGE

    def split(part: Part, augment: bool) -> Split:
        source = sources[part.source]
        images = Images(source, part.ids, transforms(size, native, augment=augment, flip=flip), augment)
        return Split(images, source.targets[part.ids])

    how = "cropped at random after padding" if native else "cropped and resized at random"
    return Data(
        name=name,
        modality="vision",
        task=Task(classes=len(labels), labels=tuple(labels)),
        train=split(parts.train, True),
        val=split(parts.val, False),
        test=split(parts.test, False),
        split_hash=parts.sha256,
        augments=True,
        image_size=size,
        patch_size=patch_size_for(native) if native == size else None,
        channels=3,
        notes=[*notes, *parts.notes, f"training images are {how}" + (" and mirrored" if flip else "")],
    )
