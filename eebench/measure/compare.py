"""Which methods are really better than which? Paired tests over samples and seeds, corrected for their number.

Methods answer the same test samples, each with several training seeds. Both vary: other samples and other seeds would
have given another difference. Samples and seeds are crossed, as cases and readers are in studies of diagnostic imaging,
and the variance of a difference is taken apart as there (Obuchowski and Rockette, 1995): into seeds, samples, and how
each seed answers the samples in its own way. Seeds are few, so their part gets Student's quantile and the samples' part
the normal one, added by Banerjee's rule (1961), which never promises too much. With one seed nothing can be said about
other seeds, and right and wrong answers are compared by McNemar's exact test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure import quality
from eebench.measure._arrays import Floats, finite, fraction
from eebench.measure.statistics import Interval, adjusted_wald, resampled_counts

__all__ = ["Pair", "compare_all", "compare_two", "holm"]

LEVEL = 0.95
RESAMPLES = 1000
SMALLEST_P = 1e-12


@dataclass(frozen=True, slots=True)
class Pair:
    """One method against another on the same samples."""

    difference: Interval  # first minus second, mean over seeds
    p: float  # two-sided, of "there is no difference"; never below 1e-12
    seeds: int  # 1: the test knows nothing about other seeds


@dataclass(frozen=True, slots=True)
class _Parts:
    """A mean difference, and variances of that mean as each source alone would have it."""

    estimate: float
    seeds: float  # from the spread of seeds: their own part, and chance
    samples: float  # from the spread of samples, seeds averaged
    chance: float  # in both: how each seed answers the samples in its own way

    @property
    def shared(self) -> float:
        """What samples add beyond the seeds' spread."""
        return max(self.samples - self.chance, 0.0)


def compare_two(
    first: ArrayLike,
    second: ArrayLike,
    metric: str | None = None,
    targets: ArrayLike | None = None,
    level: float = LEVEL,
    n: int = RESAMPLES,
    seed: int = 0,
) -> Pair:
    """Two methods on the same samples and seeds.

    >>> right, wrong = [True] * 90 + [False] * 10, [True] * 80 + [False] * 20
    >>> found = compare_two([right], [wrong])
    >>> round(found.difference.estimate, 3), round(found.p, 4)
    (0.1, 0.002)

    Args:
        first: (S, N) what each sample is worth under a method, row s being one seed: right or wrong, or its part in a
            contrast. With a ``metric``: its predictions.
        second: (S, N), the same samples, and row s of the same seed.
        metric: one of ``eebench.measure.METRICS`` to compare predictions by, or None.
        targets: (N,), needed with a metric.
        level: of the interval.
        n: resamples, for metrics that are no mean over samples.
        seed: of the resampling.

    Returns:
        The difference with its interval and p-value.

    Raises:
        ValueError: wrong shapes, fewer than 2 samples, NaN, a metric without targets, or a level outside (0, 1).
    """
    pairs, _ = compare_all([first, second], metric, targets, level, n, seed)
    return pairs[0][1]


