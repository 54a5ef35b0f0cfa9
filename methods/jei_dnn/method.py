"""JEI-DNN: linear exits and tiny gates on a frozen backbone, trained in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
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
    Layout,
    Method,
    Phase,
    Range,
    Rows,
    Task,
    TrainStep,
    Visit,
    only,
)
from eebench.parts import FinalNorm
from eebench_methods.common import exit_blocks
from eebench_methods.jei_dnn import recipes
from eebench_methods.jei_dnn.gates import (
    GateBias,
    exit_probabilities,
    gate_features,
    gate_targets,
    importance,
    positive_weights,
)

__all__ = ["JEIDNN", "GatedExit"]


class GatedExit(ExitHead):
    """An inference module, Linear(D, K) on the normed class token, and a gate, Linear(4, 1) on its answer's statistics.

    The gate's inputs are detached: teaching it does not move the classifier.
    """

    positive_weight: Tensor

    def __init__(self, backbone: Backbone, layout: Layout, classes: int) -> None:
        super().__init__()
        self.norm = FinalNorm(backbone, layout)
        self.classifier = nn.Linear(layout.dim, classes)
        self.gate = nn.Linear(4, 1)
        self.register_buffer("positive_weight", torch.ones(()))  # of the gate's loss; a buffer, so that it is saved

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        logits = self.answer(features)
        return ExitOutput(logits, self.gate(gate_features(logits.detach())).squeeze(1))

    def answer(self, features: Features) -> Tensor:
        return self.classifier(self.norm(features))


@dataclass(frozen=True)
class JEIDNN(Method):
    """Jointly-learned exit and inference for dynamic neural networks (ICLR 2024).

    Attributes:
        blocks: blocks with an exit; every block but the last when none are given.
        tradeoff: λ, nats of cross-entropy that the full model's cost is worth to the gates; each value is a training.
            The lowest of the paper's by default; the bias takes trained gates from there to cheaper and dearer points.
        alternate: batches before gates and exits change turns (200 in the paper, on epochs of some 700 batches).
        im_weighting: what an exit's loss weighs: ``uniform``, all the same, which is what the released code amounts to;
            ``p_exit``, the probability of stopping there, as the paper means it (ruins exits nobody is sent to, see the
            card); ``p_exit_detached``, these weights rescaled to keep each sample's total loss, as the released code
            means to (unstable, see the card).
    """

    name = "jei_dnn"
    needs = frozenset({"classes"})
    papers = recipes.PAPERS
    space = MappingProxyType({"tradeoff": Range(0.01, 1.0, log=True)})

    blocks: tuple[int, ...] | None = None
    tradeoff: float = 0.01
    alternate: int = 4
    im_weighting: Literal["uniform", "p_exit", "p_exit_detached"] = "uniform"

    def __post_init__(self) -> None:
        if self.alternate < 1:
            raise ValueError("alternate must be at least 1")

    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """An exit a position; behind the last block the backbone's own classifier stays."""
        return {
            block: GatedExit(backbone, backbone.layouts[block - 1], task.classes)
            for block in exit_blocks(self.blocks, backbone.depth)
        }

    def rule(self, task: Task) -> ExitRule:
        """Conditional exit probability at or above 1/2, the gates' log-odds shifted by the knob."""
        return GateBias()

    def phases(self, task: Task) -> Sequence[Phase]:
        """The exits alone first, then gates and exits in turns; the backbone stays as it is in both."""
        return [
            Phase(
                "warm-up",
                self.warm_up_loss,
                lambda name: name.startswith("exits.") and ".gate." not in name,
                share=0.25,
                lr_scale=10.0,
            ),
            Phase(
                "turns",
                self.loss,
                only("exits."),
                share=0.75,
                lr_scale=30.0,  # Adam moves a weight by about this a step, and five gate weights have far to go
                epoch_end=self.reweigh_gates,
            ),
        ]

    def warm_up_loss(self, step: TrainStep) -> Tensor:
        """Weighted sum of the exits' losses, the earliest weighing most: G + 1 - l for l = 0 … G - 1.

        A sum, not a mean: the paper's learning rate (SGD) was set with it. Source: networkslab/dynn,
        src/learning_helper.py, get_warmup_loss.
        """
        losses = torch.stack([step.loss(visit.logits, step.targets).mean() for visit in step.visits[:-1]])
        return (losses * torch.arange(len(losses) + 1, 1, -1, device=losses.device)).sum()

    def gates_turn(self, step: TrainStep) -> bool:
        """Turns change every ``alternate`` batches; every epoch starts with the gates."""
        return (step.batch // self.alternate) % 2 == 0

    def loss(self, step: TrainStep) -> Tensor:
        """The loss of whose turn it is."""
        return self.gate_loss(step) if self.gates_turn(step) else self.classifier_loss(step)

    def gate_loss(self, step: TrainStep) -> Tensor:
        """Binary cross-entropy of the gates against who should stop where; moves no classifier."""
        with torch.no_grad():
            _, targets = self.targets(step.visits, step.targets)
        signals, weights = _signals(step), torch.stack([_head(visit).positive_weight for visit in step.visits[:-1]])
        return F.binary_cross_entropy_with_logits(signals, targets, pos_weight=weights)

    def classifier_loss(self, step: TrainStep) -> Tensor:
        """Mean over samples and exits of the weighted cross-entropy; moves no gate."""
        losses = torch.stack([step.loss(visit.logits, step.targets) for visit in step.visits[:-1]], 1)
        if self.im_weighting == "uniform":
            return losses.mean()
        weights = exit_probabilities(torch.sigmoid(_signals(step)).detach())
        if self.im_weighting == "p_exit_detached":
            weights = importance(losses, weights)
        return (weights * losses).mean()

    def targets(self, visits: Sequence[Visit], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Where each sample should stop and what that asks of the gates; cost is the share of blocks run."""
        losses = torch.stack([F.cross_entropy(visit.logits, targets, reduction="none") for visit in visits], 1)
        costs = losses.new_tensor([visit.block / visits[-1].block for visit in visits])
        return gate_targets(losses, costs, self.tradeoff)

    def reweigh_gates(self, visits: list[Visit], targets: Tensor) -> None:
        """Balance each gate's positives and negatives as the validation split has them."""
        best, _ = self.targets(visits, targets)
        for visit, weight in zip(visits, positive_weights(best, len(visits) - 1), strict=False):
            _head(visit).positive_weight.copy_(weight)


def _head(visit: Visit) -> GatedExit:
    assert isinstance(visit.head, GatedExit)
    return visit.head


def _signals(step: TrainStep) -> Tensor:
    """Logits of the gates, (B, G)."""
    return torch.stack([visit.output.signal for visit in step.visits[:-1]], 1)  # type: ignore[misc]
