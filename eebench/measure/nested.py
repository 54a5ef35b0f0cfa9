"""Intervals that contain the choice: what would the same protocol have given with other samples and other seeds?

A knob is chosen on validation data and read on test data. An interval over test samples alone takes the knob for given;
with other validation samples another one would have been chosen, and the speed-up moves with it. Here both splits are
resampled, the knob is chosen again in every resample, and the result read there.

With several training seeds there are two levels. All seeds answer the same samples, so a resample is shared by them;
seeds are few, so their part gets a t quantile instead of a bootstrap of three values. The parts are put together as
independent errors, each side of the interval on its own (Zou and Donner, 2008), with Satterthwaite's degrees of
freedom. A speed-up is a ratio: its mean over seeds is geometric, and its interval is made on the logarithm, so that it
never reaches 0. How often the result covers is simulated; docs/measures.md has the table, other kinds included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eebench.measure import quality
from eebench.measure._arrays import Floats, Ints, Mask, class_labels, finite
from eebench.measure.choice import in_sequence
from eebench.measure.drops import LEVEL, ROUNDING, drop_certified, score_drop_upper_bounds
from eebench.measure.frontier import find_frontier
from eebench.measure.statistics import MIN_BLOCKS, Interval, resampled_counts

__all__ = ["Candidates", "Nested", "Rule", "Split", "nested_bootstrap"]


@dataclass(frozen=True, slots=True)
class Rule:
    """How a knob is chosen on validation data: one of ``drop`` and ``budget`` is given.

    The choice is that of :func:`eebench.measure.choose_within_drop` and :func:`eebench.measure.choose_within_budget`.
    """

    drop: float | None = None  # score that may be lost against the plain backbone
    level: float | None = LEVEL  # of the upper bound on the drop; None chooses naively
    budget: float | None = None  # mean cost allowed, as a share of the plain backbone's

    def __post_init__(self) -> None:
        if (self.drop is None) == (self.budget is None):
            raise ValueError("a rule has either a drop or a budget")


@dataclass(frozen=True, eq=False, slots=True)
class Candidates:
    """Ways to run a model on N samples: K knobs, or the C candidates of a frontier."""

    predictions: ArrayLike  # (N, K) classes or values
    cost: ArrayLike  # (N, K), or (K,) where every sample costs the same


@dataclass(frozen=True, eq=False, slots=True)
class Split:
    """One trained model and the plain backbone of its seed on one split."""

    targets: ArrayLike  # (N,)
    plain: ArrayLike  # (N,) the plain backbone's predictions
    plain_cost: ArrayLike  # (N,), or one number; in the unit of all costs
    knobs: Candidates
    frontier: Candidates | None = None  # what the point is compared with at equal cost


@dataclass(frozen=True, slots=True)
class Nested:
    """Means over seeds with their intervals; ``low`` and ``high`` are NaN where there is too little to resample."""

    score: Interval  # of the chosen knob, on test data
    drop: Interval  # the plain backbone's test score minus that
    speedup: Interval  # mean cost of the plain backbone over the chosen knob's, on test data; geometric over seeds
    over_frontier: Interval | None  # score above the frontier's at equal test cost; None without a frontier below it


def nested_bootstrap(
    seeds: Sequence[tuple[Split, Split]],
    rule: Rule,
    metric: str = "accuracy",
    n: int = 500,
    seed: int = 0,
    level: float = 0.95,
    val_groups: ArrayLike | None = None,
    test_groups: ArrayLike | None = None,
) -> Nested:
    """Choose on validation, read on test, and say how far both would have gone otherwise.

    One seed: percentile interval over validation and test samples, and nothing about other seeds. Several: the samples'
    part from the bootstrap of the mean over seeds, and the seeds' part, their variance less what samples alone explain,
    at a t quantile. What is estimated is the mean result of the whole procedure, over draws of samples and seeds.

    For other metrics than accuracy an upper bound on the drop would need a bootstrap within the bootstrap; the margin
    between drop and bound on the data as they are stands in for it.

    Args:
        seeds: (validation, test) of each training seed, the samples being the same for all.
        rule: how the knob is chosen.
        metric: one of ``eebench.measure.METRICS``.
        n: resamples.
        seed: of the resampling; equal seeds give equal resamples, so that methods can be compared.
        level: of the intervals.
        val_groups: (N_val,) int, samples that belong together (phrases of one sentence) and are drawn together.
        test_groups: (N_test,) int.

    Returns:
        The intervals. Below :data:`eebench.measure.statistics.MIN_BLOCKS` samples (or groups) in either split their
        ends are NaN.

    Raises:
        ValueError: no seed, splits of different lengths, wrong shapes, NaN, or levels out of range.
    """
    if not seeds or n < 2 or not 0 < level < 1:
        raise ValueError(f"there must be a seed, 2 resamples and a level in (0, 1), not {len(seeds)}, {n} and {level}")
    lengths = {(len(np.asarray(val.targets)), len(np.asarray(test.targets))) for val, test in seeds}
    if len(lengths) > 1:
        raise ValueError(f"the samples must be the same for all seeds, not {sorted(lengths)}")
    widths = [(np.shape(val.knobs.predictions)[1:], np.shape(test.knobs.predictions)[1:]) for val, test in seeds]
    if any(val_width != test_width for val_width, test_width in widths):
        raise ValueError(f"the knobs must be the same on both splits, not {widths}")
    rng = np.random.default_rng(seed)
    val_counts, val_blocks = _counts(rng, n, lengths.copy().pop()[0], val_groups)
    test_counts, test_blocks = _counts(rng, n, lengths.pop()[1], test_groups)
    found = [_one_seed(val, test, val_counts, test_counts, rule, metric) for val, test in seeds]
    enough = min(val_blocks, test_blocks) >= MIN_BLOCKS
    score, drop, log_speedup, over = (_interval(np.stack(rows), level, enough) for rows in zip(*found, strict=True))
    return Nested(score, drop, _exp(log_speedup), over if math.isfinite(over.estimate) else None)


def _counts(rng: np.random.Generator, n: int, samples: int, groups: ArrayLike | None) -> tuple[Ints, int]:
    """How often each sample is drawn, (1 + n, samples), the first row being the data as they are; and the blocks."""
    if groups is None:
        drawn, blocks = resampled_counts(rng, n, samples), samples
    else:
        _, group = np.unique(class_labels("groups", groups, (samples,)), return_inverse=True)
        blocks = int(group.max()) + 1
        drawn = resampled_counts(rng, n, blocks)[:, group]
    return np.concatenate([np.ones((1, samples), drawn.dtype), drawn]), blocks


def _one_seed(
    val: Split, test: Split, val_counts: Ints, test_counts: Ints, rule: Rule, metric: str
) -> tuple[Floats, Floats, Floats, Floats]:
    """Score, drop, logarithm of the speed-up and score over the frontier of one seed, (1 + n,) each."""
    val_weights, test_weights = _Weights(val_counts), _Weights(test_counts)
    chosen = _choose(val, val_weights, rule, metric)
    rows = np.arange(len(chosen))
    scores = test_weights.scores(metric, test.knobs.predictions, test.targets)[rows, chosen]
    plain = test_weights.scores(metric, np.asarray(test.plain)[:, None], test.targets)[:, 0]
    costs = test_weights.costs(test.knobs)[rows, chosen]
    log_speedup = np.log(test_weights.means(test.plain_cost) / costs)
    over = np.full(len(rows), math.nan)
    if val.frontier is not None and test.frontier is not None:
        tables = (
            val_weights.costs(val.frontier),
            val_weights.scores(metric, val.frontier.predictions, val.targets),
            test_weights.costs(test.frontier),
            test_weights.scores(metric, test.frontier.predictions, test.targets),
        )
        reached = [find_frontier(*(table[r] for table in tables)).at([costs[r]])[0] for r in rows]
        over = scores - np.array(reached)
    return scores, plain - scores, log_speedup, over


def _choose(val: Split, weights: _Weights, rule: Rule, metric: str) -> Ints:
    """Index of the chosen knob in every resample: (1 + n,)."""
    cost = weights.costs(val.knobs)
    if rule.budget is not None:
        score = weights.scores(metric, val.knobs.predictions, val.targets)
        fits = cost <= (rule.budget * weights.means(val.plain_cost) * (1 + ROUNDING))[:, None]
        return np.where(fits.any(1), _first(fits, -score, cost), _first(np.ones_like(fits), cost, -score))
    drop, passed = _passed(val, weights, rule, metric)
    if rule.level is not None:
        passed = in_sequence(cost, passed)
    return np.where(passed.any(1), _first(passed, cost, drop), _first(np.ones_like(passed), drop, cost))


def _passed(val: Split, weights: _Weights, rule: Rule, metric: str) -> tuple[Floats, Mask]:
    """Each knob's drop in every resample, and whether it is within the target: (1 + n, K)."""
    assert rule.drop is not None
    goal = rule.drop + ROUNDING
    if metric == "accuracy":
        right = quality.per_sample_correct(val.knobs.predictions, val.targets)
        before = quality.per_sample_correct(val.plain, val.targets)[:, None]
        lost, won = weights.sums(before & ~right), weights.sums(right & ~before)
        drop = (lost - won) / weights.samples[:, None]
        if rule.level is None:
            return drop, drop <= goal
        return drop, drop_certified(lost, won, weights.samples[:, None], rule.drop, rule.level)
    plain = weights.scores(metric, np.asarray(val.plain)[:, None], val.targets)
    drop = plain - weights.scores(metric, val.knobs.predictions, val.targets)
    if rule.level is None:
        return drop, drop <= goal
    upper = score_drop_upper_bounds(metric, val.plain, val.knobs.predictions, val.targets, rule.level)
    return drop, drop + (upper - drop[0]) <= goal


