"""From a recipe to an optimiser, its learning rate at every step, and how many epochs each phase gets."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from eebench.api import Phase, Recipe

__all__ = [
    "BACKBONE_LR_SCALE",
    "common_recipe",
    "default_lr",
    "make_optimizer",
    "overridden",
    "phase_recipes",
    "rate_factor",
    "share_epochs",
    "steps_per_epoch",
]

BACKBONE_LR_SCALE = 0.3
"""A method's phases start from a trained backbone: its weights move at this share of the heads' learning rate."""

RISE = 25.0  # one-cycle: the first learning rate is the highest divided by this (torch's OneCycleLR)
FALL = 1e4  # and the last one is the first divided by this


def default_lr(width: int, *, pretrained: bool) -> float:
    """AdamW's: 1e-4 from pre-trained weights at batch 32, else 2e-3 at 64 channels and batch 64, falling as 1/sqrt."""
    return 1e-4 if pretrained else 2e-3 * math.sqrt(64 / max(width, 64))


def common_recipe(
    width: int, *, pretrained: bool, epochs: int, batch_size: int | None = None, lr: float | None = None
) -> Recipe:
    """What everybody trains with unless a paper's recipe is asked for: AdamW, a tenth of warm-up, cosine to 0, clip 1.

    Args:
        width: the backbone's channels at its widest, which the learning rate goes by.
        pretrained: whether the backbone starts from pre-trained weights.
        epochs: passes over the training split.
        batch_size: 32 from pre-trained weights, else 64, when not given.
        lr: :func:`default_lr` when not given.
    """
    return Recipe(
        epochs=epochs,
        batch_size=batch_size or (32 if pretrained else 64),
        lr=lr or default_lr(width, pretrained=pretrained),
        weight_decay=0.01 if pretrained else 0.05,
        warmup=0.1,
        clip=1.0,
    )


def share_epochs(shares: Sequence[float], total: int) -> list[int]:
    """Whole epochs for each phase, which sum to ``total``: largest remainders, but one epoch at least.

    More phases than epochs make more epochs than there are; whoever shares them out says so.

    Args:
        shares: of the phases, summing to 1.
        total: epochs the method has.
    """
    epochs = [max(1, math.floor(share * total + 1e-9)) for share in shares]
    while sum(epochs) < total:
        lacking = [share * total - has for share, has in zip(shares, epochs, strict=True)]
        epochs[lacking.index(max(lacking))] += 1
    while sum(epochs) > max(total, len(epochs)):
        beyond = [has - share * total if has > 1 else -math.inf for share, has in zip(shares, epochs, strict=True)]
        epochs[beyond.index(max(beyond))] -= 1
    return epochs


def phase_recipes(phases: Sequence[Phase], total_epochs: int, base: Recipe) -> list[Recipe]:
    """Each phase's recipe: the common one on its share of the epochs, at its own rate."""
    epochs = share_epochs([phase.share for phase in phases], total_epochs)
    return [
        replace(base, epochs=own, lr=base.lr * phase.lr_scale, backbone_lr_scale=BACKBONE_LR_SCALE)
        for phase, own in zip(phases, epochs, strict=True)
    ]


def overridden(
    recipe: Recipe, *, epochs: int | None = None, lr: float | None = None, batch_size: int | None = None
) -> Recipe:
    """A paper's recipe with what was asked for explicitly; milestones keep their place in the whole."""
    if epochs is not None and epochs != recipe.epochs:
        share = epochs / max(1, recipe.epochs)
        recipe = replace(recipe, epochs=epochs, milestones=_milestones(recipe.milestones, share))
    return replace(recipe, lr=lr or recipe.lr, batch_size=batch_size or recipe.batch_size)


def _milestones(milestones: Sequence[int], share: float) -> tuple[int, ...]:
    moved: list[int] = []
    for milestone in milestones:
        moved.append(max(round(milestone * share), moved[-1] + 1 if moved else 1))
    return tuple(moved)


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Batches an epoch of ``data.base.batches`` has: a last batch of a single sample joins the one before."""
    whole, rest = divmod(samples, batch_size)
    return max(1, whole + (rest > (1 if whole else 0)))


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over every parameter that is trained, at the recipe's full rate.

    Parameters whose name begins with ``backbone.`` move at ``backbone_lr_scale`` of it; weight decay is for matrices
    and convolutions, and for biases and norms too where the recipe says ``decay="all"``.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    params = []
    for (of_backbone, matrix), members in groups.items():
        lr = recipe.lr * (recipe.backbone_lr_scale if of_backbone else 1.0)
        decay = recipe.weight_decay if matrix or recipe.decay == "all" else 0.0
        params.append({"params": members, "lr": lr, "initial_lr": lr, "weight_decay": decay})
    # fused: one kernel for all tensors, a tenth of a step's time on small models
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(params, lr=recipe.lr, momentum=recipe.momentum, fused=True)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
    return kind(params, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, fused=True)


def rate_factor(recipe: Recipe, per_epoch: int) -> Callable[[int], float]:
    """The learning rate of every step, counted from 0, as a factor on the recipe's.

    Args:
        recipe: epochs, schedule, warm-up.
        per_epoch: steps an epoch has.
    """
    total = per_epoch * recipe.epochs
    warm = recipe.warmup_steps or round(recipe.warmup * total)
    if recipe.schedule == "one-cycle":
        return _one_cycle(recipe.warmup * total - 1, total)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        if recipe.schedule == "constant":
            return 1.0
        epoch = step // per_epoch
        if recipe.schedule == "step":
            return recipe.gamma ** bisect_right(recipe.milestones, epoch)
        at = epoch * per_epoch if recipe.every == "epoch" else step
        left = 1 - (at - warm) / max(1, total - warm)
        if recipe.schedule == "cosine":
            left = 0.5 * (1 + math.cos(math.pi * (1 - left)))
        return recipe.floor + (1 - recipe.floor) * left

    return factor


def _one_cycle(top: float, total: int) -> Callable[[int], float]:
    """Up to the full rate at step ``top``, then down to next to nothing, both along half a cosine.

    Smith and Topin (2019), in the form of torch's ``OneCycleLR``; momentum stays as it is.
    """

    def along(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    def factor(step: int) -> float:
        if step <= top:
            return along(1 / RISE, 1.0, step / top if top else 1.0)
        return along(1.0, 1 / RISE / FALL, min(1.0, (step - top) / max(1e-9, total - 1 - top)))

    return factor
