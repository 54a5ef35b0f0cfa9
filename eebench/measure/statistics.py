"""How sure are we? Intervals by bootstrap, spread over seeds, and flags for timings that cannot be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eebench.measure import quality
from eebench.measure._arrays import Floats, finite

__all__ = [
    "MIN_BLOCKS",
    "Interval",
    "paired_bootstrap",
    "resampled_counts",
    "score_contrast",
    "score_drop",
]

CHUNK = 1 << 22  # array elements held at once while resampling
FEW = 10
"""Samples that two models must answer differently for a bootstrap of their difference to be trusted."""


MIN_BLOCKS = 10
"""Fewer independent samples (or blocks of them) than that are not resampled: there is no interval then."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its confidence interval."""

    estimate: float
    low: float
    high: float
    level: float = 0.95


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    statistic: Callable[[np.ndarray], float] | None = None,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of ``statistic(a) - statistic(b)``, both computed on the same resampled samples.

    Pairing is what makes small differences visible: two methods are right and wrong on largely the same samples
    (Efron and Tibshirani, 1993, chapter 13).

    Args:
        a: (N,), or (N, C) when the statistic needs several columns of a sample.
        b: of the same shape, row i being the same sample as ``a``'s.
        statistic: an array like ``a``, its rows resampled, to a number; None for the mean of (N,), which is fast.
        n: resamples.
        seed: of the resampling.
        level: share of the bootstrap distribution inside the interval.

    Returns:
        Difference on the samples as they are, with its interval.

    Raises:
        ValueError: wrong shapes, empty input, NaN, n below 1 or level outside (0, 1).
    """
    _check_resampling(n, level)
    rng = np.random.default_rng(seed)
    if statistic is None:
        first = finite("a", a, (None,))
        difference = first - finite("b", b, first.shape)
        return _interval(float(difference.mean()), _resampled_means(difference, n, rng), level)
    first = finite("a", a, (None,) * max(np.ndim(a), 1))
    second = finite("b", b, first.shape)
    draws = np.empty(n)
    for i in range(n):
        rows = rng.integers(len(first), size=len(first))
        draws[i] = statistic(first[rows]) - statistic(second[rows])
    return _interval(statistic(first) - statistic(second), draws, level)


def score_drop(
    metric: str,
    plain: ArrayLike,
    predictions: ArrayLike,
    targets: ArrayLike,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """What early exit costs: ``score(plain) - score(predictions)`` with its paired-bootstrap interval.

    Where just a few samples tell two accuracies apart, a bootstrap can draw nothing but those few: with none of them
    its interval is a point. Below :data:`FEW` such samples the interval is Bonett and Price's ("Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data", 2012).

    Args:
        metric: one of ``eebench.measure.METRICS``.
        plain: (N,) predictions of the plain backbone.
        predictions: (N,) predictions to compare.
        targets: (N,).
        n: resamples.
        seed: of the resampling.
        level: of the interval.

    Returns:
        The drop, positive where ``predictions`` are worse.

    Raises:
        ValueError: as :func:`score_contrast`.
    """
    found = score_contrast(metric, [plain, predictions], [1.0, -1.0], targets, n, seed, level)
    if metric != "accuracy":
        return found
    before, after = (quality.per_sample_correct(p, targets) for p in (plain, predictions))
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    return found if lost + won >= FEW else adjusted_wald(lost, won, len(before), level)


def score_contrast(
    metric: str,
    predictions: Sequence[ArrayLike],
    weights: Sequence[float],
    targets: ArrayLike,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """``sum_j w_j score(predictions_j)`` with its paired-bootstrap interval, all scores on the same resampled samples.

    Weights 1, -w and w - 1 compare a method with answering by one of two others, drawn with probability w and 1 - w:
    with a fixed depth that costs exactly as much, whatever the method costs.

    Args:
        metric: one of ``eebench.measure.METRICS``.
        predictions: M arrays (N,).
        weights: M numbers.
        targets: (N,).
        n: resamples.
        seed: of the resampling.
        level: of the interval.

    Raises:
        ValueError: not one weight an array, or as :func:`eebench.measure.score` and :func:`paired_bootstrap`.
    """
    if len(predictions) != len(weights):
        raise ValueError(f"{len(predictions)} arrays of predictions but {len(weights)} weights")
    if metric == "accuracy":
        right = np.stack([quality.per_sample_correct(p, targets) for p in predictions])
        values = np.asarray(weights, dtype=np.float64) @ right
        return paired_bootstrap(values, np.zeros_like(values), n=n, seed=seed, level=level)
    _check_resampling(n, level)

    # On all samples, and the check that the arrays fit.
    estimate = sum(w * quality.score(metric, p, targets) for w, p in zip(weights, predictions, strict=True))
    # Which of several equal rows is drawn does not matter: keep one of each, and draw how often it counts.
    columns = [np.asarray(x) for x in (*predictions, targets)]
    _, first, sizes = np.unique(np.stack(columns, 1), axis=0, return_index=True, return_counts=True)
    *distinct, truth = (x[first] for x in columns)
    rng = np.random.default_rng(seed)
    total = int(sizes.sum())
    draws = []
    for k in _chunks(n, len(sizes)):
        counts = rng.multinomial(total, sizes / total, k)
        scores = [quality.resampled_scores(metric, p, truth, counts) for p in distinct]
        draws.append(np.asarray(weights, dtype=np.float64) @ scores)
    return _interval(estimate, np.concatenate(draws), level)


def resampled_counts(rng: np.random.Generator, n: int, samples: int) -> NDArray[np.int32]:
    """How often each sample is in each of ``n`` bootstrap resamples: (n, samples), every row summing to ``samples``."""
    counts = np.empty((n, samples), np.int32)
    start = 0
    for size in _chunks(n, samples):
        drawn = rng.integers(samples, size=(size, samples)) + samples * np.arange(size)[:, None]
        counts[start : start + size] = np.bincount(drawn.ravel(), minlength=size * samples).reshape(size, samples)
        start += size
    return counts


def adjusted_wald(lost: int, won: int, samples: int, level: float) -> Interval:
    """Difference of paired proportions ``(lost - won) / samples``, one sample added to either side."""
    more, less = (lost + 1) / (samples + 2), (won + 1) / (samples + 2)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt((more + less - (more - less) ** 2) / (samples + 2))
    return Interval((lost - won) / samples, more - less - half, more - less + half, level)


def _resampled_means(values: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Means of ``n`` resamples of ``values`` (N,).

    Which of two equal values is drawn does not matter, so their counts are drawn instead: the same distribution, and
    for differences of right and wrong (-1, 0, 1) a thousand times less work than N indices a resample.
    """
    distinct, counts = np.unique(values, return_counts=True)
    size = len(values)
    if len(distinct) <= size // 4:
        return np.concatenate(
            [rng.multinomial(size, counts / size, k) @ distinct / size for k in _chunks(n, len(distinct))]
        )
    return np.concatenate([values[rng.integers(size, size=(k, size))].mean(1) for k in _chunks(n, size)])


def _chunks(n: int, width: int) -> list[int]:
    """``n`` resamples of ``width`` elements each in chunks that fit :data:`CHUNK`."""
    step = max(1, CHUNK // width)
    return [min(step, n - start) for start in range(0, n, step)]


def _interval(estimate: float, draws: Floats, level: float) -> Interval:
    low, high = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2))
    return Interval(estimate, float(low), float(high), level)


def _check_resampling(n: int, level: float) -> None:
    if n < 1 or not 0 < level < 1:
        raise ValueError(f"resamples must be at least 1 and the level between 0 and 1, not {n} and {level}")
