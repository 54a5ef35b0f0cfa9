"""Choosing a knob on validation data so that the promise holds afterwards.

"At most one point lost" chosen on the validation drop itself is broken about every second time: the cheapest knob that
looks good enough is one that was lucky. Here a knob is taken only when an upper confidence bound on its paired drop
against the plain backbone is within the target.

A hundred knobs are judged on the same samples. Taking the cheapest of all whose bound fits would give luck a hundred
chances, so knobs are tested one after the other from the dearest (never stopping) downwards, and the first that fails
ends it: fixed-sequence testing (Maurer, Hothorn and Lehmacher, 1995; Learn then Test, 2110.01052), which needs no
correction, because the first knob in that order that loses too much has to pass by luck, and just that one.

The promise is about data like the validation data, not about one test split: that is a draw itself, and reads a drop
above the target more often than the drop is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, Ints, Mask, class_labels, finite, flags
from eebench.measure.drops import ROUNDING

__all__ = [
    "Choice",
    "CrossFit",
    "choose_within_budget",
    "choose_within_drop",
    "cross_fit",
    "in_sequence",
]


@dataclass(frozen=True, slots=True)
class Choice:
    """A knob, and whether validation data says that it meets the target."""

    index: int
    met: bool


@dataclass(frozen=True, eq=False, slots=True)
class CrossFit:
    """Knobs chosen on some folds and read on the others; see :func:`cross_fit`."""

    chosen: tuple[int, ...]  # one a fold: the knob read there, chosen on all other folds
    fold: Ints  # (N,) which fold each sample is in
    knob: Ints  # (N,) the knob each sample is read at: chosen[fold]


def choose_within_drop(cost: ArrayLike, drop: ArrayLike, target: float, upper: ArrayLike | None = None) -> Choice:
    """The cheapest knob that loses at most ``target`` against the plain backbone.

    With upper bounds: the last knob before the first, from the dearest downwards, whose bound exceeds the target (of
    those that passed the cheapest, which it is). Without: the cheapest whose drop itself fits, which promises nothing.
    Where no knob fits, the one that loses least is the answer and ``met`` is False.

    >>> choose_within_drop([3, 2, 1], [0.0, 0.004, 0.03], 0.01, upper=[0.006, 0.012, 0.04])
    Choice(index=0, met=True)
    >>> choose_within_drop([3, 2, 1], [0.0, 0.004, 0.03], 0.01)
    Choice(index=1, met=True)

    Args:
        cost: (K,) mean cost of each knob on validation data.
        drop: (K,) the plain backbone's validation score minus each knob's.
        target: score allowed to be lost (0.01 is one point of accuracy).
        upper: (K,) one-sided upper bounds on the drops, from :func:`eebench.measure.drop_upper_bounds`; None chooses
            naively.

    Returns:
        The choice; of equally dear knobs the one that loses least.

    Raises:
        ValueError: arrays of different lengths, empty ones, NaN or infinity.
    """
    costs = finite("cost", cost, (None,))
    drops = finite("drop", drop, costs.shape)
    if upper is None:
        passed = drops <= target + ROUNDING
    else:
        bounds = finite("upper", upper, costs.shape)
        passed = in_sequence(costs[None], (bounds <= target + ROUNDING)[None])[0]
    if not passed.any():
        return Choice(_first(np.ones_like(passed), drops, costs), False)
    return Choice(_first(passed, costs, drops), True)


def choose_within_budget(cost: ArrayLike, score: ArrayLike, budget: float) -> Choice:
    """The best knob of at most ``budget`` (MACs or milliseconds), the cheapest of equals; if none is, the cheapest.

    >>> choose_within_budget([3, 2, 1], [0.9, 0.8, 0.5], 2.5)
    Choice(index=1, met=True)

    Args:
        cost: (K,) mean cost of each knob on validation data.
        score: (K,) its validation score.
        budget: in the unit of ``cost``.

    Returns:
        The choice.

    Raises:
        ValueError: arrays of different lengths, empty ones, NaN or infinity.
    """
    costs = finite("cost", cost, (None,))
    scores = finite("score", score, costs.shape)
    fits = costs <= budget * (1 + ROUNDING)
    if not fits.any():
        return Choice(_first(~fits, costs, -scores), False)
    return Choice(_first(fits, -scores, costs), True)


def in_sequence(cost: ArrayLike, passed: ArrayLike) -> Mask:
    """Which knobs are left when the first that fails, from the dearest downwards, ends the sequence.

    >>> in_sequence([[1, 2, 3]], [[True, False, True]]).tolist()
    [[False, False, True]]

    Args:
        cost: (R, K), one row a resample.
        passed: (R, K) bool, which pass a test of their own.

    Returns:
        (R, K) bool.

    Raises:
        ValueError: wrong shapes, empty input or NaN.
    """
    costs = finite("cost", cost, (None, None))
    order = np.argsort(-costs, axis=1, kind="stable")
    run = np.logical_and.accumulate(np.take_along_axis(flags("passed", passed, costs.shape), order, 1), 1)
    found = np.empty_like(run)
    np.put_along_axis(found, order, run, 1)
    return found


def cross_fit(
    choose: Callable[[Ints], int],
    samples: int,
    labels: ArrayLike | None = None,
    folds: int = 2,
    seed: int = 0,
) -> CrossFit:
    """Choose a knob on some folds, read it on the other, and swap, so that little data serves both ends.

    Every sample is read at a knob that was chosen without it, so nothing read is chosen with hindsight. What is read
    is the mean over as many choices as there are folds, each made on fewer samples than there are.

    >>> halves = cross_fit(lambda rows: int(0 in rows), samples=6, folds=2)  # chooses 1 where it sees sample 0
    >>> sorted(halves.chosen), int(halves.knob[0])
    ([0, 1], 0)

    Args:
        choose: from the indices of the samples to choose on, to a knob's index.
        samples: how many there are.
        labels: (N,) classes, to give every fold its share of each; None: at random.
        folds: at least 2.
        seed: of the folds.

    Returns:
        The choices, and the knob of every sample.

    Raises:
        ValueError: fewer than 2 folds, or fewer samples than folds.
    """
    if folds < 2 or samples < folds:
        raise ValueError(f"cross-fitting takes at least 2 folds and as many samples, not {folds} and {samples}")
    strata = np.zeros(samples, np.int64) if labels is None else class_labels("labels", labels, (samples,))
    shuffled = np.random.default_rng(seed).permutation(samples)
    fold = np.empty(samples, np.int64)
    fold[shuffled[np.argsort(strata[shuffled], kind="stable")]] = np.arange(samples) % folds
    chosen = tuple(int(choose(np.flatnonzero(fold != f))) for f in range(folds))
    return CrossFit(chosen, fold, np.array(chosen)[fold])


def _first(allowed: Mask, *keys: Floats) -> int:
    """Index of the allowed knob with the smallest first key, then second."""
    candidates = np.flatnonzero(allowed)
    return int(candidates[np.lexsort([key[candidates] for key in reversed(keys)])[0]])
