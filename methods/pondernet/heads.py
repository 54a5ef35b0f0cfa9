"""Exits that run a halting layer on the way and the classifier only where a sample stops."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from eebench.api import Backbone, ChainedHead, ExitHead, ExitOutput, Features, Layout, Rows
from eebench.parts import FinalNorm

__all__ = ["HaltingExit", "MixtureExit", "Pooler", "poolers"]


class Pooler(nn.Sequential):
    """BERT's pooler behind the final norm: z = tanh(W · norm(x)[CLS] + b), (B, H)."""

    def __init__(self, backbone: Backbone, layout: Layout, width: int) -> None:
        super().__init__(FinalNorm(backbone, layout), nn.Linear(layout.dim, width), nn.Tanh())


def poolers(backbone: Backbone) -> list[Pooler]:
    """One pooler a block, the same one for all blocks of the same width; every z has the last block's width."""
    width = backbone.layouts[-1].dim
    kinds = {layout.dim: layout for layout in backbone.layouts}
    shared = {dim: Pooler(backbone, layout, width) for dim, layout in kinds.items()}
    return [shared[layout.dim] for layout in backbone.layouts]


class HaltingExit(ExitHead):
    """z = pooler(features); λ = sigmoid(gate(z)); logits = classifier(z), put off until a sample stops.

    Args:
        pooler: features → z (B, H).
        gate: what ``look`` returns → logit of λ, (B, 1).
        classifier: z → logits (B, K).
        last: nobody decides at the last exit, so its gate is not run.
    """

    def __init__(self, pooler: nn.Module, gate: nn.Module, classifier: nn.Module, *, last: bool) -> None:
        super().__init__()
        self.pooler = pooler
        self.gate = gate
        self.classifier = classifier
        self.last = last

    def look(self, z: Tensor, carry: Rows) -> Tensor:
        """What the gate reads; ``carry`` is the previous exit's."""
        return z

    def halting(self, z: Tensor, carry: Rows) -> Tensor:
        """Logit of λ, (B,)."""
        return self.gate(self.look(z, carry)).squeeze(1)

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        z = self.pooler(features)
        return ExitOutput(signal=None if self.last else self.halting(z, carry), carry={"z": z})

    def classify(self, features: Features, output: ExitOutput) -> Tensor:
        return self.classifier(output.carry["z"])

    def answer(self, features: Features) -> Tensor:
        return self.classifier(self.pooler(features))


class MixtureExit(ChainedHead, HaltingExit):
    """Answers with the expectation over the exits so far, sum_{j<i} p_j ŷ_j + (1 - sum_{j<i} p_j) ŷ_i.

    ŷ are class probabilities, or values in a regression. Needs every exit's classifier, so nothing is put off.

    Args:
        regression: whether the outputs are values.
    """

    def __init__(
        self, pooler: nn.Module, gate: nn.Module, classifier: nn.Module, *, last: bool, regression: bool
    ) -> None:
        super().__init__(pooler, gate, classifier, last=last)
        self.regression = regression

    def answer_after(self, features: Features, carry: Rows) -> Tensor:
        return self.mixed(self.classifier(self.pooler(features)), carry)[0]

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        output = HaltingExit.forward(self, features, carry)
        own = self.classifier(output.carry["z"])
        output.logits, answer, before, left = self.mixed(own, carry)
        output.aux["own"] = own
        if output.signal is not None:
            halt = torch.sigmoid(output.signal)[:, None]
            output.carry |= {"left": left * (1 - halt), "mixture": before + left * halt * answer}
        return output

    def mixed(self, own: Tensor, carry: Rows) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The expectation as logits (B, K), and what it is made of: own ŷ, the mixture before, the mass left to it."""
        answer = own if self.regression else torch.softmax(own, -1)
        left = carry["left"] if carry else answer.new_ones(len(answer), 1)
        before = carry["mixture"] if carry else torch.zeros_like(answer)
        mixture = before + left * answer
        logits = mixture if self.regression else mixture.clamp_min(torch.finfo(mixture.dtype).tiny).log()
        return logits, answer, before, left
