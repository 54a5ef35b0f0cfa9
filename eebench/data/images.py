"""Images that stay where they are: read, decoded and transformed when they are asked for. Small ones are read once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from eebench.api import Task
from eebench.data.augment import Augmentation, described, large_training, seeded, small_default
from eebench.data.base import Data, Split
from eebench.data.index import examine, files_stamp
from eebench.data.kind import Request
from eebench.data.pixels import SMALL, patch_size_for, pixel_data
from eebench.data.preprocessing import UNREADABLE, Preprocessing, rgb, unreadable
from eebench.data.splits import Digests, Part, divide
from eebench.errors import shown

__all__ = ["Images", "Source", "file_source", "image_data", "native_size"]

LARGE = 224  # pixels: the size of larger images when none is asked for
CROP = 0.875  # share of the shorter side that the centre crop keeps: timm's DEFAULT_CROP_PCT
PROBES = 32  # images looked at to tell a data set of small images
MEMORY = 1 << 30  # bytes of pixels held in memory; a set of small images that needs more is read as needed


@dataclass(frozen=True)
class Source:
    """Where a split's images come from."""

    read: Callable[[int], Image.Image]  # decoded, RGB
    targets: np.ndarray  # (N,) int64
    files: Sequence[Path] = ()  # one an image, where they are files of their own
    raw: Callable[[int], bytes] | None = None  # an image as a file of some format has it; None: decoded already
    stamp: Callable[[np.ndarray], bytes] | None = None  # fingerprint of what ``raw`` reads, where it is cheap

    def digests(self, ids: np.ndarray) -> list[bytes]:
        """What tells copies, for these positions; every image is read on the way (or was the last time).

        Raises:
            UserError: an image that cannot be read.
        """
        if self.raw is None:
            return [hashlib.blake2b(_content(self.read(int(i))), digest_size=16).digest() for i in ids]
        stamp = self.stamp(ids) if self.stamp else ids.tobytes()
        return examine(self.raw, self._name, ids.tolist(), stamp)

    def _name(self, index: int) -> str:
        return shown(self.files[index]) if self.files else f"number {index}"


def file_source(files: Sequence[Path], targets: np.ndarray) -> Source:
    """Images that are files of their own."""

    def stamp(ids: np.ndarray) -> bytes:
        return files_stamp([files[int(i)] for i in ids])

    return Source(_Files(files), targets, files, lambda i: files[i].read_bytes(), stamp)


class _Files:
    """Reads an image file; a class, so that loader processes can be handed it."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __call__(self, index: int) -> Image.Image:
        try:
            with Image.open(self.files[index]) as image:
                return rgb(image)
        except UNREADABLE as error:
            raise unreadable(self.files[index], error) from None


class Images(Sequence[Tensor]):
    """Some of a source's images, prepared. Item ``i`` is a function of (seed, epoch, i): see ``set_epoch``.

    Args:
        source: where they are read.
        ids: (n,) which of them, by position in the source.
        preprocessing: what makes a model's input of them.
        augment: what is done to them at random before, one of ``kind.AUGMENTS``.
        flip: whether a mirrored image means the same.
    """

    def __init__(
        self, source: Source, ids: np.ndarray, preprocessing: Preprocessing, augment: str = "none", flip: bool = False
    ) -> None:
        self.source, self.ids, self.preprocessing = source, ids, preprocessing
        self.augment, self.flip = augment, flip
        self.small: Augmentation | None = None
        self.large: Callable[[Image.Image], Any] | None = None
        if preprocessing.native is None:
            self.large = large_training(augment, preprocessing, flip=flip)
        elif augment != "none":
            self.small = Augmentation(augment, len(ids), preprocessing.native, flip=flip)
        self.set_epoch(0, 0)

    def set_epoch(self, seed: int, epoch: int) -> None:
        """What random changes draw from, together with the position; without augmentation nothing changes."""
        self.entropy = (seed, epoch)
        if self.small is not None:
            self.small.set_epoch(seed, epoch)

    def stamp(self) -> bytes | None:
        """Fingerprint of the images' files by path, size and time of change; None where there are none."""
        if self.source.stamp is None:
            return None
        return hashlib.sha256(self.source.stamp(self.ids) + repr(self.preprocessing).encode()).digest()

    def subset(self, ids: np.ndarray) -> Images:
        """The images at these positions, augmented as their positions here would be."""
        return Images(self.source, self.ids[ids], self.preprocessing, self.augment, self.flip)

    def prepared(self, preprocessing: Preprocessing) -> Images:
        """The same images, prepared otherwise."""
        return Images(self.source, self.ids, preprocessing, self.augment, self.flip)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # no slices: nothing asks for one
        """One image (channels, size, size), float32, normalised. Raises UserError when its file cannot be read."""
        image = self.source.read(int(self.ids[index]))
        if self.large is not None:
            with seeded(*self.entropy, index):
                return self.large(image)
        levels = self.preprocessing.levels(image)[None]
        if self.small is not None:
            levels = self.small(levels, np.array([index]))
        return self.preprocessing.finish(levels)[0]


