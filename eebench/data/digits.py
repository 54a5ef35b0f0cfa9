"""The embedded default: the 1,797 handwritten digits that come with scikit-learn, 8x8 pixels, 17 levels of grey."""

from __future__ import annotations

import numpy as np
import torch

from eebench.data.base import Data
from eebench.data.pixels import pixel_data

__all__ = ["load_digits"]

SHARES = (1200 / 1797, 237 / 1797, 360 / 1797)  # train, validation, test


def load_digits(name: str, image_size: int | None) -> Data:
    """Digits at their own 8x8 with patch 2, one channel, no augmentation: trained from scratch in a minute.

    Source: scikit-learn ``datasets.load_digits`` (the test part of UCI's optical recognition of handwritten digits).
    """
    from sklearn.datasets import load_digits as sklearn_digits

    bunch = sklearn_digits()
    pixels = torch.from_numpy(bunch.images.astype(np.uint8))[:, None]
    sources = {"train": (pixels, bunch.target.astype(np.int64))}
    labels = [str(digit) for digit in range(10)]
    return pixel_data(name, sources, labels, image_size=image_size, augment=False, flip=False, shares=SHARES)
