"""Intervals against scipy's bootstrap, loops and known truths."""

import math

import numpy as np
import pytest
from scipy import stats

from eebench.measure import (
    paired_bootstrap,
    score,
    score_contrast,
    score_drop,
    statistics,
)


def right_and_wrong(n=800, seed=0, better=0.06):
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    return hard + 0.1 * rng.normal(size=n) < 0.7 + better, hard + 0.1 * rng.normal(size=n) < 0.7


@pytest.mark.parametrize("kind", ["flags", "floats"])  # few distinct differences, and all distinct: both ways to draw
def test_paired_bootstrap_equals_scipys(kind):
    if kind == "flags":
        a, b = (x.astype(float) for x in right_and_wrong())
    else:
        a, b = np.random.default_rng(1).normal(loc=[[0.2], [0.0]], size=(2, 300))
    got = paired_bootstrap(a, b, n=6000, seed=3)
    want = stats.bootstrap(
        (a, b), lambda x, y, axis: (x - y).mean(axis), paired=True, method="percentile", n_resamples=6000, rng=0
    )
    width = want.confidence_interval.high - want.confidence_interval.low
    assert got.estimate == pytest.approx((a - b).mean())
    assert got.low == pytest.approx(want.confidence_interval.low, abs=0.05 * width)
    assert got.high == pytest.approx(want.confidence_interval.high, abs=0.05 * width)


def test_any_statistic_gives_what_the_fast_mean_gives():
    a, b = right_and_wrong(300)
    fast = paired_bootstrap(a, b, n=4000)
    slow = paired_bootstrap(a, b, lambda rows: float(rows.mean()), n=4000)
    assert slow.estimate == pytest.approx(fast.estimate)
    assert slow.low == pytest.approx(fast.low, abs=0.006)
    assert slow.high == pytest.approx(fast.high, abs=0.006)


def test_pairing_narrows_the_interval():
    a, b = right_and_wrong()
    paired = paired_bootstrap(a, b)
    shuffled = paired_bootstrap(a, np.random.default_rng(0).permutation(b))
    assert paired.high - paired.low < 0.7 * (shuffled.high - shuffled.low)


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(5)
    inside = 0
    for i in range(400):
        difference = rng.choice([-1, 0, 1], p=[0.05, 0.8, 0.15], size=300)  # true mean 0.1
        interval = paired_bootstrap(difference, np.zeros(300), n=800, seed=i, level=0.9)
        inside += interval.low <= 0.1 <= interval.high
    assert stats.binomtest(inside, 400, 0.9).pvalue > 0.001


def test_same_seed_same_interval_and_chunks_of_any_size(monkeypatch):
    a, b = np.random.default_rng(1).normal(size=(2, 50))
    assert paired_bootstrap(a, b, seed=1) == paired_bootstrap(a, b, seed=1)
    assert paired_bootstrap(a, b, seed=1) != paired_bootstrap(a, b, seed=2)
    whole = paired_bootstrap(a, b, seed=1)
    monkeypatch.setattr(statistics, "CHUNK", 120)  # two rows at a time, an odd one last
    assert paired_bootstrap(a, b, n=2000, seed=1) == whole  # indices come from one stream, whatever the chunk


def test_score_drop_for_every_kind_of_metric():
    rng = np.random.default_rng(2)
    targets = rng.integers(2, size=400)
    plain = np.where(rng.random(400) < 0.9, targets, 1 - targets)
    early = np.where(rng.random(400) < 0.8, targets, 1 - targets)
    for metric in ("accuracy", "mcc", "f1", "accuracy_f1"):
        drop = score_drop(metric, plain, early, targets, n=300)
        assert drop.estimate == pytest.approx(score(metric, plain, targets) - score(metric, early, targets))
        assert 0 < drop.low < drop.estimate < drop.high
    values = rng.random(200)
    drop = score_drop("pearson_spearman", values, values + 0.3 * rng.normal(size=200), values, n=300)
    assert 0 < drop.low < drop.estimate < drop.high


