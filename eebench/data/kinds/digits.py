"""The 1,797 handwritten digits that come with scikit-learn, 8x8 pixels, 17 levels of grey: small enough for a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eebench.data.kind import DataSet, Request

if TYPE_CHECKING:
    from eebench.data.base import Data

__all__ = ["KIND", "Digits"]

SHARES = (1200 / 1797, 237 / 1797, 360 / 1797)  # train, validation, test
WHITE = 16


class Digits(DataSet):
    """1,797 grey 8x8 digits that come with scikit-learn: for a first look, 10 classes."""

    name = "digits"

    def load(self, request: Request) -> Data:
        """Digits at their own 8x8 with patch 2, one channel, no augmentation: trained from scratch in a minute.

        Source: scikit-learn ``datasets.load_digits`` (the test part of UCI's recognition of handwritten digits).
        """
        import numpy as np
        import torch
        from sklearn.datasets import load_digits

        from eebench.data.pixels import pixel_data

        bunch = load_digits()
        pixels = torch.from_numpy(bunch.images.astype(np.uint8))[:, None]
        sources = {"train": (pixels, bunch.target.astype(np.int64))}
        labels = [str(digit) for digit in range(10)]
        return pixel_data(request, sources, labels, augment="none", shares=SHARES, white=WHITE)


KIND = Digits()
