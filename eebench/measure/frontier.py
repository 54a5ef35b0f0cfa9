"""What a budget buys: the best of many candidates, chosen on validation data and read on test data.

A candidate is one way to run a model: a knob of a method, a fixed exit, a smaller model. Two candidates can be mixed by
drawing one of them for every sample, which costs and scores what lies on the straight line between them. So what
candidates offer together is the upper concave hull of their (cost, score) points, and beyond the dearest of them its
score stays: nobody has to spend a budget. A method's own knobs, its fixed exits and the common static frontier of a run
are all read in this one way, so their difference favours none of them for having more points.

The hull is found on validation data. Costs and scores are then read on test data, and no hindsight is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, Ints, Mask, finite

__all__ = ["Frontier", "Gain", "Mean", "concave_hull", "find_frontier", "mean_gain", "mean_score", "pareto_front"]

ROUNDING = 1e-9  # 0.1 + 0.2 costs a little more than 0.3 in floating point, and is still within a budget of 0.3


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over budgets, and the share of their range in which there was a point to read."""

    value: float
    covered: float


@dataclass(frozen=True, slots=True)
class Gain:
    """Mean lead over budgets from ``low`` to ``high``, where both sides have a point."""

    gain: float  # score units; NaN where both never have a point
    covered: float  # (high - low) as a share of the range asked for
    low: float
    high: float


@dataclass(frozen=True, eq=False, slots=True)
class Frontier:
    """Candidates worth mixing, by rising test cost; see :func:`find_frontier`."""

    index: Ints  # (V,) into the candidates
    cost: Floats  # (V,) on test data, strictly rising
    score: Floats  # (V,) on test data
    val_score: Floats  # (V,) on validation data, strictly rising

    def mixture(self, cost: float) -> tuple[tuple[int, float], ...]:
        """The one or two candidates whose mixture costs just ``cost`` on test data, with their shares.

        Dearer than the dearest: that one alone, the best by validation score. Cheaper than the cheapest: nothing.

        Args:
            cost: in the unit of the candidates' costs.

        Returns:
            Pairs of a candidate's index and its share; the shares sum to 1.
        """
        shares = self._shares(np.array([cost], dtype=np.float64))[0]
        return tuple((int(self.index[v]), float(shares[v])) for v in np.flatnonzero(shares))

    def at(self, costs: ArrayLike) -> Floats:
        """Test score of the mixture at each cost (P,): (P,), NaN below the cheapest candidate."""
        wanted = finite("costs", costs, (None,))
        return np.where(self._within(wanted), self._shares(wanted) @ self.score, math.nan)

    def weights(self, low: float, high: float) -> Floats:
        """How much each candidate counts in the mean over budgets from ``low`` to ``high``.

        The mean score over budgets is linear in the candidates' scores, ``weights @ score``: the weights of two
        frontiers, those of the second negated, make :func:`eebench.measure.score_contrast` give the interval of their
        mean difference.

        Args:
            low: at least the cheapest candidate's test cost.
            high: dearest budget.

        Returns:
            (V,), summing to 1.

        Raises:
            ValueError: ``low`` not below ``high``, or below the cheapest candidate.
        """
        _check_range(low, high)
        if low < self.cost[0] * (1 - ROUNDING):
            raise ValueError(f"budgets from {low:g} are below the cheapest candidate's cost of {self.cost[0]:g}")
        knots = np.unique(np.concatenate([[low, high], self.cost[(self.cost > low) & (self.cost < high)]]))
        shares = self._shares(knots)
        return np.diff(knots) @ (shares[:-1] + shares[1:]) / 2 / (high - low)  # linear in between: trapezia are exact

    def read(self, score: ArrayLike) -> Frontier:
        """The same candidates at the same costs with other test scores, such as those of random exits at each knob.

        Args:
            score: (P,) of all candidates the frontier was made from.

        Raises:
            ValueError: fewer candidates than the frontier's, NaN or infinity.
        """
        other = finite("score", score, (None,))
        if len(other) <= self.index.max():
            raise ValueError(f"{len(other)} scores for a frontier of at least {self.index.max() + 1} candidates")
        return Frontier(self.index, self.cost, other[self.index], self.val_score)

    def _within(self, costs: Floats) -> Mask:
        return costs >= self.cost[0] * (1 - ROUNDING)

    def _shares(self, costs: Floats) -> Floats:
        """Shares of the candidates in the mixture at each cost: (P,) -> (P, V), all 0 below the cheapest."""
        shares = np.stack([np.interp(costs, self.cost, row) for row in np.eye(len(self.cost))], axis=1)
        return shares * self._within(costs)[:, None]


def find_frontier(val_cost: ArrayLike, val_score: ArrayLike, test_cost: ArrayLike, test_score: ArrayLike) -> Frontier:
    """The candidates that validation data finds worth mixing, to be read on test data.

    They are the vertices of the upper concave hull of the validation points (:func:`concave_hull`). Where test costs
    put them in another order than validation costs (texts of other lengths), one that costs as much as another and has
    no better validation score is dropped.

    >>> found = find_frontier([1, 2, 4, 4], [0.5, 0.8, 0.9, 0.7], [1, 2, 4, 4], [0.6, 0.7, 0.9, 0.9])
    >>> found.index.tolist(), found.mixture(3), found.at([0.5, 3, 9]).round(3).tolist()
    ([0, 1, 2], ((1, 0.5), (2, 0.5)), [nan, 0.8, 0.9])

    Args:
        val_cost: (P,) of the candidates on validation data, in any order.
        val_score: (P,), higher being better.
        test_cost: (P,) of the same candidates on test data.
        test_score: (P,).

    Returns:
        The frontier.

    Raises:
        ValueError: arrays of different lengths, empty ones, NaN or infinity.
    """
    val_cost, val_score = _points(val_cost, val_score)
    cost = finite("test_cost", test_cost, val_cost.shape)
    score = finite("test_score", test_score, val_cost.shape)
    index = concave_hull(val_cost, val_score)
    index = index[np.lexsort((-val_score[index], cost[index]))]
    rising = np.append(True, val_score[index][1:] > np.maximum.accumulate(val_score[index])[:-1])
    index = index[rising]
    return Frontier(index, cost[index], score[index], val_score[index])


