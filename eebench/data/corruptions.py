"""Corrupted test images, in the manner of ImageNet-C (Hendrycks and Dietterich 2019, 1903.12261).

Eight of its kinds that need no other pictures and mean the same at any size, at severities 1 to 5. Strengths are those
of CIFAR-10-C for images of up to 64 pixels and those of ImageNet-C above. Images are corrupted as the model sees them,
at its size, in shares of full brightness; what is drawn depends on kind, severity and position alone. Left out are
frost (needs photographs), snow, fog, spatter, elastic, and the motion, zoom, glass and defocus blurs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tv

from eebench.data.base import Split
from eebench.data.preprocessing import Preprocessing

__all__ = ["KINDS", "CorruptedImages", "corrupt", "corrupted_images"]

SMALL = 64  # pixels: up to here strengths are CIFAR-10-C's
BATCH = 256
HELD = 1 << 30  # bytes: a corrupted split that needs more is made again whenever it is looked at

Change = Callable[[Tensor, float, torch.Generator], Tensor]
"""Images (N, C, H, W) in [0, 1], how strong, what is drawn from: images, to be clipped."""


@dataclass(frozen=True)
class _Kind:
    """A corruption and its strengths at severities 1 to 5."""

    change: Change
    small: tuple[float, ...]
    large: tuple[float, ...]
    drawn: bool = False  # whether anything is random


def _gaussian_noise(images: Tensor, deviation: float, random: torch.Generator) -> Tensor:
    return images + deviation * torch.randn(images.shape, generator=random)


def _shot_noise(images: Tensor, photons: float, random: torch.Generator) -> Tensor:
    return torch.poisson(images * photons, generator=random) / photons


def _impulse_noise(images: Tensor, share: float, random: torch.Generator) -> Tensor:
    drawn = torch.rand(images.shape, generator=random)
    return torch.where(drawn < share / 2, 0.0, torch.where(drawn < share, 1.0, images))


def _gaussian_blur(images: Tensor, deviation: float, random: torch.Generator) -> Tensor:
    reach = min(int(4 * deviation + 0.5), *(side - 1 for side in images.shape[-2:]))
    return tv.gaussian_blur(images, [2 * reach + 1] * 2, [deviation] * 2)


def _brightness(images: Tensor, more: float, random: torch.Generator) -> Tensor:
    """Value of hue, saturation and value raised, the two others as they were."""
    value = images.amax(1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, images * (raised / value.clamp(min=1e-8)), raised)


def _contrast(images: Tensor, kept: float, random: torch.Generator) -> Tensor:
    return tv.adjust_contrast(images, kept)


def _pixelate(images: Tensor, kept: float, random: torch.Generator) -> Tensor:
    height, width = images.shape[-2:]
    small = (max(1, int(height * kept)), max(1, int(width * kept)))
    return F.interpolate(F.interpolate(images, small, mode="area"), (height, width), mode="nearest-exact")


def _jpeg(images: Tensor, quality: float, random: torch.Generator) -> Tensor:
    levels = (images * 255).round().to(torch.uint8)
    return torch.stack([tv.jpeg(image, int(quality)) for image in levels]).float() / 255


KINDS: dict[str, _Kind] = {
    "gaussian_noise": _Kind(
        _gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38), drawn=True
    ),
    "shot_noise": _Kind(_shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3), drawn=True),
    "impulse_noise": _Kind(_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27), drawn=True),
    "gaussian_blur": _Kind(_gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6)),
    "brightness": _Kind(_brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": _Kind(_contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "pixelate": _Kind(_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": _Kind(_jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}


def corrupt(images: Tensor, kind: str, severity: int, ids: Sequence[int] | np.ndarray) -> Tensor:
    """Corrupt images.

    Args:
        images: (N, C, H, W) in [0, 1], C 1 or 3.
        kind: one of :data:`KINDS`.
        severity: 1 to 5.
        ids: (N,) their positions in the split, which the noise of each is drawn from.

    Returns:
        Images of the same shape in [0, 1].
    """
    known = KINDS[kind]
    strengths = known.small if max(images.shape[-2:]) <= SMALL else known.large
    number = list(KINDS).index(kind)
    strength = strengths[severity - 1]
    if not known.drawn:
        return known.change(images, strength, torch.Generator()).clamp(0, 1)
    changed = []
    for image, position in zip(images, ids, strict=True):
        (state,) = np.random.SeedSequence([number, severity, int(position)]).generate_state(1, np.uint64)
        changed.append(known.change(image[None], strength, torch.Generator().manual_seed(int(state))))
    return torch.cat(changed).clamp(0, 1)


class CorruptedImages(Sequence[Tensor]):
    """A split's images, corrupted when they are asked for.

    Args:
        inputs: as the model sees them.
        preprocessing: how they were made.
        kind: one of :data:`KINDS`.
        severity: 1 to 5.
    """

    def __init__(self, inputs: Sequence[Tensor], preprocessing: Preprocessing, kind: str, severity: int) -> None:
        self.inputs, self.preprocessing, self.kind, self.severity = inputs, preprocessing, kind, severity

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]  # no slices: nothing asks for one
        """One image, normalised as before."""
        return self.some([index])[0]

    def some(self, ids: Sequence[int]) -> Tensor:
        """The images at these positions, stacked."""
        shares = self.preprocessing.shares(torch.stack([self.inputs[i] for i in ids]))
        return self.preprocessing.inputs(corrupt(shares, self.kind, self.severity, ids))


def corrupted_images(split: Split, preprocessing: Preprocessing, kind: str, severity: int) -> Split:
    """A split with its images corrupted, held in memory where they take at most 1 GiB.

    Args:
        split: of images.
        preprocessing: how its inputs were made.
        kind: one of :data:`KINDS`.
        severity: 1 to 5.
    """
    lazy = CorruptedImages(split.inputs, preprocessing, kind, severity)
    if len(split) * lazy[0].nbytes > HELD:
        return Split(lazy, split.targets)
    positions = range(len(split))
    parts = [lazy.some(positions[start : start + BATCH]) for start in range(0, len(split), BATCH)]
    held: Any = torch.cat(parts)
    return Split(held, split.targets)
