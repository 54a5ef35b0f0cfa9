"""PCEE-BERT (Zhang et al., Patient and Confident Early Exiting, Findings of NAACL 2022): loss and exit rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor

from eebench.api import (
    Backbone,
    ExitHead,
    ExitOutput,
    ExitRule,
    Knob,
    Method,
    Phase,
    Task,
    TrainStep,
    entropy,
)
from eebench.parts import joint_loss
from eebench.rules import Decided, decisions, quantile_grid
from eebench_methods.common import exit_blocks, linear_exits
from eebench_methods.pcee import recipes

__all__ = ["PCEE", "PatientConfidence", "exit_weights"]


def exit_weights(blocks: Sequence[int], kind: str) -> list[int]:
    """One loss weight an exit, from the exits' block numbers (the last one being the network's depth)."""
    if kind == "equal":
        return [1] * len(blocks)
    return list(blocks) if kind == "ascending" else [blocks[-1] + 1 - block for block in blocks]


class PatientConfidence(Decided):
    """Stop at the ``patience``-th exit in a row whose entropy is below the threshold times its largest value, ln K.

    What those exits predict does not matter: they need not agree. Source: PCEE-BERT, repository michael-wzhu/PCEE-BERT,
    pabee/modeling_pabee_bert.py, ``BertModelWithPabeeV1``.

    Args:
        patience: how many exits in a row.
        classes: K.
    """

    def __init__(self, patience: int, classes: int) -> None:
        self.patience = patience
        self.most = math.log(classes)  # scaling the one threshold is cheaper than every entropy
        self.decision = decisions.ConfidentStreak(patience, self.most)
        # with a patience above 1 nothing stops everyone at the very first exit
        self.knob = Knob("threshold", never=-1.0, always=2.0 if patience == 1 else None)

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """The entropy of the softmax in nats, (B,)."""
        assert output.logits is not None
        return {"entropy": entropy(output.logits)}

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """Quantiles of the validation entropies over ln K, with a value no exit is below and one that all are below."""
        return sorted({-1.0, *quantile_grid(seen["entropy"] / self.most), 2.0})


@dataclass(frozen=True)
class PCEE(Method):
    """Linear exits behind one pooler, trained jointly; stop when enough exits in a row are confident.

    Attributes:
        patience: how many exits in a row must be confident.
        weights: what exits weigh in the loss: the block number (``ascending``), the same counted from the end
            (``descending``), or all the same (``equal``).
        blocks: blocks with an exit; every block but the last when none are given.
    """

    name = "pcee"
    needs = frozenset({"classes"})
    papers = recipes.PAPERS
    space = MappingProxyType({"weights": ("ascending", "descending", "equal")})

    patience: int = 2
    weights: Literal["ascending", "descending", "equal"] = "ascending"
    blocks: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError("patience must be at least 1")

    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """Exits by block; the last exit is the backbone's own classifier."""
        blocks = exit_blocks(self.blocks, backbone.depth)
        return linear_exits(backbone, task.outputs, blocks, pooler="shared")

    def rule(self, task: Task) -> ExitRule:
        """Patience over confidence."""
        return PatientConfidence(self.patience, task.classes)

    def phases(self, task: Task) -> Sequence[Phase]:
        """One joint phase."""
        return [Phase("joint", self.loss)]

    def loss(self, step: TrainStep) -> Tensor:
        """Weighted mean over exits of the task loss."""
        return joint_loss(step, exit_weights([visit.block for visit in step.visits], self.weights))
