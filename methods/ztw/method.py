"""Zero Time Waste: a cascade of linear exits and a geometric ensemble of them, on a frozen backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
)
from eebench.parts import LinearExit
from eebench.rules import Confidence
from eebench_methods.common import exit_blocks
from eebench_methods.ztw import recipes

__all__ = ["ZTW", "CascadeExit", "GeometricEnsemble"]


class GeometricEnsemble(nn.Module):
    """ln of the weighted geometric mean of m exits' probabilities, up to a constant, plus a bias for every class.

    g = mean_j exp(w_j) · ln p_j + b. Source: gmum/Zero-Time-Waste, ztw_cv/architectures/early_exits/ztw.py.

    Args:
        members: m.
        classes: K.
    """

    def __init__(self, members: int, classes: int) -> None:
        super().__init__()
        # exp keeps the exponents positive; one-dimensional, because the engine decays what has more dimensions
        self.weight = nn.Parameter(0.01 * torch.randn(members))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, log_p: Tensor) -> Tensor:
        """(B, m, K) → logits (B, K)."""
        return (log_p * self.weight.exp()[:, None]).mean(1) + self.bias


class CascadeExit(ChainedHead):
    """own = Linear([pooled ; LayerNorm(previous logits)]); the answer is the ensemble of all own logits so far.

    No gradient flows into the previous logits, so that a later exit cannot spoil an earlier one.

    Args:
        width: D.
        classes: K.
        before: exits before this one.
        cascade: whether the previous logits are read.
        ensemble: whether the ensemble answers.
    """

    def __init__(self, width: int, classes: int, before: int, *, cascade: bool, ensemble: bool) -> None:
        super().__init__()
        self.reads = cascade and before > 0
        self.norm = nn.LayerNorm(classes) if self.reads else nn.Identity()
        self.classifier = nn.Linear(width + classes * self.reads, classes)
        self.ensemble = GeometricEnsemble(before + 1, classes) if ensemble else None

    def hand_on(self, features: Features, carry: Rows) -> Rows:
        """Own logits (B, K), and for the ensemble all log-probabilities so far (B, m, K)."""
        pooled = features.pooled
        if self.reads:
            pooled = torch.cat((pooled, self.norm(carry["logits"].detach())), 1)
        own = self.classifier(pooled)
        if self.ensemble is None:
            return {"logits": own}
        log_p = torch.log_softmax(own, -1)[:, None]
        if carry:
            log_p = torch.cat((carry["log_p"], log_p), 1)
        return {"logits": own, "log_p": log_p}

    def answer_after(self, features: Features, carry: Rows) -> Tensor:
        return self.ensembled(self.hand_on(features, carry))

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        handed = self.hand_on(features, carry)
        return ExitOutput(self.ensembled(handed), carry=handed, aux={"own": handed["logits"]})

    def ensembled(self, handed: Rows) -> Tensor:
        """Logits (B, K) of the ensemble, or this exit's own where there is none."""
        return handed["logits"] if self.ensemble is None else self.ensemble(handed["log_p"])


@dataclass(frozen=True)
class ZTW(Method):
    """Zero Time Waste: Recycling Predictions in Early Exit Neural Networks (NeurIPS 2021).

    Attributes:
        blocks: blocks with an exit; every block but the last when none are given.
        cascade: every exit also reads the logits of the one before.
        ensemble: an exit answers with the ensemble of all exits so far, not with its own logits.
    """

    name = "ztw"
    needs = frozenset({"classes"})
    papers = recipes.PAPERS

    blocks: tuple[int, ...] | None = None
    cascade: bool = True
    ensemble: bool = True

    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """An exit a position; behind the last block the backbone's own classifier answers, without an ensemble."""
        blocks = exit_blocks(self.blocks, backbone.depth)
        if not self.cascade and not self.ensemble:  # nothing left of either idea: linear exits
            return {block: LinearExit(backbone.layouts[block - 1], task.classes) for block in blocks}
        return {
            block: CascadeExit(
                backbone.layouts[block - 1].dim,
                task.classes,
                before,
                cascade=self.cascade,
                ensemble=self.ensemble,
            )
            for before, block in enumerate(blocks)
        }

    def rule(self, task: Task) -> ExitRule:
        """Largest probability of the ensemble above the threshold."""
        return Confidence()

    def phases(self, task: Task) -> Sequence[Phase]:
        """The cascade first, then the ensembles of the finished exits; the backbone stays as it is in both."""
        heads = Phase(
            "cascade",
            self.cascade_loss,
            lambda name: name.startswith("exits.") and ".ensemble." not in name,
            share=0.75 if self.ensemble else 1.0,
            lr_scale=10.0,
        )
        if not self.ensemble:
            return [heads]
        ensembles = Phase(
            "ensemble",
            self.ensemble_loss,
            lambda name: ".ensemble." in name,
            share=0.25,
            lr_scale=10.0,
        )
        return [heads, ensembles]

    def cascade_loss(self, step: TrainStep) -> Tensor:
        """Mean over exits of the cross-entropy of their own logits."""
        own = [visit.output.aux.get("own", visit.logits) for visit in step.visits[:-1]]
        return torch.stack([step.loss(logits, step.targets) for logits in own]).mean()

    def ensemble_loss(self, step: TrainStep) -> Tensor:
        """Mean over exits of the cross-entropy of their ensembles."""
        return torch.stack([step.loss(visit.logits, step.targets) for visit in step.visits[:-1]]).mean()
