"""SDN (Kaya, Hong and Dumitras, Shallow-Deep Networks, ICML 2019, arXiv 1810.07052): heads, losses, exit rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from eebench.api import (
    Backbone,
    ChainedHead,
    ExitHead,
    ExitOutput,
    ExitRule,
    Features,
    Method,
    Phase,
    Rows,
    Task,
    TrainStep,
    Visit,
    only,
    top_probability,
)
from eebench.parts import Borrowed, LinearExit
from eebench.rules import Confidence
from eebench_methods.common import exit_blocks, linear_exits, needs_norm
from eebench_methods.sdn import recipes

__all__ = ["SDN", "ConfidentExit", "MostConfidentExit", "keep_most_confident", "ramp"]


def ramp(share: float, epoch: int, epochs: int) -> float:
    """An exit's loss weight: min(share, 0.01 + share * epoch / epochs), epochs counted from 1.

    ``share`` is the exit's place in the network, in (0, 1).

    Source: repository yigitcankaya/Shallow-Deep-Networks, where the shares are .15, .3, .45, .6, .75 and .9, the
    exits' places by cost; the final classifier's weight is 1.
    """
    return min(share, 0.01 + share * epoch / epochs)


def keep_most_confident(logits: Tensor, carry: Rows) -> Rows:
    """The most confident answer so far, per sample: {"logits" (B, K), "confidence" (B,)}; the earlier one on a tie."""
    confidence = top_probability(logits)
    if not carry:
        return {"logits": logits, "confidence": confidence}
    better = confidence > carry["confidence"]
    return {
        "logits": torch.where(better[:, None], logits, carry["logits"]),
        "confidence": torch.where(better, confidence, carry["confidence"]),
    }


class ConfidentExit(LinearExit):
    """A linear exit that hands the most confident answer so far to the next one."""

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        logits = self.answer(features)
        return ExitOutput(logits, carry=keep_most_confident(logits, carry))


class MostConfidentExit(ChainedHead):
    """The last exit when nobody was confident: the backbone's own classifier is asked, the most confident answers.

    ``aux["own"]`` (B, K) is the backbone's own answer, which training goes by.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.borrowed = Borrowed(backbone)

    def answer_after(self, features: Features, carry: Rows) -> Tensor:
        return keep_most_confident(self.borrowed.backbone.classify(features), carry)["logits"]

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        own = self.borrowed.backbone.classify(features)
        return ExitOutput(keep_most_confident(own, carry)["logits"], aux={"own": own})


@dataclass(frozen=True)
class SDN(Method):
    """Linear exits; stop at the first whose largest probability is above the threshold.

    Attributes:
        training: ``weighted`` trains everything, deeper exits weighing more (as LGViT's comparison does); ``ramped``
            trains everything with the original's exit weights that grow with the epochs; ``ic_only`` trains just the
            exits on the frozen backbone.
        answer: who answers when no exit was confident: the ``last`` one, or the ``most_confident`` of all.
        ramp_epochs: epochs until the exits reach their full weight, for ``training=ramped``; all of the training's, as
            in the original, when none are given.
        blocks: blocks with an exit; every block but the last when none are given.
    """

    name = "sdn"
    needs = frozenset({"classes"})
    papers = recipes.PAPERS

    training: Literal["weighted", "ramped", "ic_only"] = "weighted"
    answer: Literal["last", "most_confident"] = "last"
    ramp_epochs: int | None = None
    blocks: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.ramp_epochs is not None and self.ramp_epochs < 1:
            raise ValueError("ramp_epochs must be at least 1")

    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """Exits by block; the last one is the backbone's own, or (``answer=most_confident``) one that looks back."""
        blocks = exit_blocks(self.blocks, backbone.depth)
        if self.answer == "last":
            return linear_exits(backbone, task.outputs, blocks)
        norm, outputs = needs_norm(backbone), task.outputs
        looking = {block: ConfidentExit(backbone.layouts[block - 1], outputs, norm=norm) for block in blocks}
        return {**looking, backbone.depth: MostConfidentExit(backbone)}

    def rule(self, task: Task) -> ExitRule:
        """The largest probability above the threshold."""
        return Confidence()

    def phases(self, task: Task) -> Sequence[Phase]:
        """One phase, of the exits alone with ``training=ic_only``."""
        if self.training == "ic_only":
            # linear heads on features that stay as they are bear ten times the budget's rate, as ZTW's do
            return [Phase("ic_only", self.loss, only("exits."), lr_scale=10.0)]
        return [Phase("joint", self.loss)]

    def loss(self, step: TrainStep) -> Tensor:
        """The training option's weighted sum of the exits' mean cross-entropies."""
        losses = torch.stack([step.loss(own_logits(visit), step.targets).mean() for visit in step.visits])
        blocks = [visit.block for visit in step.visits]
        if self.training == "weighted":
            return (losses * losses.new_tensor(blocks)).sum() / sum(blocks)
        if self.training == "ic_only":
            return losses[:-1].sum()
        epochs = step.epochs if self.ramp_epochs is None else self.ramp_epochs
        weights = [ramp(block / blocks[-1], step.epoch + 1, epochs) for block in blocks[:-1]]
        return (losses[:-1] * losses.new_tensor(weights)).sum() + losses[-1]


def own_logits(visit: Visit) -> Tensor:
    """What this exit itself says, (B, K), whoever answers in the end."""
    return visit.output.aux.get("own", visit.logits)
