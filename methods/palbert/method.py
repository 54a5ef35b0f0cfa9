"""PALBERT: the revisited halting layer, one pooler and classifier for all blocks, and the Q-exit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from eebench.api import Backbone, ExitHead, ExitRule, Method, Phase, Range, Rows, Task, TrainStep
from eebench_methods.palbert import recipes
from eebench_methods.pondernet.halting import QExit, geometric_prior, halting_loss, log_halting, median_answers
from eebench_methods.pondernet.heads import HaltingExit, poolers

__all__ = ["EPSILON", "PALBERT", "PonderExit", "lambda_layer", "learned_log_halting", "normal_prior"]

EPSILON = 0.05
"""Training stops counting a sample's exits once this little of its probability is left (released code)."""


def lambda_layer(width: int, hidden: int, dropout: float) -> nn.Sequential:
    """Dropout → ``hidden`` × (Linear(width, width), tanh) → Linear(width, 1): the logit of λ."""
    layers: list[nn.Module] = [nn.Dropout(dropout)]
    for _ in range(hidden):
        layers += [nn.Linear(width, width), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(width, 1))


def normal_prior(lambda_p: float, steps: int) -> Tensor:
    """exp(-(k - 1/λ_p)²) over k = 1 … steps, normalised, (steps,). Source: tinkoff-ai/palbert, src/loss.py."""
    k = torch.arange(1, steps + 1, dtype=torch.float64)
    return torch.softmax(-((k - 1 / lambda_p) ** 2), 0).clamp_min(torch.finfo(torch.float32).tiny).float()


def learned_log_halting(signals: Tensor) -> Tensor:
    """Ln p when the last block's λ is learned too: p_i = λ_i · prod_{j<i} (1 - λ_j), whose sum may stay below one.

    Once the sum exceeds 1 - ε, every further p_i is the constant ε / L. Source: tinkoff-ai/palbert,
    src/modeling/palbert_fast.py (which also stops running blocks when all rows are that far; here all blocks run).

    Args:
        signals: (B, L) logits of λ, the last block's included.

    Returns:
        (B, L).
    """
    steps = signals.shape[1]
    plain = log_halting(signals)[:, :-1]
    spent = plain.exp().cumsum(1) - plain.exp() > 1 - EPSILON  # before this block, so the first block past it counts
    return plain.masked_fill(spent, torch.tensor(EPSILON / steps).log().item())


class PonderExit(HaltingExit):
    """A halting exit whose gate looks at the block before as well; z_0 = 0."""

    def __init__(self, pooler: nn.Module, gate: nn.Module, classifier: nn.Module, *, last: bool, previous: str) -> None:
        super().__init__(pooler, gate, classifier, last=last)
        self.previous = previous

    def look(self, z: Tensor, carry: Rows) -> Tensor:
        if self.previous == "linear":
            return z
        before = carry["z"] if carry else torch.zeros_like(z)
        return torch.cat((z, before), 1) if self.previous == "cat" else z - before


@dataclass(frozen=True)
class PALBERT(Method):
    """PALBERT: Teaching ALBERT to Ponder (NeurIPS 2022).

    Attributes:
        previous: how the halting layer sees the block before: ``cat`` reads [z_i ; z_{i-1}], ``diff`` z_i - z_{i-1},
            ``linear`` z_i alone.
        lambda_layers: hidden tanh layers of the halting layer; 0 is one linear map.
        lambda_p: parameter of the prior over blocks, in (0, 1); lower pushes the exits deeper.
        beta: weight of the divergence from the prior.
        prior: ``geometric``, or the ``normal`` of the released code, centred on block 1/λ_p.
        kl: ``reverse`` is KL(prior ‖ p), what the released code computes; ``forward`` is KL(p ‖ prior), the paper's.
        last_mass: ``rest`` gives the last block all that is left in training, as inference does; ``learned`` trains its
            λ like the others' and may leave mass over, as the released code does.
        dropout: on the halting layer's and the classifier's inputs.
    """

    name = "palbert"
    papers = recipes.PAPERS
    space = MappingProxyType({"beta": Range(0.01, 1.0, log=True), "lambda_p": Range(0.05, 0.5, log=True)})

    previous: Literal["cat", "diff", "linear"] = "cat"
    lambda_layers: int = 3
    lambda_p: float = 0.1
    beta: float = 0.5
    prior: Literal["geometric", "normal"] = "geometric"
    kl: Literal["forward", "reverse"] = "reverse"
    last_mass: Literal["rest", "learned"] = "rest"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.lambda_p < 1:
            raise ValueError("lambda_p must be between 0 and 1")
        if self.lambda_layers < 0:
            raise ValueError("lambda_layers must not be negative")

    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """An exit behind every block, the last one included."""
        width = backbone.layouts[-1].dim
        seen = 2 * width if self.previous == "cat" else width
        gate = lambda_layer(seen, self.lambda_layers, self.dropout)
        classifier = nn.Sequential(nn.Dropout(self.dropout), nn.Linear(width, task.outputs))
        return {
            block: PonderExit(pooler, gate, classifier, last=block == backbone.depth, previous=self.previous)
            for block, pooler in enumerate(poolers(backbone), 1)
        }

    def rule(self, task: Task) -> ExitRule:
        """The Q-exit."""
        return QExit()

    def phases(self, task: Task) -> Sequence[Phase]:
        """One joint phase."""
        return [Phase("ponder", self.loss, answers=median_answers)]

    def loss(self, step: TrainStep) -> Tensor:
        """The p-weighted task loss plus β · KL."""
        steps = len(step.visits)
        if self.prior == "geometric":
            prior = geometric_prior(self.lambda_p, steps, "rest")
        else:
            prior = normal_prior(self.lambda_p, steps)
        return halting_loss(step, self.log_p(step), prior, self.beta, self.kl)

    def log_p(self, step: TrainStep) -> Tensor:
        """Ln of the halting distribution, (B, L)."""
        signals = [visit.output.signal for visit in step.visits[:-1]]
        if self.last_mass == "rest":
            return log_halting(torch.stack(signals, 1))  # type: ignore[arg-type]  # only the last exit has none
        last, before = step.visits[-1], step.visits[-2].output.carry if signals else {}
        assert isinstance(last.head, PonderExit)
        signals.append(last.head.halting(last.output.carry["z"], before))
        return learned_log_halting(torch.stack(signals, 1))  # type: ignore[arg-type]
