"""Thresholds per exit for a compute budget: MSDNet's solver for budgeted batch classification.

After Huang et al., 2018 (1703.09844, section 5.2) as coded in kalviny/MSDNet-PyTorch ``adaptive_inference.py``: let
shares ``P_k ∝ q^k`` of the samples stop at exit k and take thresholds from validation confidences that make it so. Then
``q < 1`` favours early exits and ``q > 1`` late ones. Confidences are higher-is-surer; whoever has entropies passes
their negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, Ints, finite

__all__ = [
    "BudgetedThresholds",
    "apply_thresholds",
    "budgeted_thresholds",
    "geometric_shares",
    "thresholds_for_shares",
]

BISECTIONS = 40


@dataclass(frozen=True, eq=False, slots=True)
class BudgetedThresholds:
    """A point of the solver: thresholds, and what they do to the validation samples they came from."""

    q: float  # of the geometric shares; infinity: everyone runs to the end
    thresholds: Floats  # (E,); infinity: nobody stops; the last is minus infinity
    shares: Floats  # (E,) of validation samples that stop at each exit, ties and rounding included
    cost: float  # mean cost of the validation samples, in the unit of the costs


def geometric_shares(q: float, exits: int) -> Floats:
    """Shares of samples per exit, ``q^k / sum_j q^j`` for k = 1..E: (E,), summing to 1.

    Args:
        q: from 0 (all at the first exit) to infinity (all at the last).
        exits: E, at least 1.

    Raises:
        ValueError: q below 0 or no exit.
    """
    if not q >= 0 or exits < 1:
        raise ValueError(f"q must be at least 0 and there must be an exit, not {q} and {exits}")
    powers = np.arange(exits)
    shares = q**powers if q <= 1 else (1 / q) ** powers[::-1]  # neither overflows
    return shares / shares.sum()


def thresholds_for_shares(confidence: ArrayLike, shares: ArrayLike) -> Floats:
    """Thresholds at which about ``shares`` of the samples stop at each exit.

    Exit by exit: the threshold is the confidence of the ``floor(N P_k)``-th surest sample still running; whoever has at
    least that stops. Where that is no sample, or more than are left, nobody stops (infinity). All that are left stop at
    the last exit (minus infinity). Equal confidences stop together, so more may stop than asked for.

    Args:
        confidence: (N, E) of validation samples.
        shares: (E,), non-negative, summing to 1.

    Returns:
        (E,).

    Raises:
        ValueError: wrong shapes, empty input, NaN, or shares that do not sum to 1.
    """
    table = finite("confidence", confidence, (None, None))
    share = finite("shares", shares, table.shape[1:])
    if share.min() < 0 or abs(share.sum() - 1) > 1e-9:
        raise ValueError("shares must be non-negative and sum to 1")
    thresholds = np.full(len(share), math.inf)
    running = np.ones(len(table), bool)
    for k in range(len(share) - 1):
        wanted = math.floor(len(table) * share[k] + 1e-9)  # 1e-9: 100 * 0.29 must stay 29
        left = table[running, k]
        if 0 < wanted <= len(left):
            thresholds[k] = np.partition(left, len(left) - wanted)[len(left) - wanted]
            running &= table[:, k] < thresholds[k]
    thresholds[-1] = -math.inf
    return thresholds


def apply_thresholds(confidence: ArrayLike, thresholds: ArrayLike) -> Ints:
    """Where each sample stops: the first exit whose confidence reaches its threshold, the last at the latest.

    Args:
        confidence: (N, E).
        thresholds: (E,); the last one is not looked at.

    Returns:
        (N,) exit indices from 0.

    Raises:
        ValueError: wrong shapes, empty input or NaN.
    """
    table = finite("confidence", confidence, (None, None))
    limits = np.asarray(thresholds, dtype=np.float64)
    if limits.shape != table.shape[1:] or np.isnan(limits).any():
        raise ValueError(f"thresholds must be {table.shape[1]} numbers, one an exit")
    stops = table >= limits
    stops[:, -1] = True
    return stops.argmax(1)


def budgeted_thresholds(confidence: ArrayLike, costs: ArrayLike, budget: float) -> BudgetedThresholds:
    """Thresholds of the dearest geometric shares whose mean cost on the validation samples stays within ``budget``.

    Bisection on q, judged by the cost the thresholds really have there, not by ``sum_k P_k c_k``, from which rounding
    and ties stray.

    Args:
        confidence: (N, E) of validation samples.
        costs: (E,) of stopping at each exit, strictly increasing (MACs, milliseconds, blocks).
        budget: mean cost a sample, in the unit of the costs.

    Returns:
        The solution; ``cost <= budget`` holds on the validation samples. A budget of ``costs[-1]`` or more gives
        thresholds at which nobody stops early.

    Raises:
        ValueError: wrong shapes, empty input, NaN, costs that do not increase, or a budget below ``costs[0]``, which no
            thresholds can meet.
    """
    table, cost = _checked(confidence, costs)
    if (np.diff(cost) <= 0).any():
        raise ValueError("costs must increase from exit to exit")
    if budget < cost[0]:
        raise ValueError(f"a budget of {budget:g} is below the first exit's cost of {cost[0]:g}")
    if budget >= cost[-1]:
        return _solve(table, cost, math.inf)
    low, high = 0.0, 1.0  # of q / (1 + q); the cost fits at low and not at high
    best = _solve(table, cost, 0.0)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        tried = _solve(table, cost, middle / (1 - middle))
        if tried.cost <= budget:
            low, best = middle, tried
        else:
            high = middle
    return best


def _solve(table: Floats, cost: Floats, q: float) -> BudgetedThresholds:
    exits = len(cost)
    shares = np.eye(exits)[-1] if math.isinf(q) else geometric_shares(q, exits)
    thresholds = thresholds_for_shares(table, shares)
    counts = np.bincount(apply_thresholds(table, thresholds), minlength=exits)
    # Counts first: a mean of whole numbers times costs is exact where a sum of rounded shares may exceed the budget.
    return BudgetedThresholds(q, thresholds, counts / len(table), float(counts @ cost / len(table)))


def _checked(confidence: ArrayLike, costs: ArrayLike) -> tuple[Floats, Floats]:
    table = finite("confidence", confidence, (None, None))
    return table, finite("costs", costs, table.shape[1:])