class _Weights:
    """Counts of samples in every resample (1 + n, N), and what they make of per-sample tables."""

    def __init__(self, counts: Ints) -> None:
        self.counts = counts
        self.single: NDArray[np.float32] = counts.astype(np.float32)  # exact for whole numbers, and half the work
        self.samples = counts.sum(1)  # all equal, but for groups of unequal size

    def sums(self, table: Mask) -> Floats:
        """(N, K) flags to (1 + n, K) sums, whole numbers below 2^24 and so exact."""
        return (self.single @ table.astype(np.float32)).astype(np.float64)

    def scores(self, metric: str, predictions: ArrayLike, targets: ArrayLike) -> Floats:
        """(N, K) predictions to (1 + n, K) scores."""
        if metric == "accuracy":
            return self.sums(quality.per_sample_correct(predictions, targets)) / self.samples[:, None]
        columns = np.asarray(predictions).T
        return np.stack([quality.resampled_scores(metric, c, targets, self.counts) for c in columns], 1)

    def costs(self, of: Candidates) -> Floats:
        """(1 + n, K) mean costs."""
        answers, cost = np.asarray(of.predictions), np.asarray(of.cost)
        if cost.ndim == 1:
            cost = finite("cost", cost, answers.shape[1:])
            return np.broadcast_to(cost, (len(self.counts), len(cost)))
        cost = finite("cost", cost, answers.shape)
        scale = float(np.abs(cost).max()) or 1.0  # float32 has no room for MACs of 10^39, nor for adding 10^12 to 1
        return (self.single @ (cost / scale).astype(np.float32)).astype(np.float64) * scale / self.samples[:, None]

    def means(self, cost: ArrayLike) -> Floats:
        """(1 + n,) means of one cost a sample, or of one for all."""
        values = np.broadcast_to(np.asarray(cost, dtype=np.float64), self.counts.shape[1:])
        return self.counts @ values / self.samples


