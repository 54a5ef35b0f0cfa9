"""Data sets in the IDX format of MNIST and its kin, read straight from their four files, gzipped or not.

Format: two zero bytes, a type code (8: unsigned byte), the number of dimensions, then each dimension as a big-endian
32-bit integer, then the values, last dimension fastest (yann.lecun.com, "The IDX file format").
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eebench.data.kind import DataSet, Request, quoted
from eebench.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from eebench.data.base import Data

__all__ = ["KIND", "SETS", "Idx", "idx_files", "read_idx"]

UNSIGNED_BYTE = 8

STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
DEBIAN = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}  # Debian's package dataset-fashion-mnist


@dataclass(frozen=True, slots=True)
class Entry:
    """One data set of four files."""

    folder: str  # where torchvision keeps them
    line: str
    labels: tuple[str, ...]


SETS = {
    "fashion_mnist": Entry(
        "FashionMNIST",
        "70,000 grey 28x28 clothes from the four IDX files, 10 classes",
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
    "mnist": Entry("MNIST", "70,000 grey 28x28 digits from the four IDX files, 10 classes", tuple("0123456789")),
    "kmnist": Entry(
        "KMNIST",
        "70,000 grey 28x28 Kuzushiji characters from the four IDX files, 10 classes",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
}


class Idx(DataSet):
    """MNIST, Fashion-MNIST and Kuzushiji-MNIST: grey square images, ten classes."""

    name = "mnist"

    def names(self) -> dict[str, str]:
        return {name: entry.line for name, entry in SETS.items()}

    def check(self, request: Request) -> None:
        idx_files(request.key, request.data_dir)

    def load(self, request: Request) -> Data:
        import numpy as np
        import torch

        from eebench.data.pixels import pixel_data

        labels = SETS[request.key].labels
        sources = {}
        for split, (image_path, label_path) in idx_files(request.key, request.data_dir).items():
            images, targets = read_idx(image_path, 3), read_idx(label_path, 1)
            if len(images) != len(targets):
                raise UserError(f"'{image_path}' has {len(images):,} images, '{label_path}' {len(targets):,} labels")
            if images.shape[1] != images.shape[2]:
                raise UserError(
                    f"'{image_path}' has images of {images.shape[1]}x{images.shape[2]} pixels; expected squares"
                )
            if len(targets) and targets.max() >= len(labels):
                raise UserError(f"'{label_path}' has label {targets.max()}; expected 0 to {len(labels) - 1}")
            sources[split] = (torch.from_numpy(images)[:, None], targets.astype(np.int64))
        return pixel_data(request, sources, labels)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """One IDX file of unsigned bytes as an array with that many dimensions.

    Raises:
        UserError: not gzip although named so, cut short, not IDX, another type or shape; names the file.
    """
    import numpy as np

    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            content = file.read()
    except EOFError:
        raise UserError(f"'{path}' is cut short: the gzip stream ends before its end mark") from None
    except (OSError, zlib.error) as error:
        raise UserError(f"'{path}' cannot be read: {error}") from None
    if len(content) < 4 or content[:2] != b"\0\0":
        raise UserError(f"'{path}' is not an IDX file: it starts with {content[:4].hex(' ') or 'nothing'}")
    if (content[2], content[3]) != (UNSIGNED_BYTE, dimensions):
        got = f"type {content[2]} with {content[3]} dimensions"
        raise UserError(f"'{path}' holds {got}; expected type {UNSIGNED_BYTE} (unsigned bytes) with {dimensions}")
    head = 4 + 4 * dimensions
    if len(content) < head:
        raise UserError(f"'{path}' is cut short: it ends within its header")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", dimensions, 4))
    expected = math.prod(shape)
    if len(content) - head != expected:
        state = "is cut short" if len(content) - head < expected else "is too long"
        raise UserError(f"'{path}' {state}: its header promises {expected:,} values, it has {len(content) - head:,}")
    return np.frombuffer(content, np.uint8, expected, head).reshape(shape).copy()


def idx_files(name: str, data_dir: Path | None) -> dict[str, tuple[Path, Path]]:
    """Paths of the four IDX files, ``{"train": (images, labels), "test": …}``, gzipped or not.

    Looked for in the data directory itself, in its sub-folder of the set's name, and where torchvision keeps them;
    without a data directory also where Debian's package puts them.

    Raises:
        UserError: no folder holds all four; the message names the folders, or the files one of them lacks.
    """
    root = Request(name, data_dir=data_dir).root
    folders = [root, root / name, root / name.replace("_", "-"), root / SETS[name].folder / "raw"]
    folders = list(dict.fromkeys(folders + ([DEBIAN[name]] if data_dir is None and name in DEBIAN else [])))
    for folder in folders:
        found = {split: tuple(_plain_or_gz(folder, stem) for stem in stems) for split, stems in STEMS.items()}
        absent = [s for split, stems in STEMS.items() for s, p in zip(stems, found[split], strict=True) if not p]
        if not absent:
            return {split: (images, labels) for split, (images, labels) in found.items() if images and labels}
        if len(absent) < 4:
            raise UserError(f"data set '{name}': '{folder}' lacks {', '.join(f'{stem}.gz' for stem in absent)}")
    stems = ", ".join(f"{stem}.gz" for pair in STEMS.values() for stem in pair)
    raise UserError(f"data set '{name}' not found in {quoted(folders)}; expected {stems}")


def _plain_or_gz(folder: Path, stem: str) -> Path | None:
    return next((p for p in (folder / f"{stem}.gz", folder / stem) if p.is_file()), None)


KIND = Idx()
