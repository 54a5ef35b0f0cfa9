"""Data sets in the IDX format of MNIST and its kin, read straight from their four files, gzipped or not.

Format: two zero bytes, a type code (8: unsigned byte), the number of dimensions, then each dimension as a big-endian
32-bit integer, then the values, last dimension fastest (yann.lecun.com, "The IDX file format").
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch

from eebench.data import disk
from eebench.data.base import Data
from eebench.data.names import TORCH
from eebench.data.pixels import pixel_data
from eebench.errors import UserError

__all__ = ["load_idx", "read_idx"]

UNSIGNED_BYTE = 8

LABELS = {
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "mnist": tuple("0123456789"),
}


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """One IDX file of unsigned bytes as an array with that many dimensions.

    Raises:
        UserError: not gzip although named so, cut short, not IDX, another type or shape; names the file.
    """
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


def load_idx(name: str, key: str, data_dir: Path | None, image_size: int | None) -> Data:
    """A data set of four IDX files: grey square images, ten classes.

    Args:
        name: as the user typed it.
        key: fashion_mnist, mnist or kmnist.
        data_dir: see ``disk.idx_files``.
        image_size: as in ``eebench.data.load``.
    """
    sources = {}
    for split, (image_path, label_path) in disk.idx_files(key, data_dir).items():
        images, targets = read_idx(image_path, 3), read_idx(label_path, 1)
        if len(images) != len(targets):
            raise UserError(f"'{image_path}' has {len(images):,} images, '{label_path}' {len(targets):,} labels")
        if images.shape[1] != images.shape[2]:
            raise UserError(
                f"'{image_path}' has images of {images.shape[1]}x{images.shape[2]} pixels; expected squares"
            )
        if len(targets) and targets.max() >= len(LABELS[key]):
            raise UserError(f"'{label_path}' has label {targets.max()}; expected 0 to {len(LABELS[key]) - 1}")
        sources[split] = (torch.from_numpy(images)[:, None], targets.astype(np.int64))
    flip = TORCH[key].flip
    return pixel_data(name, sources, LABELS[key], image_size=image_size, augment=True, flip=flip)