def concave_hull(cost: ArrayLike, score: ArrayLike) -> Ints:
    """Vertices of the rising part of the upper concave hull: what linear mixing of the points can reach.

    From the cheapest point (the best of equally cheap ones) to the best one (the cheapest of equally good ones), by
    Andrew's monotone chain (1979). Points on the line between two vertices are not vertices.

    >>> concave_hull([1, 2, 3, 4, 5], [0.1, 0.5, 0.6, 0.9, 0.8]).tolist()
    [0, 1, 3]

    Args:
        cost: (P,), lower being better.
        score: (P,), higher being better.

    Returns:
        Indices of the vertices, by rising cost and score.

    Raises:
        ValueError: arrays of different lengths, empty ones, NaN or infinity.
    """
    cost, score = _points(cost, score)
    chain: list[int] = []
    for new in np.lexsort((-score, cost)):
        if chain and score[new] <= score[chain[-1]]:
            continue  # as dear or dearer and no better
        while len(chain) > 1 and _below(cost, score, chain[-2], chain[-1], new):
            chain.pop()
        chain.append(int(new))
    return np.array(chain, dtype=np.int64)


def mean_score(found: Frontier, low: float, high: float, floor: float) -> Mean:
    """Mean test score over budgets from ``low`` to ``high``, evenly weighted: the area under the frontier.

    Args:
        found: a method's frontier, costs as a share of the plain backbone's so that the range means the same for all.
        low: cheapest budget.
        high: dearest budget.
        floor: score where no candidate fits the budget, such as the majority class's: who cannot run so cheaply can
            still answer that.

    Returns:
        The mean, and the share of budgets that a candidate fits.

    Raises:
        ValueError: ``low`` not below ``high``.
    """
    _check_range(low, high)
    start = min(max(low, float(found.cost[0])), high)
    covered = (high - start) / (high - low)
    if covered == 0:
        return Mean(floor, 0.0)
    return Mean(float(found.weights(start, high) @ found.score) * covered + floor * (1 - covered), covered)


def mean_gain(found: Frontier, anchor: Frontier, low: float, high: float) -> Gain:
    """Mean over budgets of one frontier's test score minus another's, over the budgets both have a point for.

    After ELUE's score (Liu et al., 2022, 2110.07038), which averages over a method's points; a mean over cost does not
    depend on how densely a curve was sampled, nor where.

    Args:
        found: the method.
        anchor: what it is compared with: the common static frontier, or the method's own fixed exits.
        low: cheapest budget, in the unit of the costs.
        high: dearest budget.

    Returns:
        The gain and the range it holds for.

    Raises:
        ValueError: ``low`` not below ``high``.
    """
    _check_range(low, high)
    start = max(low, float(found.cost[0]), float(anchor.cost[0]))
    if not start < high:
        return Gain(math.nan, 0.0, high, high)
    gain = found.weights(start, high) @ found.score - anchor.weights(start, high) @ anchor.score
    return Gain(float(gain), (high - start) / (high - low), start, high)


def pareto_front(cost: ArrayLike, score: ArrayLike) -> Mask:
    """Which points no other point beats: none is at least as cheap and as good, and better in one of the two.

    Costs that differ by rounding only (1e-9 of them) are the same cost. A point with a missing cost or score (NaN) is
    not on the front and beats nobody.

    >>> pareto_front([1, 2, 3], [0.5, 0.8, 0.7]).tolist()
    [True, True, False]

    Args:
        cost: (P,), lower is better.
        score: (P,), higher is better.

    Returns:
        bool (P,). Identical points are on the front together.

    Raises:
        ValueError: arrays of different lengths.
    """
    costs, scores = np.asarray(cost, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if costs.ndim != 1 or costs.shape != scores.shape:
        raise ValueError(f"cost and score must be one number a point each, not {costs.shape} and {scores.shape}")
    slack = costs * (1 + ROUNDING)
    no_dearer, no_worse = costs[None] <= slack[:, None], scores[None] >= scores[:, None]
    better = (slack[None] < costs[:, None]) | (scores[None] > scores[:, None])
    return ~(no_dearer & no_worse & better).any(1) & np.isfinite(costs) & np.isfinite(scores)


def _below(cost: Floats, score: Floats, first: int, middle: int, last: int) -> bool:
    """Whether ``middle`` lies on or below the line from ``first`` to ``last``."""
    rise = (score[middle] - score[first]) * (cost[last] - cost[first])
    return bool(rise <= (score[last] - score[first]) * (cost[middle] - cost[first]) * (1 + 1e-12))


def _points(cost: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    cost = finite("cost", cost, (None,))
    return cost, finite("score", score, cost.shape)


def _check_range(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"the range of budgets must go up, not from {low} to {high}")
