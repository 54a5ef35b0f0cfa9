"""Heads and losses several methods share. A method whose own differ keeps them in its folder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eebench.api import Backbone, ExitHead, Features, Layout, TrainStep

__all__ = ["Borrowed", "FinalNorm", "LinearExit", "joint_loss"]


class Borrowed:
    """The backbone, as a head holds it that uses it but does not own it.

    Assigned to a module as it is, torch would take the backbone for a part of the head, and save, count and train its
    parameters as the head's.

    Args:
        backbone: kept as ``backbone``.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone


class FinalNorm(nn.Module):
    """One vector a sample, (B, D), through the backbone's own final norm: its last block's, shared by every exit.

    Where the width is not the last block's (Swin's and ResNet's earlier stages) a LayerNorm of its own takes its place.

    Args:
        backbone: whose norm it is.
        layout: the tokens it reads.
    """

    def __init__(self, backbone: Backbone, layout: Layout) -> None:
        super().__init__()
        fits = layout.dim == backbone.layouts[-1].dim
        self.borrowed = Borrowed(backbone) if fits else None
        self.norm = nn.Identity() if fits else nn.LayerNorm(layout.dim)

    def forward(self, features: Features) -> Tensor:
        if self.borrowed is None:
            return self.norm(features.pooled)
        norm = self.borrowed.backbone.norm
        if features.layout.pool == "cls":  # nobody reads the other tokens, so they need no norm
            return norm(Features(features.tokens[:, :1], features.layout)).tokens[:, 0]
        return Features(norm(features).tokens, features.layout, features.mask).pooled


class LinearExit(ExitHead):
    """A linear classifier on the pooled vector: [LayerNorm] → [Linear(D, D), tanh] → Linear(D, K).

    Args:
        layout: the tokens it reads.
        outputs: K.
        norm: a LayerNorm of its own before anything else.
        pooler: BERT's pooler (a Linear and tanh) before the classifier.
    """

    def __init__(self, layout: Layout, outputs: int, *, norm: bool = False, pooler: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(layout.dim) if norm else nn.Identity()
        self.pooler = nn.Sequential(nn.Linear(layout.dim, layout.dim), nn.Tanh()) if pooler else nn.Identity()
        self.classifier = nn.Linear(layout.dim, outputs)

    def answer(self, features: Features) -> Tensor:
        """[LayerNorm] → [pooler] → classifier."""
        return self.classifier(self.pooler(self.norm(features.pooled)))


def joint_loss(step: TrainStep, weights: Sequence[float]) -> Tensor:
    """Weighted mean over exits (the last included) of the batch's mean task loss: sum w_i L_i / sum w_i.

    Raises:
        ValueError: not one weight an exit.
    """
    losses = torch.stack([step.loss(visit.logits, step.targets).mean() for visit in step.visits])
    scale = losses.new_tensor(weights)
    if scale.shape != losses.shape:
        raise ValueError(f"{len(step.visits)} exits but {len(weights)} weights")
    return (losses * scale).sum() / scale.sum()