def _first(allowed: Mask, *keys: Floats) -> Ints:
    """In each row the allowed knob with the smallest first key, then second: (R, K) -> (R,)."""
    for key in keys:
        shown = np.where(allowed, key, np.inf)
        allowed = allowed & (shown == shown.min(1, keepdims=True))
    return allowed.argmax(1)


def _interval(draws: Floats, level: float, enough: bool) -> Interval:
    """From (S, 1 + n), the first column on the data as they are, to the mean over seeds and its interval."""
    estimate = float(draws[:, 0].mean())
    if not enough or not np.isfinite(draws).all():
        return Interval(estimate, math.nan, math.nan, level)
    means = draws[:, 1:].mean(0)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    below, above = max(estimate - float(low), 0.0), max(float(high) - estimate, 0.0)
    if len(draws) == 1:
        return Interval(estimate, estimate - below, estimate + above, level)
    seeds, stretch = _seed_part(draws, float(means.var(ddof=1)), level)
    return Interval(
        estimate, estimate - stretch * math.hypot(below, seeds), estimate + stretch * math.hypot(above, seeds), level
    )


def _exp(logarithm: Interval) -> Interval:
    """The interval of a ratio, from that of its logarithm."""
    estimate, low, high = (math.exp(value) for value in (logarithm.estimate, logarithm.low, logarithm.high))
    return Interval(estimate, low, high, logarithm.level)


def _seed_part(draws: Floats, of_samples: float, level: float) -> tuple[float, float]:
    """Half width that seeds add, and by how much few seeds stretch the whole interval.

    Seeds differ in truth and by chance: part of their spread is that each answers the samples in its own way, which
    the bootstrap of their mean holds already. The bootstrap says how much that is, and it is taken off once.
    """
    from scipy.stats import t

    count = len(draws)
    spread = float(draws[:, 0].var(ddof=1)) / count
    apart = draws[:, 1:] - draws[:, 1:].mean(0)
    by_chance = float(apart.var(axis=1, ddof=1).mean()) / (count - 1)
    seeds = max(spread - by_chance, 0.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    if spread == 0:
        return 0.0, 1.0
    freedom = max((of_samples + seeds) ** 2 * (count - 1) / spread**2, count - 1)
    return z * math.sqrt(seeds), float(t.ppf((1 + level) / 2, freedom)) / z
