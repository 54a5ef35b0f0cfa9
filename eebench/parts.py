"""Heads and losses several methods share. A method whose own differ keeps them in its folder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from eebench.api import ExitHead, ExitOutput, Features, Layout, Rows, TrainStep

__all__ = ["LinearExit", "joint_loss"]


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

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        return ExitOutput(self.classifier(self.pooler(self.norm(features.pooled))))


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