def test_score_drop_resamples_what_a_loop_resamples():
    rng = np.random.default_rng(6)
    targets = rng.integers(2, size=150)
    plain, early = (np.where(rng.random(150) < share, targets, 1 - targets) for share in (0.9, 0.8))
    rows = np.stack([plain, early, targets], 1)

    def drop(table):
        before, after, true = table.astype(int).T
        return score("mcc", before, true) - score("mcc", after, true)

    fast = score_drop("mcc", plain, early, targets, n=4000)
    loop = paired_bootstrap(rows, rows * 0, lambda table: drop(table) if table.any() else 0.0, n=4000)
    assert fast.estimate == pytest.approx(loop.estimate)
    assert fast.low == pytest.approx(loop.low, abs=0.1 * (loop.high - loop.low))
    assert fast.high == pytest.approx(loop.high, abs=0.1 * (loop.high - loop.low))


def test_a_drop_that_few_samples_make_has_an_honest_interval():
    targets = np.zeros(361, dtype=int)
    same = score_drop("accuracy", targets, targets, targets)
    assert same.estimate == 0
    assert same.low == pytest.approx(-1.959964 * math.sqrt(2 / 363 / 363))  # one added to each side, by hand
    assert same.high == -same.low
    three = targets.copy()
    three[:3] = 1
    found = score_drop("accuracy", targets, three, targets)
    assert found.estimate == pytest.approx(3 / 361)
    assert (found.low + found.high) / 2 == pytest.approx(3 / 363)


def test_the_interval_of_a_small_drop_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    targets, inside = np.zeros(361, dtype=int), 0
    for _ in range(400):
        kind = rng.choice(3, p=[0.989, 0.0075, 0.0035], size=361)  # true drop: 0.4 points
        drop = score_drop("accuracy", (kind == 2).astype(int), (kind == 1).astype(int), targets, n=200)
        inside += drop.low <= 0.004 <= drop.high
    assert inside / 400 > 0.93


@pytest.mark.parametrize("metric", ["accuracy", "mcc"])
def test_a_contrast_against_a_mix_resamples_what_a_loop_resamples(metric):
    rng = np.random.default_rng(7)
    targets = rng.integers(2, size=150)
    answers = [np.where(rng.random(150) < share, targets, 1 - targets) for share in (0.95, 0.8, 0.9)]
    weights = [1.0, -0.3, -0.7]
    rows = np.stack([*answers, targets], 1)

    def contrast(table):
        if not table.any():
            return 0.0
        *given, true = table.astype(int).T
        return score(metric, given[0], true) - 0.3 * score(metric, given[1], true) - 0.7 * score(metric, given[2], true)

    fast = score_contrast(metric, answers, weights, targets, n=4000)
    loop = paired_bootstrap(rows, rows * 0, contrast, n=4000)
    assert fast.estimate == pytest.approx(loop.estimate)
    assert fast.low == pytest.approx(loop.low, abs=0.1 * (loop.high - loop.low))
    assert fast.high == pytest.approx(loop.high, abs=0.1 * (loop.high - loop.low))


def test_a_contrast_with_itself_is_nothing():
    targets = np.arange(50) % 3
    found = score_contrast("accuracy", [targets, targets, targets], [1.0, -0.25, -0.75], targets)
    assert (found.estimate, found.low, found.high) == pytest.approx((0, 0, 0))


@pytest.mark.parametrize(
    "call",
    [
        lambda: paired_bootstrap([1, 2], [1]),
        lambda: paired_bootstrap([], []),
        lambda: paired_bootstrap([1.0, np.nan], [1, 2]),
        lambda: paired_bootstrap([1], [1], n=0),
        lambda: paired_bootstrap([1], [1], level=1),
        lambda: paired_bootstrap([[1], [2]], [[1], [2]]),  # columns need a statistic
        lambda: score_drop("accuracy", [0, 1], [0, 1, 1], [0, 1, 1]),
        lambda: score_drop("mcc", [0, 1], [0, 1, 1], [0, 1, 1]),
        lambda: score_drop("mcc", [0, 1], [0, 1], [0, 1], n=0),
        lambda: score_contrast("accuracy", [[0, 1]], [1.0, -1.0], [0, 1]),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call()
