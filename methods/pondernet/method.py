"""PonderNet on a pre-trained transformer: one halting layer and one classifier, shared by every block."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from eebench.api import Backbone, ExitHead, ExitRule, Method, Phase, Range, Task, TrainStep
from eebench_methods.pondernet import recipes
from eebench_methods.pondernet.halting import (
    QExit,
    SampledExit,
    geometric_prior,
    halting_loss,
    log_halting,
    median_answers,
)
from eebench_methods.pondernet.heads import HaltingExit, MixtureExit, poolers

__all__ = ["PonderNet"]


@dataclass(frozen=True)
class PonderNet(Method):
    """PonderNet (Banino, Balaguer, Blundell, 2021), in the form PALBERT's authors gave it on a transformer.

    Attributes:
        lambda_p: parameter of the geometric prior over blocks, in (0, 1); lower pushes the exits deeper.
        beta: weight of the divergence from the prior.
        kl: ``reverse`` is KL(prior ‖ p), as the code behind the default ``beta`` and the card's numbers computes it;
            ``forward`` is KL(p ‖ prior), the paper's formula.
        truncation: what the prior does with its mass beyond the last block: ``rest``, ``normalised`` or ``raw``.
        exit: ``sample`` draws from Bernoulli(λ) at every block; ``quantile`` is PALBERT's deterministic rule;
            ``expectation`` is that rule with the p-weighted mean of all predictions so far as the answer.
        classifier: ``shared`` by all blocks, or one ``per_exit``.
        dropout: on the pooled vector, before the halting layer and before the classifier.
        draw_seed: seed of the sampled exits (not of training).
    """

    name = "pondernet"
    papers = recipes.PAPERS
    space = MappingProxyType({"beta": Range(0.01, 1.0, log=True), "lambda_p": Range(0.05, 0.5, log=True)})

    lambda_p: float = 0.1
    beta: float = 0.5
    kl: Literal["reverse", "forward"] = "reverse"
    truncation: Literal["rest", "normalised", "raw"] = "rest"
    exit: Literal["sample", "quantile", "expectation"] = "sample"
    classifier: Literal["shared", "per_exit"] = "shared"
    dropout: float = 0.1
    draw_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.lambda_p < 1:
            raise ValueError("lambda_p must be between 0 and 1")

    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """An exit behind every block, the last one included."""
        width, depth, dropout = backbone.layouts[-1].dim, backbone.depth, self.dropout
        gate = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 1))
        shared = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, task.outputs))
        exits: dict[int, ExitHead] = {}
        for block, pooler in enumerate(poolers(backbone), 1):
            classifier = shared if self.classifier == "shared" else copy.deepcopy(shared)
            if self.exit == "expectation":
                regression = task.kind == "regression"
                exits[block] = MixtureExit(pooler, gate, classifier, last=block == depth, regression=regression)
            else:
                exits[block] = HaltingExit(pooler, gate, classifier, last=block == depth)
        return exits

    def rule(self, task: Task) -> ExitRule:
        """Seeded sampling, or the Q-exit."""
        return SampledExit(self.draw_seed) if self.exit == "sample" else QExit()

    def phases(self, task: Task) -> Sequence[Phase]:
        """One joint phase."""
        return [Phase("ponder", self.loss, answers=median_answers)]

    def loss(self, step: TrainStep) -> Tensor:
        """The p-weighted task loss plus β · KL, λ of the last block being 1."""
        signals = [visit.output.signal for visit in step.visits[:-1]]
        log_p = log_halting(torch.stack(signals, 1))  # type: ignore[arg-type]  # only the last exit has none
        prior = geometric_prior(self.lambda_p, len(step.visits), self.truncation)
        return halting_loss(step, log_p, prior, self.beta, self.kl)
