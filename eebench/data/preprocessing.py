"""From a raw sample to what a model was trained on: part of the data set, kept in the record, repeated when deployed.

A data set's own test inputs go through the same functions, so that a deployed model sees exactly what it was scored on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from eebench.raw import UNREADABLE, Raw, rgb, unreadable

__all__ = ["UNREADABLE", "Preprocessing", "rgb", "unreadable"]


@dataclass(frozen=True)
class Preprocessing(Raw):
    """What happens to a raw sample, as tensors."""

    def apply(self, samples: Any) -> list[Any]:
        """Raw samples, prepared as the data set's own were.

        Args:
            samples: a list of samples, or one. Images: PIL images, file names, arrays or tensors (H, W), (H, W, C) or
                (C, H, W). Whole numbers are values from 0 to ``white``; so are fractions, unless none in the call
                exceeds 1: then 1 is ``white``. Texts: strings, or pairs of strings where the data set has pairs.

        Returns:
            One tensor (channels, size, size) an image, float32, equal to ``Data.test.inputs[i]`` for the data set's
            own raw images; for texts the strings or pairs, which the backbone tokenises.

        Raises:
            UserError: a sample of another kind or shape, values out of range, an image that cannot be read.
        """
        if self.modality == "text":
            return self.texts(samples)
        return [self.finish(torch.from_numpy(values)[None])[0] for values in self.values(samples)]

    def levels(self, image: Image.Image) -> Tensor:
        """An image of any mode as values (C, H, W), resized and cropped: uint8, or float32 where ``white`` is not 255.

        C is 1 for grey, else 3. (H, W) is ``native`` where there is one, else ``size``.
        """
        return torch.from_numpy(self.pixels(image))

    def finish(self, levels: Tensor) -> Tensor:
        """Values (N, C, H, W) as model inputs (N, channels, size, size): float32, normalised."""
        images = levels.float()
        if self.size is not None and images.shape[-1] != self.size:
            images = F.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True)
        if self.scale != 1:
            images = images / self.scale
        mean, std = self._statistics
        return ((images - mean) / std).expand(-1, self.channels, -1, -1)

    def shares(self, inputs: Tensor) -> Tensor:
        """What :meth:`finish` made, (N, channels, H, W), as shares of full brightness (N, C, H, W), C 1 for grey."""
        mean, std = (t.to(inputs.device) for t in self._statistics)
        levels = (inputs * std + mean) * self.scale
        return (levels[:, :1] if self.colours == "L" else levels) / self.white

    def inputs(self, shares: Tensor) -> Tensor:
        """The way back: shares of full brightness (N, C, H, W) as model inputs (N, channels, H, W), normalised."""
        mean, std = (t.to(shares.device) for t in self._statistics)
        return ((shares * self.white / self.scale - mean) / std).expand(-1, self.channels, -1, -1)

    def normalised(self, mean: Sequence[float], std: Sequence[float]) -> Preprocessing:
        """The same with another mean and deviation, in shares of full brightness: a pre-trained model's own."""
        mean, std = tuple(map(float, mean)), tuple(map(float, std))
        channels = max(self.channels, len(mean))
        return replace(self, scale=float(self.white), mean=mean, std=std, channels=channels)

    @cached_property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False):  # whoever asks first, an attack takes gradients through them
            mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (self.mean, self.std))
        return mean, std
