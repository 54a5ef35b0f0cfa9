"""The models that are timed, and the same work written out by hand, without eebench's walk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eebench import backbones
from eebench.backbones.vit import ViT
from eebench.engine.model import EarlyExitModel
from eebench.parts import LinearExit

__all__ = ["early_exit", "images", "only_sure_at", "straight_line"]


def early_exit(name: str, classes: int, every: int = 1, **options: Any) -> EarlyExitModel:
    """A ViT with linear exits (LayerNorm, Linear) behind its blocks but the last, random weights, in eval mode.

    Args:
        name: of the backbone.
        classes: K.
        every: how many blocks from exit to exit.
        **options: of the backbone: image size, patch size, channels.
    """
    torch.manual_seed(0)
    backbone = backbones.create(name, outputs=classes, **options)
    exits = {b: LinearExit(backbone.layouts[b - 1], classes, norm=True) for b in range(every, backbone.depth, every)}
    return EarlyExitModel(backbone, {**exits}).eval().requires_grad_(False)


def images(model: EarlyExitModel, count: int) -> Tensor:
    """Random images of the model's size."""
    backbone = model.backbone
    assert isinstance(backbone, ViT)
    height, width = backbone.net.patch_embed.img_size
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def only_sure_at(model: EarlyExitModel, position: int) -> None:
    """Scale the exits' classifiers so that, by its own top probability, just the exit at ``position`` is ever sure."""
    for number, head in enumerate(model.exits.children()):
        if isinstance(head, LinearExit):
            head.classifier.weight.normal_(std=50.0 if number == position else 1e-4)


def straight_line(
    model: EarlyExitModel, exits: int, threshold: float | None = None
) -> Callable[[Tensor], list[Tensor]]:
    """The baseline: timm's modules and the heads' own modules in a plain loop, no engine.

    Args:
        model: whose modules to run.
        exits: heads to run, from the first.
        threshold: also compare every head's largest probability with it, and leave the loop; None: nobody asks.

    Returns:
        Images (B, 3, H, W) → logits of every head that ran, each (B, K).
    """
    backbone = model.backbone
    assert isinstance(backbone, ViT)
    net: Any = backbone.net
    last = model.blocks[exits - 1]
    heads: list[Any] = [None] * last  # of each block; the last block's is the network's own
    for number, head in zip(model.blocks[:exits], model.exits.children(), strict=False):
        if isinstance(head, LinearExit):
            heads[number - 1] = (head.norm, head.pooler, head.classifier)
    steps = list(zip(net.blocks[:last], heads, strict=True))

    def run(x: Tensor) -> list[Tensor]:
        x = net.patch_embed(x)
        x = net._pos_embed(x)
        x = net.patch_drop(x)
        x = net.norm_pre(x)
        answers = []
        for block, head in steps:
            x = block(x)
            if head is None:
                continue
            norm, pooler, classifier = head
            logits = classifier(pooler(norm(x[:, 0])))
            answers.append(logits)
            if threshold is not None and torch.softmax(logits, -1).amax(-1) > threshold:
                return answers
        if exits == len(model.blocks):
            answers.append(net.forward_head(net.norm(x)))
        return answers

    return run
