"""What JEI-DNN's gates read, what they are taught, and what they make of it: functions and the exit rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from eebench.api import ExitOutput, Knob
from eebench.rules import Decided, decisions, quantile_grid

__all__ = [
    "GateBias",
    "exit_probabilities",
    "gate_features",
    "gate_targets",
    "importance",
    "positive_weights",
    "turning_biases",
]

HALVINGS = 48
"""Of an interval some hundred wide at most: far beyond the grid's five decimals."""

TINY = 1e-9
"""An expected loss that counts as zero where it would divide."""


def gate_features(logits: Tensor) -> Tensor:
    """What a gate reads, (B, 4): largest probability, entropy, margin over the runner-up, entropy at temperature 1/2.

    Entropies are in nats, not normalised; the last one is of p² / sum p². Source: networkslab/dynn,
    src/models/custom_modules/learnable_uncertainty_gate.py.
    """
    scaled = torch.log_softmax(torch.stack((logits, 2 * logits)), -1)  # p² / sum p² is the softmax of twice the logits
    p = scaled.exp()
    entropy, sharp_entropy = -(p * scaled).sum(-1)
    top, second = p[0].topk(2).values.unbind(-1)
    return torch.stack((top, entropy, top - second, sharp_entropy), 1)


def exit_probabilities(gates: Tensor) -> Tensor:
    """P(stop at exit l) = max(0, min(g_l, 1 - sum_{j<l} g_j)), for gates g (B, G) in [0, 1]: (B, G), rows sum to <= 1.

    What is missing from one is the last exit's. Source: networkslab/dynn, src/models/classifier_training_helper.py.
    """
    left = 1 - (gates.cumsum(1) - gates)
    return torch.minimum(gates, left).clamp_min(0)


def gate_targets(losses: Tensor, costs: Tensor, tradeoff: float) -> tuple[Tensor, Tensor]:
    """The exit a sample should take, t* = argmin_l loss_l + tradeoff · cost_l, and what that asks of the gates.

    A gate should be open from t* on: a sample that slipped past its best exit should take the next one.

    Args:
        losses: (B, E) cross-entropy at every exit, the last included.
        costs: (E,) cost of every exit as a share of the full model's.
        tradeoff: nats the full cost is worth.

    Returns:
        t* (B,) int64 and the gates' targets (B, E - 1) in {0, 1}; all zero where the last exit is best.
    """
    best = (losses + tradeoff * costs).argmin(1)
    gates = torch.arange(losses.shape[1] - 1, device=losses.device)
    return best, (gates >= best[:, None]).to(losses.dtype)


def positive_weights(best: Tensor, gates: int) -> Tensor:
    """Weight of a gate's positive targets, min((N - n_l) / max(n_l, 0.1), 5), n_l samples being best off at l: (G,)."""
    here = torch.bincount(best, minlength=gates)[:gates].to(torch.float32)
    return ((len(best) - here) / here.clamp_min(0.1)).clamp_max(5)


def importance(losses: Tensor, probabilities: Tensor) -> Tensor:
    """Weights w (B, G) proportional to P(exit) that keep each sample's total, sum_l w_l loss_l = sum_l loss_l.

    A constant: with a gradient through it, as in the released code, the weighting cancels out (see the card). A sample
    that is sure to stop at the last exit weighs nothing.

    Args:
        losses: (B, G).
        probabilities: (B, G), non-negative.
    """
    losses, probabilities = losses.detach(), probabilities.detach()
    expected = (probabilities * losses).sum(1, keepdim=True)
    scale = losses.sum(1, keepdim=True) / expected.clamp_min(TINY)
    return torch.where(expected > TINY, probabilities * scale, 0.0)


def turning_biases(logits: Any) -> Any:
    """The least bias on the gates' log-odds with which a sample stops at each gate or before it.

    What has to reach one, 2 g_l + sum_{j<l} g_j, grows with the bias, so that bisection finds where it does.

    Args:
        logits: (N, G) log-odds of the gates.

    Returns:
        (N, G) float64, rows not rising. A sample passes gate l at every bias below column l, at no other.
    """
    logits = np.asarray(logits, dtype=np.float64)
    found = np.empty_like(logits)
    high = np.full(len(logits), np.inf)
    for place in range(logits.shape[1]):
        so_far = logits[:, : place + 1]
        low = -so_far.max(1) - np.log1p(place)  # no gate above 1 / (l + 2) here, and their weights sum to l + 2
        high = np.minimum(high, -so_far[:, -1])  # g_l = 1/2 here, or an earlier gate stops the sample anyway
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            gates = expit(so_far + middle[:, None])
            stops = gates.sum(1) + gates[:, -1] >= 1
            low, high = np.where(stops, low, middle), np.where(stops, middle, high)
        found[:, place] = high
    return found


class GateBias(Decided):
    """Stop where the gate claims half of the exit probability that is left, a_l = g_l / (1 - sum_{j<l} g_j) >= 1/2.

    The knob b shifts the gates' log-odds s: g_l = sigmoid(s_l + b); at 0 this is the paper's own rule. On samples still
    alive the sum before exit l is below one (each gate so far was below half of what was left), so that a_l >= 1/2 is
    2 g_l + sum_{j<l} g_j >= 1: nothing to divide by, and one running sum is all the state there is.
    """

    knob = Knob("gate_bias", never=-1e6, always=1e6)
    decision = decisions.GateShare()

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """The gate's log-odds: a probability would be rounded to one, and no bias could take it back."""
        assert output.signal is not None
        return {"logit": output.signal}

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """Biases that share out the validation samples' moves between exits evenly, the paper's 0 and the extremes.

        The mean exit, counted from 0, is the number of gates times the share of turning biases above the knob, so that
        between two neighbouring quantiles of them it moves by the same small step everywhere.
        """
        ends = [end for end in (self.knob.never, self.knob.always) if end is not None]
        return sorted({*quantile_grid(turning_biases(seen["logit"])), 0.0, *ends})