def native_size(source: Source) -> int | None:
    """The side of a source's images when they are small squares, all of one size (judged by 32 of them); else None."""
    count = len(source.targets)
    probes = np.unique(np.linspace(0, count - 1, min(count, PROBES)).astype(int))
    sizes = {source.read(int(i)).size for i in probes}
    width, height = next(iter(sizes))
    return width if len(sizes) == 1 and width == height <= SMALL else None


def image_data(
    request: Request | str,
    sources: Mapping[str, Source],
    labels: Sequence[str],
    *,
    flip: bool = False,
    own: bool = True,
    notes: Sequence[str] = (),
) -> Data:
    """A data set of images that are decoded one by one.

    Small squares of one size (up to 32 pixels) are read once and held in memory (up to 1 GiB) as by
    ``pixel_data``, in one channel where all are grey. Larger ones are read as needed, resized and cropped as timm does,
    and normalised with ImageNet's mean and standard deviation.

    Args:
        request: what was asked for; a name alone asks for nothing in particular.
        sources: by split, ``train`` and perhaps ``val`` and ``test``.
        labels: class names by id.
        flip: whether a mirrored image is known to mean the same.
        own: the user's own images, about which nothing is known: never mirrored unless asked.
        notes: said in the log and the record.
    """
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    request = Request(request) if isinstance(request, str) else request
    native = native_size(sources["train"]) if len(sources["train"].targets) else None
    if native is not None and patch_size_for(native) is None:
        native = None  # no patch size fits it: resized like a large one
    if native is not None and _bytes(sources, native) <= MEMORY:
        held = _held(sources, native)
        return pixel_data(request, held, labels, flip=flip, own=own, notes=notes)
    digests: dict[str, Digests] = {split: source.digests for split, source in sources.items()}
    parts = divide(
        {split: source.targets for split, source in sources.items()},
        request.name,
        labels=labels,
        limit=request.limit,
        digests=digests,
    )
    size = request.image_size or native or LARGE
    preprocessing = Preprocessing(
        modality="vision",
        labels=tuple(labels),
        native=native,
        crop=None if native else CROP,
        size=size,
        scale=255.0,
        mean=tuple(IMAGENET_DEFAULT_MEAN),
        std=tuple(IMAGENET_DEFAULT_STD),
    )
    default = small_default(3, flip=flip, own=own) if native else ("crop+mirror" if flip and not own else "crop")
    how = request.augment or default

    def split(part: Part, random: bool) -> Split:
        source = sources[part.source]
        images = Images(source, part.ids, preprocessing, how if random else "none", flip)
        return Split(images, source.targets[part.ids])

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
        patch_size=patch_size_for(native) if native == size else None,
        channels=3,
        notes=[*notes, *parts.notes, described(how, asked=request.augment is not None, small=native)],
        preprocessing=preprocessing,
        official=parts.official,
        copies=parts.copies,
    )


def _content(image: Image.Image) -> bytes:
    return f"{image.size}{image.mode}".encode() + image.tobytes()


def _bytes(sources: Mapping[str, Source], side: int) -> int:
    return sum(len(source.targets) for source in sources.values()) * 3 * side * side


def _held(sources: Mapping[str, Source], native: int) -> dict[str, tuple[Tensor, np.ndarray]]:
    """Every image's pixels (N, C, native, native), C 1 where all of them are grey."""
    reading = Preprocessing(modality="vision", native=native)
    pixels = {}
    for name, source in sources.items():
        found = torch.empty(len(source.targets), 3, native, native, dtype=torch.uint8)
        for i in range(len(found)):
            found[i] = reading.levels(source.read(i))
        pixels[name] = found
    if all(bool((p[:, :1] == p).all()) for p in pixels.values()):
        pixels = {name: p[:, :1].contiguous() for name, p in pixels.items()}
    return {name: (p, sources[name].targets) for name, p in pixels.items()}
