"""A raw sample, as it comes from a camera or a file, checked and brought to values: Pillow and numpy, no torch.

Training, measuring and a deployed model share this; what is left is arithmetic (:class:`eebench.data.preprocessing
.Preprocessing` in torch, :mod:`eebench.deploy.samples` in numpy).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image, UnidentifiedImageError

from eebench.errors import UserError, shown

__all__ = ["UNREADABLE", "Raw", "rgb", "unreadable"]

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # Pillow's errors on damaged files
BICUBIC = Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Raw:
    """What happens to a raw sample: all of it, in the order of the fields. JSON-ready: :meth:`to_dict`.

    Small images (``native``) are brought to that side, larger ones (``crop``) resized by Pillow, bicubic, until the
    shorter side is ``floor(size / crop)``, and cropped at the centre. Then come values, ``size`` and normalisation.
    """

    modality: str  # "vision" | "text"
    labels: tuple[str, ...] = ()  # class names by id
    colours: str = "RGB"  # what an image is read as: "L" (grey) or "RGB"
    white: int = 255  # the value of full brightness in arrays
    native: int | None = None  # side that small images are brought to first, in pixels
    crop: float | None = None  # share of the shorter side that the centre crop keeps
    size: int | None = None  # side of what the model sees, in pixels: from ``native`` bicubic, antialiased
    scale: float = 1.0  # values are divided by it before they are normalised
    mean: tuple[float, ...] = ()  # one a channel
    std: tuple[float, ...] = ()  # one a channel
    channels: int = 3  # three from one: a grey image is shown in three equal channels
    pairs: bool = False  # text: a sample is two strings
    max_tokens: int | None = None  # text: where the tokenizer cuts

    def texts(self, samples: Any) -> list[Any]:
        """One text (or pair) or several, as a list.

        Raises:
            UserError: something else than strings, or than pairs of strings where the data set has pairs.
        """
        return _texts(samples, self.pairs)

    def values(self, samples: Any) -> list[np.ndarray]:
        """Images in any form as values (C, H, W), 0 to ``white``, resized and cropped; C is 1 for grey, else 3.

        (H, W) is ``native`` where there is one, else ``size``.

        Raises:
            UserError: a sample of another kind or shape, values out of range, an image that cannot be read.
        """
        listed = self._listed(samples)
        arrays = [_array(sample) for sample in listed]
        fractions = [a for a in arrays if a is not None and a.dtype.kind == "f"]
        unit = bool(fractions) and max(float(a.max(initial=0)) for a in fractions) <= 1
        return [
            self._of_array(array, position, unit) if array is not None else self.pixels(self._opened(sample, position))
            for position, (sample, array) in enumerate(zip(listed, arrays, strict=True))
        ]

    def pixels(self, image: Image.Image) -> np.ndarray:
        """An image of any mode as values (C, H, W): uint8, or float32 where ``white`` is not 255."""
        image = rgb(image).convert(self.colours)
        if self.crop is not None and self.size is not None:
            image = _cropped(image, self.size, self.crop)
        elif self.native is not None and image.size != (self.native, self.native):
            image = image.resize((self.native, self.native), BICUBIC)
        pixels = np.array(image)
        pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return pixels if self.white == 255 else pixels.astype(np.float32) * np.float32(self.white / 255)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Back from :meth:`to_dict`, also after JSON. Unknown fields (of a later version) are left out."""
        known = {f.name for f in fields(cls)}
        found: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        return cls(**found)

    def _listed(self, samples: Any) -> list[Any]:
        if isinstance(samples, (str, os.PathLike, Image.Image)):
            return [samples]
        if _is_array(samples):
            if samples.ndim == 2 or (samples.ndim == 3 and _is_one(samples, self.colours)):
                return [samples]
            return list(samples)
        try:
            return list(samples)
        except TypeError:
            raise UserError(f"{type(samples).__name__} is no image, file name, array or list of these") from None

    def _opened(self, sample: Any, position: int) -> Image.Image:
        if isinstance(sample, Image.Image):
            return sample
        if not isinstance(sample, (str, os.PathLike)):
            raise UserError(f"sample {position} is {type(sample).__name__}: expected an image, a file name or an array")
        try:
            with Image.open(Path(sample)) as image:
                image.load()
                return image.copy()
        except UNREADABLE as error:
            raise unreadable(sample, error) from None

    def _of_array(self, array: np.ndarray, position: int, unit: bool) -> np.ndarray:
        """An array's values (C, H, W)."""
        planes = _planes(array, position)
        low, high = (float(planes.min()), float(planes.max())) if planes.size else (0.0, 0.0)
        if not (low >= 0 and high <= self.white):  # NaN is neither
            mend = "hand in a PIL image, or values in that range" if low >= 0 else "raw values, please, not normalised"
            raise UserError(
                f"sample {position} has values from {low:g} to {high:g}, expected 0 to {self.white}: {mend}"
            )
        if array.dtype.kind == "f" and unit:
            planes = planes * self.white
        wanted = 1 if self.colours == "L" else 3
        side = self.native if self.crop is None else None
        if planes.shape == (wanted, side, side):  # as the data set itself has them: taken as they are
            return np.array(planes)
        bytes_ = (planes * (255 / self.white)).round().astype(np.uint8).transpose(1, 2, 0)
        return self.pixels(Image.fromarray(bytes_[..., 0] if bytes_.shape[2] == 1 else bytes_))


