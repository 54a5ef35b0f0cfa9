"""One number per method, each with its definition.

A curve is the (MACs, score) points of one method, one point a knob value, in any order. MACs may be absolute or a share
of the plain backbone's; every function says which it needs, and raises ValueError on arrays of different lengths, empty
ones, NaN and infinity.

Numbers read off a curve measured on test data are chosen with hindsight: they bound what can be deployed. For a number
that can, choose on validation and read off test: ``i = at_drop(val_macs, val_score, val_plain, 0.01)``, then
``plain_macs / test_macs[i]``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, Mask, finite

__all__ = [
    "Area",
    "Gain",
    "area_under_curve",
    "at_budget",
    "at_drop",
    "gain_over_fixed_depth",
]

ROUNDING = 1e-9  # 0.90 - 0.89 is a little more than 0.01 in floating point, and still one point


@dataclass(frozen=True, slots=True)
class Gain:
    """Mean gain over fixed depth, and how many curve points it rests on."""

    gain: float  # score units; NaN when no point is comparable
    points: int  # compared
    cheaper: int  # left out: cheaper than the cheapest fixed exit
    dearer: int  # left out: dearer than the dearest fixed exit


@dataclass(frozen=True, slots=True)
class Area:
    """Mean attainable score over a range of budgets, and the share of that range the method has a point for."""

    area: float
    covered: float


def gain_over_fixed_depth(
    curve_macs: ArrayLike, curve_score: ArrayLike, fixed_macs: ArrayLike, fixed_score: ArrayLike
) -> Gain:
    """Mean over a method's points of its score minus the fixed-depth curve's at the same MACs.

    After ELUE's score (Liu et al., 2022, 2110.07038), with the same trained exits at fixed depth for an anchor in place
    of ElasticBERT's layers. The anchor is interpolated linearly between fixed exits and never extrapolated: points
    outside its range are left out and counted. Knob values that end at the very same point count once, so a finer grid
    where nothing changes moves nothing.

    Args:
        curve_macs: (P,) of the method's points.
        curve_score: (P,).
        fixed_macs: (E,) of the fixed exits, in the same unit.
        fixed_score: (E,).

    Returns:
        The gain, 0 for a method that is no better than stopping everyone at one exit.
    """
    macs, score = _points(curve_macs, curve_score)
    macs, score = np.unique(np.stack([macs, score], 1), axis=0).T
    anchor_macs, anchor_score = _line(fixed_macs, fixed_score)
    cheaper, dearer = macs < anchor_macs[0], macs > anchor_macs[-1]
    inside = ~(cheaper | dearer)
    gains = score[inside] - np.interp(macs[inside], anchor_macs, anchor_score)
    gain = float(gains.mean()) if len(gains) else math.nan
    return Gain(gain, len(gains), int(cheaper.sum()), int(dearer.sum()))


def area_under_curve(
    macs: ArrayLike, score: ArrayLike, low: float, high: float, floor: float = 0.0, read: ArrayLike | None = None
) -> Area:
    """Mean over budgets from ``low`` to ``high`` of the best score attainable within the budget.

    The upper envelope is a step function: a budget between two points buys the cheaper one, since a knob value between
    them was not measured. Where no point fits the budget ``floor`` is scored (0, or the score of guessing), so being
    unable to run cheaply costs area; ``covered`` says how much of the range was met.

    Args:
        macs: (P,), as a share of the plain backbone's so that the range means the same for every method.
        score: (P,).
        low: cheapest budget, in the unit of ``macs``.
        high: dearest budget.
        floor: score where no point fits.
        read: (P,) the points' scores on another split: ``macs`` and ``score`` choose the point of every budget (on
            validation data), and its score is read here (on test data), so that no hindsight is in the area.

    Returns:
        The area divided by ``high - low``, in score units.

    Raises:
        ValueError: ``low`` not below ``high``.
    """
    if not low < high:
        raise ValueError(f"the range must go up, not from {low} to {high}")
    macs, score = _points(macs, score)
    read = score if read is None else _points(macs, read)[1]
    order = np.lexsort((-score, macs))
    macs, first = np.unique(macs[order], return_index=True)  # of equally dear points the best
    score, read = score[order][first], read[order][first]
    better = np.append(True, score[1:] > np.maximum.accumulate(score)[:-1])
    best = np.maximum.accumulate(np.where(better, np.arange(len(score)), 0))
    edges = np.concatenate([[low], macs[(macs > low) & (macs < high)], [high]])
    step = np.searchsorted(macs, edges[:-1], side="right") - 1  # the dearest point within each edge's budget
    values = np.where(step >= 0, read[best[step]], floor)
    widths = np.diff(edges) / (high - low)
    return Area(float(values @ widths), float(widths[step >= 0].sum()))


def at_drop(macs: ArrayLike, score: ArrayLike, plain_score: float, drop: float) -> int | None:
    """Index of the cheapest point that loses at most ``drop`` against ``plain_score``; None when every one loses more.

    Args:
        macs: (P,).
        score: (P,), of the split that ``plain_score`` is of.
        plain_score: the plain backbone's.
        drop: score allowed to be lost (0.01 is one point of accuracy).
    """
    macs, score = _points(macs, score)
    return _best(plain_score - score <= drop + ROUNDING, macs, -score)


def at_budget(macs: ArrayLike, score: ArrayLike, budget: float) -> int | None:
    """Index of the best point of at most ``budget`` MACs, the cheapest of equals; None when every one is dearer.

    Args:
        macs: (P,).
        score: (P,).
        budget: in the unit of ``macs``.
    """
    macs, score = _points(macs, score)
    return _best(macs <= budget * (1 + ROUNDING), -score, macs)


def _points(macs: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    macs = finite("macs", macs, (None,))
    return macs, finite("score", score, macs.shape)


def _line(macs: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    """The points by rising MACs, each MACs once with its best score."""
    macs, score = _points(macs, score)
    order = np.lexsort((-score, macs))
    macs, first = np.unique(macs[order], return_index=True)
    return macs, score[order][first]


def _best(allowed: Mask, *keys: Floats) -> int | None:
    """Index of the allowed point with the smallest first key, then second."""
    candidates = np.flatnonzero(allowed)
    order = np.lexsort([key[candidates] for key in reversed(keys)])
    return int(candidates[order[0]]) if len(order) else None