def compare_all(
    values: Sequence[ArrayLike],
    metric: str | None = None,
    targets: ArrayLike | None = None,
    level: float = LEVEL,
    n: int = RESAMPLES,
    seed: int = 0,
) -> tuple[list[list[Pair]], Floats]:
    """Every pair of M methods, and the p-values after Holm's correction.

    Two or three seeds say little about one pair's seed noise, and after a correction for many pairs nothing would be
    left. All pairs together say more: a pair's seed part is the larger of its own and the mean over pairs, with
    (M - 1) (S - 1) degrees of freedom, as where several treatments share their readers. The noise of samples alone is
    always the least that counts.

    Args:
        values: M arrays (S, N), as :func:`compare_two` takes them.
        metric: see :func:`compare_two`.
        targets: see :func:`compare_two`.
        level: of the intervals.
        n: see :func:`compare_two`.
        seed: see :func:`compare_two`.

    Returns:
        ``pairs[i][j]``, method i minus method j, and the corrected p-values (M, M), 1 on the diagonal.

    Raises:
        ValueError: fewer than 2 methods, or as :func:`compare_two`.
    """
    if len(values) < 2 or not 0 < level < 1 or n < 2:
        raise ValueError(f"take 2 methods, a level in (0, 1) and 2 resamples, not {len(values)}, {level} and {n}")
    table = _table(values, metric, targets)
    count, seeds, samples = table.shape
    if samples < 2:
        raise ValueError("a comparison takes at least 2 samples")
    above = list(combinations(range(count), 2))
    means_over_samples = metric in (None, "accuracy")
    if means_over_samples and seeds == 1 and np.isin(table, (0, 1)).all():
        found = [_mcnemar(table[i, 0] - table[j, 0], level) for i, j in above]
    else:
        if means_over_samples:
            parts = [_anova(table[i] - table[j]) for i, j in above]
        else:
            assert metric is not None
            drawn = _draws(table, metric, np.asarray(targets), n, seed)
            parts = [_bootstrap(drawn[i] - drawn[j]) for i, j in above]
        pooled = float(np.mean([part.seeds for part in parts]))
        found = [_pair(part, pooled, (count - 1) * (seeds - 1), level, seeds) for part in parts]
    same = Pair(Interval(0.0, 0.0, 0.0, level), 1.0, seeds)
    pairs = [[same] * count for _ in range(count)]
    for (i, j), pair in zip(above, found, strict=True):
        d = pair.difference
        pairs[i][j], pairs[j][i] = pair, Pair(Interval(-d.estimate, -d.high, -d.low, level), pair.p, seeds)
    corrected = np.ones((count, count))
    rows, columns = np.array(above).T
    corrected[rows, columns] = corrected[columns, rows] = holm([pair.p for pair in found])
    return pairs, corrected


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down correction (1979): the chance of any false rejection stays at the level of the test.

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]

    Args:
        p: (n,) p-values.

    Returns:
        (n,) corrected p-values, at most 1.

    Raises:
        ValueError: wrong shape, empty input or values outside [0, 1].
    """
    values = fraction("p", p, (None,))
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    found = np.empty_like(values)
    found[order] = steps.clip(max=1)
    return found


def _table(values: Sequence[ArrayLike], metric: str | None, targets: ArrayLike | None) -> Floats:
    """(M, S, N): what samples are worth, or predictions for a metric that is no mean over samples."""
    first = np.shape(values[0])
    table = np.stack([finite(f"method {m}", rows, (None, *first[1:])) for m, rows in enumerate(values)])
    if table.ndim != 3:
        raise ValueError(f"each method must be (seeds, samples), not {first}")
    if metric is None:
        return table
    if targets is None:
        raise ValueError("a metric needs targets")
    if metric != "accuracy":
        return table
    right = [quality.per_sample_correct(np.asarray(rows).T, targets).T for rows in values]
    return np.stack(right).astype(np.float64)


def _draws(table: Floats, metric: str, targets: np.ndarray, n: int, seed: int) -> Floats:
    """Scores on the data as they are and on resamples shared by all: (M, S, 1 + n)."""
    counts = resampled_counts(np.random.default_rng(seed), n, len(targets))
    counts = np.concatenate([np.ones((1, len(targets)), counts.dtype), counts])
    kind = targets.dtype if targets.dtype.kind in "iub" else np.float64
    return np.array(
        [[quality.resampled_scores(metric, row.astype(kind), targets, counts) for row in rows] for rows in table]
    )


def _anova(apart: Floats) -> _Parts:
    """Two-way analysis of variance of (S, N) differences."""
    seeds, samples = apart.shape
    of_seed, of_sample = apart.mean(1), apart.mean(0)
    mean, by_sample = float(apart.mean()), float(of_sample.var(ddof=1)) / samples
    if seeds == 1:
        return _Parts(mean, 0.0, by_sample, 0.0)
    rest = apart - of_seed[:, None] - of_sample + mean
    chance = float((rest**2).sum()) / ((seeds - 1) * (samples - 1)) / (seeds * samples)
    return _Parts(mean, float(of_seed.var(ddof=1)) / seeds, by_sample, chance)


def _bootstrap(apart: Floats) -> _Parts:
    """The same parts from (S, 1 + n) differences on the data as they are and on resamples."""
    seeds = len(apart)
    estimate, by_sample = float(apart[:, 0].mean()), float(apart[:, 1:].mean(0).var(ddof=1))
    if seeds == 1:
        return _Parts(estimate, 0.0, by_sample, 0.0)
    own = apart[:, 1:] - apart[:, 1:].mean(0)
    chance = float(own.var(axis=1, ddof=1).mean()) / (seeds - 1)
    return _Parts(estimate, float(apart[:, 0].var(ddof=1)) / seeds, by_sample, chance)


def _pair(parts: _Parts, pooled: float, freedom: int, level: float, seeds: int) -> Pair:
    """Banerjee's rule, and at least the noise of samples: ``max(t^2 seeds + z^2 shared, z^2 max(samples, chance))``."""
    from scipy.optimize import brentq
    from scipy.stats import norm, t

    of_seeds, least = max(parts.seeds, pooled), max(parts.samples, parts.chance)

    def half(p: float) -> float:
        z = norm.isf(p / 2)
        student = t.isf(p / 2, freedom) if freedom else 0.0
        return math.sqrt(max(student**2 * of_seeds + z**2 * parts.shared, z**2 * least))

    estimate, far = parts.estimate, half(1 - level)
    distance = abs(estimate)
    if distance == 0:
        p = 1.0
    elif distance >= half(SMALLEST_P):
        p = SMALLEST_P
    else:
        p = math.exp(brentq(lambda log_p: half(math.exp(log_p)) - distance, math.log(SMALLEST_P), 0.0, xtol=1e-10))
    return Pair(Interval(estimate, estimate - far, estimate + far, level), p, seeds)


def _mcnemar(apart: Floats, level: float) -> Pair:
    """McNemar's exact test: of the samples on which two methods differ, each wins half by chance."""
    from scipy.stats import binomtest

    won, lost = int((apart > 0).sum()), int((apart < 0).sum())
    p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return Pair(adjusted_wald(won, lost, len(apart), level), p, 1)
