"""Order among many methods: tiers of those nobody can tell apart, and ranks over data sets.

The tests behind the tiers are those of :mod:`eebench.measure.compare`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, Ints, finite, fraction

__all__ = ["CriticalDifference", "critical_difference", "tiers"]

LEVEL = 0.95


@dataclass(frozen=True, eq=False, slots=True)
class CriticalDifference:
    """Mean ranks over data sets, and which of them are apart; see :func:`critical_difference`."""

    ranks: Floats  # (M,), 1 being best
    p: float  # Friedman's, of "all methods rank alike"
    difference: float  # mean ranks closer than that are not told apart
    groups: tuple[tuple[int, ...], ...]  # largest runs of methods within it, best first
    blocks: int


def tiers(scores: ArrayLike, corrected: ArrayLike, alpha: float = 1 - LEVEL) -> Ints:
    """Tiers of methods: in each, nobody is significantly different from the tier's best.

    The best method opens tier 1 and takes in every method whose difference from it is not significant. The best of
    those left opens the next, and so on. Being told apart is not transitive: a method of tier 2 differs from the best
    of tier 1, not from everybody there.

    >>> tiers([0.9, 0.89, 0.8], [[1, 0.4, 0.01], [0.4, 1, 0.2], [0.01, 0.2, 1]]).tolist()
    [1, 1, 2]

    Args:
        scores: (M,) mean score of each method.
        corrected: (M, M) p-values of all pairs, corrected for their number.
        alpha: level of significance.

    Returns:
        (M,) from 1, the best.

    Raises:
        ValueError: wrong shapes, empty input, NaN, or p-values outside [0, 1].
    """
    means = finite("scores", scores, (None,))
    p = fraction("corrected", corrected, (len(means), len(means)))
    found = np.zeros(len(means), dtype=np.int64)
    tier = 0
    while (left := found == 0).any():
        tier += 1
        best = int(np.where(left, means, -np.inf).argmax())
        found[left & ((p[best] > alpha) | (np.arange(len(means)) == best))] = tier
    return found


def critical_difference(scores: ArrayLike, level: float = LEVEL) -> CriticalDifference:
    """Mean ranks of methods over data sets, and Nemenyi's critical difference (Demšar, JMLR 2006).

    ``q sqrt(M (M + 1) / (6 B))`` with q the studentised range's quantile for M methods over the square root of 2.

    >>> found = critical_difference([[0.9, 0.8, 0.7], [0.8, 0.7, 0.9], [0.9, 0.8, 0.7]])
    >>> found.ranks.round(2).tolist(), found.groups
    ([1.33, 2.33, 2.33], ((0, 1, 2),))

    Args:
        scores: (B, M), higher being better: one row a data set, seeds averaged. Rows of one data set and several seeds
            say something about these data sets only, not about others.
        level: 1 minus the level of significance.

    Returns:
        Ranks (ties share their mean), Friedman's p-value, the critical difference, and groups of methods within it.

    Raises:
        ValueError: wrong shape, NaN, fewer than 3 methods or 2 rows, or a level outside (0, 1).
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    table = finite("scores", scores, (None, None))
    blocks, methods = table.shape
    if methods < 3 or blocks < 2 or not 0 < level < 1:
        raise ValueError(
            f"ranks take 3 methods, 2 data sets and a level in (0, 1), not {methods}, {blocks} and {level}"
        )
    ranks = rankdata(-table, axis=1).mean(0)
    tied = bool((np.ptp(table, axis=1) == 0).all())  # nobody differs anywhere: Friedman's statistic is 0/0
    p = 1.0 if tied else float(friedmanchisquare(*table.T).pvalue)
    limit = float(studentized_range.ppf(level, methods, math.inf)) / math.sqrt(2)
    limit *= math.sqrt(methods * (methods + 1) / (6 * blocks))
    return CriticalDifference(ranks, p, limit, _neighbours(ranks, limit), blocks)


def _neighbours(ranks: Floats, limit: float) -> tuple[tuple[int, ...], ...]:
    """Largest runs of at least two methods, by rank, whose ends are within the limit."""
    order = np.argsort(ranks, kind="stable")
    sorted_ranks = ranks[order]
    ends = np.searchsorted(sorted_ranks, sorted_ranks + limit + 1e-9, side="right")
    runs, reached = [], 0
    for start, end in enumerate(ends):
        if end > reached and end - start > 1:
            runs.append(tuple(int(i) for i in order[start:end]))
        reached = max(reached, end)
    return tuple(runs)
