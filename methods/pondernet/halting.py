"""Halting probabilities λ → the distribution p over exits, its prior, and the two exit rules that read it.

What is learned is a logit s with λ = sigmoid(s), and what is multiplied along the depth stays in logarithms: finite for
any finite s, where the plain products underflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eebench.api import ExitOutput, Knob, TrainStep, Visit
from eebench.rules import Decided, decisions, quantile_grid

__all__ = [
    "QExit",
    "SampledExit",
    "divergence",
    "geometric_prior",
    "halting_loss",
    "log_halting",
    "median_answers",
    "own_logits",
]

DRAWS = 1 << 16
"""Random numbers an exit has ready; samples whose ids differ by a multiple of this share theirs."""


def log_halting(signals: Tensor) -> Tensor:
    """Ln p of stopping at each exit, the last one taking all the mass that is left (λ_L = 1).

    p_i = λ_i · prod_{j<i} (1 - λ_j). Source: PonderNet (arXiv 2107.05407).

    Args:
        signals: (B, L - 1) logits of λ at every exit but the last.

    Returns:
        (B, L); its exponentials sum to one.
    """
    zero = signals.new_zeros(len(signals), 1)
    reached = torch.cat((zero, F.logsigmoid(-signals).cumsum(1)), 1)
    return reached + torch.cat((F.logsigmoid(signals), zero), 1)


def geometric_prior(lambda_p: float, steps: int, truncation: str) -> Tensor:
    """The geometric distribution λ_p (1 - λ_p)^k, k = 0 … steps - 1, cut off at ``steps``: (steps,).

    Args:
        lambda_p: in (0, 1).
        steps: L.
        truncation: what becomes of the mass beyond the last step. ``rest``: the last step gets it (released PALBERT);
            ``normalised``: shared out in proportion; ``raw``: dropped, so that the sum is below one (labml).
    """
    k = torch.arange(steps, dtype=torch.float64)
    prior = lambda_p * (1 - lambda_p) ** k
    if truncation == "rest":
        prior[-1] = (1 - lambda_p) ** (steps - 1)
    elif truncation == "normalised":
        prior = prior / prior.sum()
    return prior.float()


def divergence(log_p: Tensor, prior: Tensor, direction: str) -> Tensor:
    """Kullback-Leibler divergence between p and the prior in nats, (B,).

    Args:
        log_p: (B, L).
        prior: (L,), positive.
        direction: ``forward``, KL(p ‖ prior), as the PonderNet paper has it; ``reverse``, KL(prior ‖ p), as labml's
            PonderNet and the released PALBERT compute it.
    """
    log_prior = prior.log()
    if direction == "forward":
        return (log_p.exp() * (log_p - log_prior)).sum(1)
    return (prior * (log_prior - log_p)).sum(1)


def own_logits(visit: Visit) -> Tensor:
    """Logits (B, K) of this exit's own classifier, whatever the exit answers at inference."""
    return visit.output.aux.get("own", visit.logits)


def halting_loss(step: TrainStep, log_p: Tensor, prior: Tensor, beta: float, direction: str) -> Tensor:
    """sum_i p_i · loss_i + β · KL, averaged over the batch. Source: PonderNet (arXiv 2107.05407)."""
    losses = torch.stack([step.loss(own_logits(visit), step.targets) for visit in step.visits], 1)
    regulariser = divergence(log_p, prior.to(log_p.device), direction)
    return ((log_p.exp() * losses).sum(1) + beta * regulariser).mean()


def median_answers(visits: Sequence[Visit]) -> Tensor:
    """The Q-exit's answers at q = 0.5, (N, K): each sample's logits where it has stopped with more than even chance.

    What PALBERT's authors score on the dev set. Source: tinkoff-ai/palbert, src/trainer.py.
    """
    signals = torch.stack([visit.output.signal for visit in visits[:-1]], 1)  # type: ignore[misc]  # the last has none
    stops = torch.cat((torch.sigmoid(-signals).cumprod(1) < 0.5, signals.new_ones(len(signals), 1).bool()), 1)
    where = stops.float().argmax(1)  # the first of them
    return torch.stack([visit.logits for visit in visits])[where, torch.arange(len(where), device=where.device)]


class QExit(Decided):
    """Stop where the cumulative probability of having stopped exceeds the quantile q. Source: PALBERT, "Q-exit".

    CDF_i = 1 - prod_{j<=i} (1 - λ_j) > q, written on the survival probability, which keeps its precision near CDF = 1.
    """

    knob = Knob("q", never=1.0, always=-1.0)  # CDF = 1 is not above 1, and CDF = 0 is above -1
    decision = decisions.Survival()

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """1 - λ, the probability of going on."""
        assert output.signal is not None
        return {"go_on": torch.sigmoid(-output.signal)}

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """Quantiles of the validation CDFs, the paper's own q = 0.5 and the extremes."""
        cdf = 1 - np.asarray(seen["go_on"], dtype=np.float64).cumprod(1)
        return _grid(self.knob, quantile_grid(cdf), 0.5)


class SampledExit(Decided):
    """Stop at random, with probability sigmoid(s + bias): at bias 0, PonderNet's own draw from Bernoulli(λ).

    A draw u < sigmoid(s + bias) is the comparison s - logit(u) > -bias, so one logistic random number a sample and exit
    serves every knob value. It belongs to (seed, sample id, exit), whatever batch the sample is in, so that replay and
    dynamic inference stop the same samples.

    Args:
        seed: of the draws.
    """

    knob = Knob("halt_bias", never=-1e6, always=1e6)
    decision = decisions.Above("margin", sign=-1)

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._tables: dict[tuple[int, torch.device], Tensor] = {}

    def noise(self, exit: int, ids: Tensor) -> Tensor:
        """Standard logistic random numbers, (B,) float32: a table look-up, since inference pays for every operation."""
        table = self._tables.get((exit, ids.device))
        if table is None:
            draws = np.random.default_rng([self.seed, exit]).logistic(size=DRAWS).astype(np.float32)
            table = self._tables[exit, ids.device] = torch.from_numpy(draws).to(ids.device)
        return table.index_select(0, ids.remainder(DRAWS))

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """The logit of λ minus this sample's logistic noise."""
        assert output.signal is not None
        return {"margin": output.signal - self.noise(exit, ids)}

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """Biases that part the validation margins into equal shares, PonderNet's own 0 and the extremes."""
        biases = [-margin for margin in quantile_grid(seen["margin"])]
        return _grid(self.knob, biases, 0.0)


def _grid(knob: Knob, values: Sequence[float], own: float) -> list[float]:
    """Values worth trying, the method's own setting and both extremes."""
    ends = [end for end in (knob.always, knob.never) if end is not None]
    return sorted({*values, own, *ends})
