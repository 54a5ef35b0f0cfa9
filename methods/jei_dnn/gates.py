"""What JEI-DNN's gates read, what they are taught, and what they make of it: functions and the exit rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eebench.api import ExitOutput, ExitRule, Knob, Rows
from eebench.rules import quantile_grid

__all__ = [
    "GateThreshold",
    "conditional",
    "exit_probabilities",
    "gate_features",
    "gate_targets",
    "importance",
    "positive_weights",
]

ALWAYS = 0.0
"""The threshold every gate reaches."""

TINY = 1e-9
"""What counts as zero where it would divide: no probability left, no loss expected."""


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


def conditional(gate: Any, remaining: Any) -> Any:
    """P(stop here | came this far) = min(1, gate / remaining), (B,).

    ``remaining`` = 1 - sum of the gates before, may be below zero: then nothing is left and the sample stops.
    """
    return (gate / remaining.clip(TINY, None)).clip(0.0, 1.0)


class GateThreshold(ExitRule):
    """Stop where the conditional exit probability a_l reaches the threshold; the paper's own is 1/2.

    a_l = p_l / prod_{j<l} (1 - a_j). The product is 1 - sum_{j<l} p_j = max(0, 1 - sum_{j<l} g_j), so one running
    difference is all the state there is.
    """

    knob = Knob("gate_threshold", never=2.0, always=ALWAYS)

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """The gate, g = sigmoid(signal)."""
        assert output.signal is not None
        return {"gate": torch.sigmoid(output.signal)}

    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        """``a_l >= threshold``."""
        gate = seen["gate"]
        if not state:
            return gate >= knob, {"remaining": 1 - gate}
        remaining = state["remaining"]
        return conditional(gate, remaining) >= knob, {"remaining": remaining - gate}

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """Quantiles of the validation a_l, the paper's 1/2 and the extremes."""
        gates = np.asarray(seen["gate"])
        scores = conditional(gates, 1 - (gates.cumsum(1) - gates))
        return sorted({*quantile_grid(scores), 0.5, self.knob.never, ALWAYS})
