"""BERxiT (Xin, Tang, Yu and Lin, EACL 2021): alternating fine-tuning, and a module that learns when to exit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eebench.api import (
    Backbone,
    ExitHead,
    ExitOutput,
    ExitRule,
    Features,
    Knob,
    Layout,
    Method,
    Phase,
    Rows,
    Task,
    TrainStep,
)
from eebench.errors import UserError
from eebench.parts import LinearExit
from eebench.rules import Below, Confidence
from eebench_methods.berxit import recipes
from eebench_methods.common import exit_blocks, linear_exits, needs_norm

__all__ = ["BERxiT", "LearningToExit", "uncertainty_targets"]


def uncertainty_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """What the learning-to-exit module should say, (B,) in [0, 1]: 0 where stopping is fine, 1 where it is not.

    Classification: 1 where the predicted class is wrong. Regression (float targets): |tanh(value - target)|.
    Source: repository castorini/berxit, transformers/modeling_highway_bert.py.
    """
    if targets.is_floating_point():
        return torch.tanh(logits[:, 0] - targets).abs()
    return (logits.argmax(-1) != targets).to(logits.dtype)


class LearningToExit(LinearExit):
    """An exit whose ``signal`` (B,) in [0, 1] is how uncertain it is; it classifies only samples that stop.

    Args:
        layout: the tokens it reads.
        outputs: K.
        gate: the learning-to-exit module, (B, D) → (B, 1), one for all exits of this width.
        norm: a LayerNorm of its own before the pooler.
    """

    def __init__(self, layout: Layout, outputs: int, gate: nn.Module, *, norm: bool) -> None:
        super().__init__(layout, outputs, norm=norm, pooler=True)
        self.gate = gate

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        pooled = self.pooler(self.norm(features.pooled))
        return ExitOutput(signal=self.gate(pooled).squeeze(1), carry={"pooled": pooled})

    def classify(self, features: Features, output: ExitOutput) -> Tensor:
        """Logits from the pooled vector the gate has read."""
        return self.classifier(output.carry["pooled"])


@dataclass(frozen=True)
class BERxiT(Method):
    """Exits with a pooler each, trained in turn with the full model; stop by confidence or by a learned module.

    Attributes:
        exit: what decides: the largest probability (``confidence``), the learning-to-exit module (``lte``), or
            ``auto``: confidence for classification, lte for regression.
        blocks: blocks with an exit; every block but the last when none are given.
    """

    name = "berxit"
    papers = recipes.PAPERS

    exit: Literal["auto", "confidence", "lte"] = "auto"
    blocks: tuple[int, ...] | None = None

    def learned(self, task: Task) -> bool:
        """Whether the learning-to-exit module decides.

        Raises:
            UserError: confidence was asked for, and the task is a regression.
        """
        regression = task.kind == "regression"
        if regression and self.exit == "confidence":
            raise UserError("berxit[exit=confidence]: regression has no class probabilities; use exit=lte")
        return self.exit == "lte" or regression

    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """Exits by block; the last exit is the backbone's own classifier."""
        blocks = exit_blocks(self.blocks, backbone.depth)
        if not self.learned(task):
            return linear_exits(backbone, task.outputs, blocks, pooler="own")
        gates: dict[int, nn.Module] = {}
        exits: dict[int, ExitHead] = {}
        for block in blocks:
            layout = backbone.layouts[block - 1]
            if layout.dim not in gates:
                gates[layout.dim] = nn.Sequential(nn.Linear(layout.dim, 1), nn.Sigmoid())
            exits[block] = LearningToExit(layout, task.outputs, gates[layout.dim], norm=needs_norm(backbone))
        return exits

    def rule(self, task: Task) -> ExitRule:
        """Confidence above, or learned uncertainty below, the threshold."""
        if self.learned(task):
            return Below(learned_uncertainty, Knob("threshold", never=-1.0, always=2.0))
        return Confidence()

    def phases(self, task: Task) -> Sequence[Phase]:
        """One alternating phase."""
        return [Phase("alternating", self.loss)]

    def loss(self, step: TrainStep) -> Tensor:
        """Even steps: the last exit's task loss; odd steps: the sum of all exits'. Plus the learned exit's own loss."""
        visits = step.visits if step.index % 2 else step.visits[-1:]
        loss = torch.stack([step.loss(visit.logits, step.targets).mean() for visit in visits]).sum()
        return loss if step.visits[0].output.signal is None else loss + self.gate_loss(step)

    def gate_loss(self, step: TrainStep) -> Tensor:
        """Mean squared error of the uncertainties over samples and exits before the last."""
        said = [learned_uncertainty(visit.output) for visit in step.visits[:-1]]
        wanted = [uncertainty_targets(visit.logits.detach(), step.targets) for visit in step.visits[:-1]]
        return F.mse_loss(torch.stack(said), torch.stack(wanted))


def learned_uncertainty(output: ExitOutput) -> Tensor:
    """What the learning-to-exit module said, (B,) in [0, 1]."""
    assert output.signal is not None
    return output.signal
