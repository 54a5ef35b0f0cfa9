"""ViT-EE as a plugin: options, exits, rule, two training regimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from eebench.api import Backbone, ExitHead, ExitRule, Method, Phase, Task, TrainStep, only
from eebench.parts import joint_loss
from eebench.rules import Confidence
from eebench_methods.common import exit_blocks
from eebench_methods.vit_ee.heads import ConvExit, MixerExit, MLPExit, ResMLPExit, TransformerExit

__all__ = ["ViTEE", "classifier_wise_loss", "default_blocks", "end_to_end_loss"]


@dataclass(frozen=True)
class ViTEE(Method):
    """Branches with a body of their own behind a few blocks, confidence rule.

    Bakhtiarnia, Zhang and Iosifidis, "Multi-Exit Vision Transformer for Dynamic Inference", BMVC 2021.

    Attributes:
        head: the branch: a transformer block, an MLP, one of three CNNs, a Mixer block or a ResMLP block.
        blocks: exit blocks, such as ``6``; by default a sixth, a third and a half of the depth.
        regime: train backbone and exits together, or the exits alone on the frozen backbone.
    """

    name = "vit_ee"
    needs = frozenset({"classes", "grid"})

    head: Literal["vit", "mlp", "cnn_ignore", "cnn_add", "cnn_project", "mixer", "resmlp"] = "vit"
    blocks: tuple[int, ...] | None = None
    regime: Literal["end_to_end", "classifier_wise"] = "end_to_end"

    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """One branch a position."""
        blocks = exit_blocks(self.blocks or tuple(default_blocks(backbone.depth)), backbone.depth)
        return {block: self._head(backbone, block, task.outputs) for block in blocks}

    def _head(self, backbone: Backbone, block: int, outputs: int) -> ExitHead:
        kind, layout, ratio = self.head, backbone.layouts[block - 1], backbone.mlp_ratio
        if kind == "vit":
            return TransformerExit(layout, outputs, heads=backbone.heads[block - 1], mlp_ratio=ratio)
        if kind == "mlp":
            return MLPExit(layout, outputs, mlp_ratio=ratio)
        if kind == "mixer":
            return MixerExit(layout, outputs)
        if kind == "resmlp":
            return ResMLPExit(layout, outputs, mlp_ratio=ratio)
        return ConvExit(layout, outputs, cls=kind.removeprefix("cnn_"))

    def rule(self, task: Task) -> ExitRule:
        """Largest class probability above one threshold."""
        return Confidence()

    def phases(self, task: Task) -> Sequence[Phase]:
        """One phase: everything, or the exits alone."""
        if self.regime == "classifier_wise":
            return [Phase("classifier-wise", classifier_wise_loss, trains=only("exits."))]
        return [Phase("end to end", end_to_end_loss)]


def default_blocks(depth: int) -> list[int]:
    """Blocks at a sixth, a third and a half of the depth.

    A transformer block as head costs a block, so exits at b_1 < b_2 < ... cost b_k + k blocks: 3, 6 and 9 of 12 here,
    12 or more, which is no saving, for a third exit in the upper half.
    """
    return sorted({max(1, depth * sixths // 6) for sixths in (1, 2, 3)})


def end_to_end_loss(step: TrainStep) -> Tensor:
    """Mean loss over exits, the last exit counted twice (the paper's end-to-end regime)."""
    return joint_loss(step, [1.0] * (len(step.visits) - 1) + [2.0])


def classifier_wise_loss(step: TrainStep) -> Tensor:
    """Mean loss over the early exits; each trains alone, since nothing else is shared."""
    return torch.stack([step.loss(visit.logits, step.targets).mean() for visit in step.visits[:-1]]).mean()
