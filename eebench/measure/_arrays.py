"""The checks every measure shares: arrays in, one clear ``ValueError`` out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Floats", "Ints", "Mask", "class_labels", "finite", "flags", "fraction"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Shape = tuple[int | None, ...]


def finite(name: str, values: ArrayLike, shape: Shape) -> Floats:
    """``values`` as float64 of the given shape, where ``None`` fits any length but 0; NaN and infinity are errors."""
    array = _shaped(name, values, shape).astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return array


def fraction(name: str, values: ArrayLike, shape: Shape) -> Floats:
    """Like :func:`finite`, within [0, 1]. What a float32 softmax overshoots by rounding, up to 1e-5, is clipped."""
    array = finite(name, values, shape)
    if array.min() < -1e-5 or array.max() > 1 + 1e-5:
        raise ValueError(f"{name} must lie in [0, 1], found {array.min():g} to {array.max():g}")
    return array.clip(0, 1)


def flags(name: str, values: ArrayLike, shape: Shape) -> Mask:
    """``values`` as booleans; anything but False, True, 0 and 1 is an error."""
    array = _shaped(name, values, shape)
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must be True or False")
    return array.astype(bool, copy=False)


def class_labels(name: str, values: ArrayLike, shape: Shape, below: int | None = None) -> Ints:
    """``values`` as int64 from 0 to ``below`` - 1: class indices, or exit indices."""
    array = _shaped(name, values, shape)
    if array.dtype.kind not in "iub":
        raise ValueError(f"{name} must be integers, not {array.dtype}")
    if array.min() < 0 or (below is not None and array.max() >= below):
        limit = "0 or more" if below is None else f"from 0 to {below - 1}"
        raise ValueError(f"{name} must be {limit}, found {array.min()} to {array.max()}")
    return array.astype(np.int64, copy=False)


def _shaped(name: str, values: ArrayLike, shape: Shape) -> NDArray[Any]:
    array = np.asarray(values)
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = ", ".join("n" if length is None else str(length) for length in shape)
        raise ValueError(f"{name} must have shape ({wanted}), not {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} is empty")
    return array