def unreadable(image: str | os.PathLike[str], error: Exception) -> UserError:
    """The error for an image that Pillow cannot read, in one line."""
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    if isinstance(error, UnidentifiedImageError):  # its own words name a buffer in memory
        reason = "it is of no format that Pillow knows"
    return UserError(f"image '{shown(image)}' cannot be read: {reason}")


def rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: grey repeated, transparency dropped, 16-bit grey scaled (Pillow alone clips it to white)."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.float64) / 257  # 65535 / 255
        image = Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
    if image.mode in ("P", "PA"):  # a palette's transparency is understood on the way through RGBA only
        image = image.convert("RGBA")
    return image.convert("RGB")


def _cropped(image: Image.Image, size: int, crop: float) -> Image.Image:
    """As timm evaluates: the shorter side to floor(size / crop), bicubic, then the centre."""
    shorter = int(size / crop)
    width, height = image.size
    if min(width, height) != shorter:
        longer = int(shorter * max(width, height) / min(width, height))
        image = image.resize((shorter, longer) if width <= height else (longer, shorter), BICUBIC)
        width, height = image.size
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _is_array(sample: Any) -> bool:
    """A numpy array, or a tensor of some library."""
    return isinstance(sample, np.ndarray) or (hasattr(sample, "__array__") and hasattr(sample, "ndim"))


def _array(sample: Any) -> np.ndarray | None:
    if not _is_array(sample):
        return None
    return np.asarray(sample.detach().cpu() if hasattr(sample, "detach") else sample)


def _is_one(array: Any, colours: str) -> bool:
    """Whether three dimensions are one image: channels last, or a colour image's three channels first."""
    return array.shape[-1] in (1, 3, 4) or (colours == "RGB" and array.shape[0] == 3)


def _planes(array: np.ndarray, position: int) -> np.ndarray:
    """An array as (1 or 3, H, W); a fourth channel (transparency) is dropped."""
    if array.dtype.kind not in "uif":
        raise UserError(f"sample {position} is an array of {array.dtype}: expected numbers")
    if array.ndim == 2:
        return array[None]
    if array.ndim == 3 and array.shape[-1] in (1, 3, 4):
        return array.transpose(2, 0, 1)[:3]
    if array.ndim == 3 and array.shape[0] in (1, 3):
        return array
    shape = "x".join(map(str, array.shape))
    raise UserError(f"sample {position} is an array of {shape}: expected (H, W), (H, W, C) or (C, H, W), C 1 or 3")


def _texts(samples: Any, pairs: bool) -> list[Any]:
    if isinstance(samples, str) or (pairs and _is_pair(samples)):
        samples = [samples]
    listed = list(samples)
    for position, sample in enumerate(listed):
        if pairs and not _is_pair(sample):
            raise UserError(f"sample {position} is no pair of texts, which this data set has")
        if not pairs and not isinstance(sample, str):
            raise UserError(f"sample {position} is {type(sample).__name__}: expected a string")
    return [tuple(sample) for sample in listed] if pairs else listed


def _is_pair(sample: Any) -> bool:
    return isinstance(sample, (tuple, list)) and len(sample) == 2 and all(isinstance(text, str) for text in sample)
