"""Does thinking longer help? Overthinking, hindsight and monotonicity over the exits of one model.

All take every exit's answer for every sample, whatever the exit rule: (N, E), the last column being the full model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, finite, flags, fraction

__all__ = [
    "Overthinking",
    "conditional_monotonicity",
    "hindsight_improvability",
    "overthinking",
]

DROPS = (0.01, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True, slots=True)
class Overthinking:
    """Shares in [0, 1]; see :func:`overthinking`."""

    destructive: float  # of the full model's mistakes: an earlier exit had it right
    destructive_of_all: float  # the same, of all samples
    wasteful: float  # of the full model's compute: saved by stopping each sample at its first right exit
    early_right: float  # of all samples: some exit before the last was right


def overthinking(correct: ArrayLike, costs: ArrayLike) -> Overthinking:
    """Destructive and wasteful overthinking (Kaya et al., 2019, 1810.07052, section 4).

    *Destructive*: the full model is wrong though an earlier exit was right. *Wasteful*: what the full model spends
    beyond an oracle that stops each sample at its first right exit and runs to the end where none is right,
    ``1 - mean(oracle cost) / costs[-1]``; the authors' ``overthinking_experiments.py`` prints the oracle's total.

    Args:
        correct: (N, E) bool.
        costs: (E,) MACs of stopping at each exit, positive, all heads passed charged.

    Returns:
        Shares. ``destructive`` is 0 when the full model makes no mistake.

    Raises:
        ValueError: wrong shapes, empty input, or costs that are not positive.
    """
    right = flags("correct", correct, (None, None))
    cost = finite("costs", costs, right.shape[1:])
    if cost.min() <= 0:
        raise ValueError("costs must be positive")
    early_right = right[:, :-1].any(1)
    lost = early_right & ~right[:, -1]
    mistakes = int((~right[:, -1]).sum())
    oracle = np.where(right.any(1), cost[right.argmax(1)], cost[-1])
    return Overthinking(
        destructive=float(lost.sum() / mistakes) if mistakes else 0.0,
        destructive_of_all=float(lost.mean()),
        wasteful=float(1 - oracle.mean() / cost[-1]),
        early_right=float(early_right.mean()),
    )


def hindsight_improvability(correct: ArrayLike) -> Floats:
    """Of each exit's mistakes, the share that some earlier exit had right (Wołczyk et al., 2021, 2106.05409).

    Args:
        correct: (N, E) bool.

    Returns:
        (E,) in [0, 1], lower being better. 0 at the first exit, and at one that makes no mistake.

    Raises:
        ValueError: wrong shape or empty input.
    """
    right = flags("correct", correct, (None, None))
    lost = np.logical_or.accumulate(right, 1) & ~right
    return lost.sum(0) / np.maximum((~right).sum(0), 1)


def conditional_monotonicity(true_probability: ArrayLike, drops: Sequence[float] = DROPS) -> dict[float, float]:
    """Share of samples whose probability of the true class falls by more than each drop from an exit to a later one.

    After Jazbec et al., 2023 (2306.02652; metodj/AnytimeClassification ``conditional_monotonicity_check``): for each
    sample ``max_{i<j} (p_i(y) - p_j(y)) > drop``. An anytime model has 0 everywhere.

    Args:
        true_probability: (N, E) in [0, 1].
        drops: falls worth counting.

    Returns:
        Drop to share, in [0, 1].

    Raises:
        ValueError: wrong shape, empty input or values outside [0, 1].
    """
    falls = _largest_fall(fraction("true_probability", true_probability, (None, None)))
    return {float(drop): float((falls > drop).mean()) for drop in drops}


def _largest_fall(rows: Floats) -> Floats:
    """Largest ``row[i] - row[j]`` over i <= j, so at least 0: (N, E) -> (N,)."""
    return (np.maximum.accumulate(rows, 1) - rows).max(1)
