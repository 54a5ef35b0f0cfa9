"""torchvision's data sets, through timm's factory where it knows them; never downloaded.

Facts here (folder names, split names, class counts) are torchvision's and timm's own: torchvision ``datasets/*.py``,
timm ``data/dataset_factory.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eebench.data.kind import DataSet, Request
from eebench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image

    from eebench.data.base import Data

__all__ = ["KIND", "SETS", "TorchvisionImages"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A torchvision data set."""

    cls: str  # torchvision.datasets.<cls>
    expects: tuple[str, ...]  # what lies under the root when it is there
    test: str = "test"  # the split with public labels that no training sees
    small: bool = False  # held in memory as pixels, run at its own size
    flip: bool = True  # mirrored images still mean the same
    timm: bool = True  # timm's factory knows it; else torchvision is asked directly
    download: bool = True  # torchvision can fetch it


SETS = {
    "cifar10": Entry("CIFAR10", ("cifar-10-batches-py",), small=True),
    "cifar100": Entry("CIFAR100", ("cifar-100-python",), small=True),
    "svhn": Entry("SVHN", ("train_32x32.mat", "test_32x32.mat"), small=True, flip=False, timm=False),
    "mnist": Entry("MNIST", ("MNIST/raw",), small=True, flip=False),
    "kmnist": Entry("KMNIST", ("KMNIST/raw",), small=True, flip=False),
    "qmnist": Entry("QMNIST", ("QMNIST/raw",), small=True, flip=False),
    "fashion_mnist": Entry("FashionMNIST", ("FashionMNIST/raw",), small=True),
    "food101": Entry("Food101", ("food-101/images", "food-101/meta"), timm=False),
    "places365": Entry("Places365", ("places365_train_standard.txt", "places365_val.txt"), test="validation"),
    "inaturalist": Entry("INaturalist", ("2021_train", "2021_valid"), test="validation"),
    "imagenet": Entry("ImageNet", ("train", "val"), test="validation", download=False),
}

SHORT = {
    "cifar10": "60,000 32x32 colour images, 10 classes (torchvision)",
    "cifar100": "60,000 32x32 colour images, 100 classes (torchvision)",
    "svhn": "99,289 32x32 colour house numbers, 10 classes (torchvision)",
    "food101": "101,000 photographs of dishes, 101 classes (torchvision)",
}
"""Names that need no prefix, and their lines."""


class TorchvisionImages(DataSet):
    """torchvision's data sets. Small ones are held in memory, the rest read as needed."""

    name = "torch/NAME"

    def names(self) -> dict[str, str]:
        return SHORT | {self.name: f"a torchvision data set by timm's name: {', '.join(SETS)}"}

    def find(self, name: str) -> str | None:
        key = super().find(name)
        if key is not None and key not in SETS:
            raise UserError(f"unknown data set '{name}'{did_you_mean(name, [f'torch/{known}' for known in SETS])}")
        return key

    def check(self, request: Request) -> None:
        """What the set keeps below the root must exist."""
        if not all((request.root / path).exists() for path in SETS[request.key].expects):
            raise missing(request.key, request.root)

    def load(self, request: Request) -> Data:
        """Raises UserError where a checksum fails; the message has the line that fetches the set."""
        from eebench.data.images import Source, file_source, image_data
        from eebench.data.pixels import pixel_data

        key, entry, root = request.key, SETS[request.key], request.root
        made = {"train": _torch_split(key, root, "train"), "test": _torch_split(key, root, entry.test)}
        targets = {split: _torch_targets(dataset) for split, dataset in made.items()}
        labels = _torch_labels(made["train"], targets["train"])
        if entry.small:
            pixels = {split: (_torch_pixels(dataset), targets[split]) for split, dataset in made.items()}
            return pixel_data(request, pixels, labels, flip=entry.flip)
        sources = {}
        for split, dataset in made.items():
            files = _torch_files(dataset)
            read = partial(_torch_image, dataset)
            sources[split] = file_source(files, targets[split]) if files else Source(read, targets[split])
        notes = []
        if entry.test != "test":
            notes.append("the validation split serves as the test set: no other has public labels")
        return image_data(request, sources, labels, flip=entry.flip, own=False, notes=notes)


def missing(name: str, root: Path) -> UserError:
    """The error for a data set that is absent or fails its checksums, with the line that fetches it."""
    entry = SETS[name]
    where = ", ".join(str(root / path) for path in entry.expects)
    fetch = f"python -c \"import torchvision.datasets as d; d.{entry.cls}(r'{root}', download=True)\""
    mend = f"; fetch it once with: {fetch}" if entry.download else ""
    return UserError(f"data set '{name}' not found or damaged: expected {where}{mend}")


def _torch_split(key: str, root: Path, split: str) -> Any:
    """One split through timm's factory, or from torchvision itself where timm's does not know the set."""
    import timm.data
    import torchvision.datasets

    try:
        if SETS[key].timm:
            return timm.data.create_dataset(f"torch/{key}", root=str(root), split=split, download=False)
        return getattr(torchvision.datasets, SETS[key].cls)(root=str(root), split=split, download=False)
    except (RuntimeError, OSError) as error:  # torchvision's words for "not there" and "checksum differs"
        raise missing(key, root) from error


def _torch_targets(dataset: Any) -> np.ndarray:
    """Class ids (N,), without decoding images: torchvision has no one name for them."""
    import numpy as np

    for attribute in ("targets", "labels", "_labels"):
        if hasattr(dataset, attribute):
            values = np.asarray(getattr(dataset, attribute), dtype=np.int64)
            return values if values.ndim == 1 else values[:, 0]  # QMNIST: eight columns, the class first
    return np.array([category for category, _ in dataset.index], dtype=np.int64)  # INaturalist


def _torch_labels(dataset: Any, targets: np.ndarray) -> list[str]:
    names = getattr(dataset, "classes", None) or getattr(dataset, "all_categories", None)
    if names is None:  # SVHN: the digits themselves
        return [str(c) for c in range(int(targets.max()) + 1)]
    return [n[0] if isinstance(n, tuple) else str(n) for n in names]  # ImageNet: synonyms, the commonest first


def _torch_pixels(dataset: Any) -> torch.Tensor:
    """(N, C, H, W) uint8 of an in-memory set: grey (N, H, W), CIFAR (N, H, W, C) or SVHN (N, C, H, W)."""
    import torch

    pixels = torch.as_tensor(dataset.data)
    if pixels.ndim == 3:
        return pixels[:, None]
    return pixels.permute(0, 3, 1, 2) if pixels.shape[-1] == 3 else pixels


def _torch_image(dataset: Any, index: int) -> Image.Image:
    from eebench.data.preprocessing import UNREADABLE, rgb, unreadable

    try:
        return rgb(dataset[index][0])
    except UNREADABLE as error:
        raise unreadable(f"number {index}", error) from None


def _torch_files(dataset: Any) -> list[Path]:
    """The images' files, where the set is files: torchvision has no one name for them either."""
    dataset = getattr(dataset, "dataset", dataset)
    if hasattr(dataset, "_image_files"):  # Food101
        return [Path(file) for file in dataset._image_files]
    if hasattr(dataset, "all_categories"):  # INaturalist
        return [Path(dataset.root, dataset.all_categories[category], file) for category, file in dataset.index]
    pairs = getattr(dataset, "imgs", None) or getattr(dataset, "samples", None)  # Places365, ImageNet
    return [Path(file) for file, _ in pairs] if pairs else []


KIND = TorchvisionImages()
