"""Noise that pushes samples to late exits, in the manner of DeepSloth (Hong et al. 2021, 2010.02432)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eebench.data.base import Split, batches
from eebench.data.preprocessing import Preprocessing
from eebench.engine.model import EarlyExitModel

__all__ = ["Attack", "attacked", "exits_loss", "noisy", "push_late"]


BATCH = 64


@dataclass(frozen=True)
class Attack:
    """How it is gone about. Distances are shares of full brightness, largest change of any pixel (L-infinity)."""

    radius: float = 8 / 255
    steps: int = 30
    step_size: float = 1 / 255
    samples: int = 256  # test images at most: a fixed choice in which classes keep their shares


def exits_loss(model: EarlyExitModel, inputs: Tensor) -> Tensor:
    """(B,) sum over the exits before the last of the cross-entropy between no preference and what they answer, in nats.

    It is least where every exit finds all classes alike, which no confidence and no entropy stops at.
    """
    inner = list(model.walk(inputs))[:-1]
    return torch.stack([-visit.logits.log_softmax(-1).mean(-1) for visit in inner]).sum(0)


def push_late(
    images: Tensor, loss: Callable[[Tensor], Tensor], attack: Attack, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Projected gradient descent on a loss within a ball around each image; the best point met is kept.

    Args:
        images: (B, C, H, W) shares of full brightness.
        loss: of such images, (B,), differentiable.
        attack: radius, steps and their size.
        low: least a pixel may be, apart from what it is already.
        high: most.

    Returns:
        Images of the same shape, none of their pixels further than the radius from where it was, and none with a larger
        loss than before.
    """
    least = torch.maximum(images - attack.radius, images.clamp(max=low))
    most = torch.minimum(images + attack.radius, images.clamp(min=high))
    here, best = images.clone(), images.clone()
    lowest = torch.full((len(images),), torch.inf, device=images.device)
    with torch.enable_grad():
        for step in range(attack.steps + 1):
            moved = here.detach().requires_grad_()
            losses = loss(moved)
            better = losses.detach() < lowest
            lowest = torch.where(better, losses.detach(), lowest)
            best = torch.where(better[:, None, None, None], moved.detach(), best)
            if step < attack.steps and losses.requires_grad:  # not where the answers do not depend on the pixels
                (slope,) = torch.autograd.grad(losses.sum(), moved)
                here = (here - attack.step_size * slope.sign()).clamp(least, most)
    return best


def attacked(model: EarlyExitModel, split: Split, preprocessing: Preprocessing, attack: Attack) -> Split:
    """A split of images with noise that this model's exits are slow on.

    Args:
        model: in eval mode, nothing in it to be trained.
        split: of images.
        preprocessing: how its inputs were made.
        attack: how it is gone about.
    """
    device = next(model.parameters()).device
    found = []
    for batch in batches(split, model.backbone.prepare, BATCH, device=device):
        shares = preprocessing.shares(batch.inputs)
        late = push_late(shares, lambda s: exits_loss(model, preprocessing.inputs(s)), attack)
        found.append(preprocessing.inputs(late).cpu())
    return _split(found, split)


def noisy(model: EarlyExitModel, split: Split, preprocessing: Preprocessing, attack: Attack) -> Split:
    """The same images with as much noise in directions drawn at random: what noise does that looks for nothing."""
    random = torch.Generator().manual_seed(0)
    found = []
    for batch in batches(split, model.backbone.prepare, BATCH):
        shares = preprocessing.shares(batch.inputs)
        signs = torch.randint(0, 2, shares.shape, generator=random) * 2 - 1
        found.append(preprocessing.inputs((shares + attack.radius * signs).clamp(0, 1)))
    return _split(found, split)


def _split(parts: list[Tensor], split: Split) -> Split:
    inputs: Any = torch.cat(parts)
    return Split(inputs, split.targets)
