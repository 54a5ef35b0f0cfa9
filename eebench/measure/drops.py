"""How much may a knob lose? Upper confidence bounds on its paired drop against the plain backbone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure import quality
from eebench.measure._arrays import Floats, Ints, Mask, flags

__all__ = ["drop_certified", "drop_upper_bounds", "score_drop_upper_bounds", "smallest_resolvable"]

LEVEL = 0.9
ROUNDING = 1e-9  # 0.90 - 0.89 is a little more than 0.01 in floating point, and still one point
CHUNK = 1 << 24  # resampled counts held at once


def drop_upper_bounds(plain: ArrayLike, correct: ArrayLike, level: float = LEVEL) -> Floats:
    """One-sided upper confidence bound on the accuracy each knob loses against the plain backbone, pair by pair.

    Of n samples a knob spoils b answers and mends c. The bound is the larger of two: Tango's score bound for a paired
    difference (Statistics in Medicine, 1998), and Clopper and Pearson's exact bound on the spoilt share, less c / n.
    The first is right but for few differing answers (with none it would promise 1.6 / n where 2.3 / n is exact), which
    the second mends. Summed exactly over all outcomes, the bound of level 0.9 lies below the true drop with probability
    10.6 % at most, for 200 to 2,000 samples and drops from half a point to five.

    >>> plain = [True] * 300
    >>> correct = [[True, i > 0] for i in range(300)]  # the second knob spoils one answer of 300
    >>> drop_upper_bounds(plain, correct).round(4).tolist()
    [0.0076, 0.0129]

    Args:
        plain: (N,) bool, whether the plain backbone is right on each validation sample.
        correct: (N, K) bool, whether each knob is.
        level: confidence of each bound, in (0, 1).

    Returns:
        (K,) upper bounds, in score units.

    Raises:
        ValueError: wrong shapes, empty input or a level outside (0, 1).
    """
    right = flags("correct", correct, (None, None))
    before = flags("plain", plain, right.shape[:1])[:, None]
    return _upper((before & ~right).sum(0), (right & ~before).sum(0), len(right), level)


def drop_certified(lost: ArrayLike, won: ArrayLike, samples: ArrayLike, target: float, level: float = LEVEL) -> Mask:
    """Whether the bound of :func:`drop_upper_bounds` is within ``target``, without looking for the bound: fast.

    Args:
        lost: how many answers are spoilt, of any shape.
        won: how many are mended, of the same shape.
        samples: n, one number or one a row of ``lost``.
        target: score allowed to be lost, in (0, 1).
        level: confidence, in (0, 1).

    Returns:
        bool, of the shape of ``lost``.
    """
    from scipy.special import bdtr, ndtri

    if not 0 < target < 1 or not 0 < level < 1:
        raise ValueError(f"target and level must lie between 0 and 1, not {target} and {level}")
    b, c, n = (np.asarray(x, dtype=np.float64) for x in (lost, won, samples))
    goal = target + ROUNDING
    found: Mask = (_tango(b, c, n, goal) <= ndtri(1 - level)) & (
        bdtr(b, np.asarray(samples, dtype=np.int64), np.minimum(goal + c / n, 1.0)) <= 1 - level
    )
    return found


def score_drop_upper_bounds(
    metric: str,
    plain: ArrayLike,
    predictions: ArrayLike,
    targets: ArrayLike,
    level: float = LEVEL,
    n: int = 1000,
    seed: int = 0,
) -> Floats:
    """One-sided upper bounds on what each knob loses, for any metric.

    For accuracy :func:`drop_upper_bounds`; for other metrics the ``level`` quantile of the paired bootstrap, the same
    resamples serving all knobs.

    Args:
        metric: one of ``eebench.measure.METRICS``.
        plain: (N,) the plain backbone's predictions.
        predictions: (N, K) each knob's.
        targets: (N,).
        level: confidence of each bound, in (0, 1).
        n: resamples.
        seed: of the resampling.

    Returns:
        (K,) upper bounds, in score units.

    Raises:
        ValueError: as :func:`eebench.measure.score`, or a level outside (0, 1).
    """
    answers, truth = np.asarray(predictions), np.asarray(targets)
    if metric == "accuracy":
        right = quality.per_sample_correct(answers, truth)
        return drop_upper_bounds(quality.per_sample_correct(plain, truth), right, level)
    if not 0 < level < 1 or n < 1:
        raise ValueError(f"the level must lie between 0 and 1 and n be at least 1, not {level} and {n}")
    if answers.ndim != 2 or len(answers) != len(truth):
        raise ValueError(f"predictions must have shape ({len(truth)}, n), not {answers.shape}")
    rng = np.random.default_rng(seed)
    samples = len(truth)
    draws = []
    for start in range(0, n, max(1, CHUNK // samples)):
        size = min(max(1, CHUNK // samples), n - start)
        counts = rng.multinomial(samples, np.full(samples, 1 / samples), size)
        before = quality.resampled_scores(metric, plain, truth, counts)
        draws.append(np.stack([before - quality.resampled_scores(metric, a, truth, counts) for a in answers.T], 1))
    return np.quantile(np.concatenate(draws), level, axis=0)


def smallest_resolvable(samples: int, level: float = LEVEL, changed: float = 0.0) -> float:
    """The smallest drop that so many samples can certify.

    Without any changed answer it is ``1 - (1 - level)^(1/n)``, about 2.3 / n at level 0.9: no target below it can be
    met, whatever the method. A rule that changes answers needs more; how many it mends or spoils is its own affair.

    >>> round(smallest_resolvable(361), 4), round(smallest_resolvable(1000), 4)
    (0.0064, 0.0023)
    >>> round(smallest_resolvable(1000, changed=0.04), 4)  # 20 spoilt, 20 mended
    0.0083

    Args:
        samples: validation samples.
        level: confidence asked for.
        changed: share of samples a knob answers otherwise than the plain backbone, as many mended as spoilt.

    Returns:
        The drop, in score units.

    Raises:
        ValueError: no sample, or a level or share out of range.
    """
    if samples < 1 or not 0 <= changed <= 1:
        raise ValueError(f"samples must be at least 1 and changed a share, not {samples} and {changed}")
    each = np.array([math.floor(samples * changed / 2 + ROUNDING)])
    return float(_upper(each, each, samples, level)[0])


def _upper(lost: Ints, won: Ints, samples: int, level: float) -> Floats:
    """The larger of both bounds of :func:`drop_upper_bounds`, from counts (K,)."""
    from scipy.special import betaincinv, ndtri

    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, not {level}")
    b, c = lost.astype(np.float64), won.astype(np.float64)
    low, high = (b - c) / samples, np.ones(len(b))  # the statistic falls from 0 at the drop itself
    for _ in range(60):
        middle = (low + high) / 2
        excluded = _tango(b, c, samples, middle) <= ndtri(1 - level)
        low, high = np.where(excluded, low, middle), np.where(excluded, middle, high)
    left = np.maximum(samples - b, 1e-300)  # all spoilt: the bound is 1
    exact = np.where(b == samples, 1.0, betaincinv(b + 1, left, level)) - c / samples
    return np.maximum(high, exact)


def _tango(lost: Floats, won: Floats, samples: Floats | int, drop: Floats | float) -> Floats:
    """Tango's score statistic of "the drop is ``drop``", standard normal if it is; negative when less was lost.

    The share of mended answers is estimated under that hypothesis, the positive root of a quadratic.
    """
    half = (2 * samples - lost + won) * drop - lost - won
    product = 8 * samples * won * drop * (1 - drop)
    mended = (np.sqrt(half * half + product) - half) / (4 * samples)
    variance = samples * (2 * mended + drop - drop * drop)
    excess = lost - won - samples * drop
    return np.divide(excess, np.sqrt(np.maximum(variance, 0)), out=np.zeros_like(excess), where=variance > 0)
