"""Choosing a knob: the bounds against numerical optimisation and exact sums, the rule by hand and by simulation."""

import itertools

import numpy as np
import pytest
from scipy import optimize, stats

from eebench.measure import (
    choose_within_budget,
    choose_within_drop,
    cross_fit,
    drop_certified,
    drop_upper_bounds,
    in_sequence,
    per_sample_correct,
    score_contrast,
    score_drop_upper_bounds,
    smallest_resolvable,
)
from eebench.measure.drops import _tango


def pairs(lost, won, n, kept=0):
    """Plain and knob correctness (N,) with so many spoilt, mended and twice right answers."""
    plain, knob = np.zeros(n, bool), np.zeros(n, bool)
    plain[:lost], knob[lost : lost + won] = True, True
    plain[lost + won : lost + won + kept] = knob[lost + won : lost + won + kept] = True
    return plain, knob


@pytest.mark.parametrize(
    ("lost", "won", "n", "drop"),
    [(7, 2, 120, 0.1), (0, 0, 50, 0.02), (12, 9, 300, 0.05), (3, 8, 90, -0.01), (5, 0, 80, 0.2)],
)
def test_tangos_statistic_equals_numerical_maximum_likelihood(lost, won, n, drop):
    def negative(mended):
        shares = np.array([mended + drop, mended, 1 - 2 * mended - drop])
        return -(np.array([lost, won, n - lost - won]) @ np.log(np.maximum(shares, 1e-300)))

    mended = optimize.minimize_scalar(negative, bounds=(max(0, -drop), (1 - drop) / 2), method="bounded",
                                      options={"xatol": 1e-12}).x  # fmt: skip
    want = (lost - won - n * drop) / np.sqrt(n * (2 * mended + drop - drop**2))
    got = _tango(np.array([float(lost)]), np.array([float(won)]), n, drop)
    assert got[0] == pytest.approx(want, rel=1e-4)


def test_the_bound_is_the_larger_of_both_and_where_the_test_turns():
    for lost, won, n in ((0, 0, 361), (3, 0, 361), (12, 8, 500), (1, 2, 200), (40, 2, 1000)):
        plain, knob = pairs(lost, won, n)
        bound = drop_upper_bounds(plain, knob[:, None])[0]
        exact = stats.binomtest(lost, n).proportion_ci(0.8).high - won / n  # two-sided 80 %: one-sided 90 %
        count = np.array([float(lost)]), np.array([float(won)])
        turn = optimize.brentq(
            lambda d, n=n, c=count: _tango(*c, n, d)[0] + stats.norm.ppf(0.9), (lost - won) / n, 0.99
        )
        assert bound == pytest.approx(max(exact, turn), abs=1e-7)
        assert not drop_certified(lost, won, n, bound - 1e-6)
        assert drop_certified(lost, won, n, bound + 1e-6)


def test_all_spoilt_and_all_mended():
    plain, knob = pairs(20, 0, 20)
    assert drop_upper_bounds(plain, np.stack([knob, plain], 1)).tolist() == pytest.approx([1, 1 - 0.1 ** (1 / 20)])
    assert drop_upper_bounds(knob, plain[:, None])[0] < 0


@pytest.mark.parametrize(("n", "level"), itertools.product((200, 361, 1000), (0.9, 0.95)))
def test_the_bound_is_exceeded_as_rarely_as_it_says(n, level):
    """The exact chance that a drop is certified though it is the target itself: a sum over all outcomes, no draws."""
    worst = 0.0
    for drop, mended in itertools.product((0.005, 0.01, 0.02, 0.05), (0, 0.001, 0.004, 0.01, 0.03, 0.1)):
        most = min(n, int(n * (drop + mended) + 8 * np.sqrt(n * (drop + mended)) + 15))
        lost, won = np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij")
        chance = stats.multinomial.pmf(
            np.stack([lost, won, n - lost - won], -1), n, [drop + mended, mended, 1 - drop - 2 * mended]
        )
        worst = max(worst, chance[drop_certified(lost, won, n, drop, level)].sum())
    assert 0.5 * (1 - level) <= worst <= 1.1 * (1 - level)


def test_choosing_within_a_drop():
    cost, drop = [1.0, 2.0, 3.0, 4.0], [0.05, 0.009, 0.004, 0.0]
    assert choose_within_drop(cost, drop, 0.01).index == 1
    assert choose_within_drop(cost, drop, 0.01, upper=[0.07, 0.02, 0.01, 0.008]).index == 2
    assert choose_within_drop(cost, drop, 0.01, upper=[0.009, 0.02, 0.01, 0.008]).index == 2  # a pass after a failure
    nothing = choose_within_drop(cost, drop, 0.01, upper=[0.009, 0.009, 0.009, 0.011])
    assert (nothing.index, nothing.met) == (3, False)  # the knob that loses least
    assert choose_within_drop([2, 1], [0.9 - 0.89, 0.5], 0.01).met  # over by rounding only
    assert choose_within_drop([1, 1], [0.005, 0.001], 0.01).index == 1  # the better of equals


def test_choosing_within_a_budget():
    cost, score = [0.3, 0.9, 0.5, 0.7], [0.70, 0.91, 0.86, 0.85]
    assert choose_within_budget(cost, score, 0.7).index == 2  # the one at .7 is affordable and worse
    assert choose_within_budget([0.1 + 0.2], [0.5], 0.3).met  # over by rounding only
    assert choose_within_budget([0.5, 0.4], [0.8, 0.8], 1.0).index == 1  # the cheaper of equals
    missed = choose_within_budget(cost, score, 0.2)
    assert (missed.index, missed.met) == (0, False)


def test_the_sequence_by_loop():
    rng = np.random.default_rng(0)
    cost, passed = rng.random((20, 12)), rng.random((20, 12)) < 0.8
    for row, ok, got in zip(cost, passed, in_sequence(cost, passed), strict=True):
        going, want = True, np.zeros(12, bool)
        for k in sorted(range(12), key=lambda k: -row[k]):
            going = going and ok[k]
            want[k] = going
        assert got.tolist() == want.tolist()


def test_other_metrics_bounds_are_bootstrap_quantiles():
    rng = np.random.default_rng(1)
    targets = rng.integers(2, size=300)
    plain, *knobs = (np.where(rng.random(300) < share, targets, 1 - targets) for share in (0.9, 0.85, 0.7))
    predictions = np.stack(knobs, 1)
    for metric in ("mcc", "f1"):
        got = score_drop_upper_bounds(metric, plain, predictions, targets, level=0.9, n=4000)
        for k in range(2):
            want = score_contrast(metric, [plain, knobs[k]], [1, -1], targets, n=4000, level=0.8)
            assert got[k] == pytest.approx(want.high, abs=0.1 * (want.high - want.low))
    right = per_sample_correct(predictions, targets)
    want = drop_upper_bounds(plain == targets, right)
    assert score_drop_upper_bounds("accuracy", plain, predictions, targets).tolist() == want.tolist()


@pytest.mark.parametrize("n", [50, 361, 4000])
def test_smallest_resolvable_drop(n):
    drop = smallest_resolvable(n)
    assert stats.binom.cdf(0, n, drop) == pytest.approx(0.1)
    assert not drop_certified(0, 0, n, drop - 1e-6)
    assert drop_certified(0, 0, n, drop + 1e-6)
    plain, knob = pairs(n // 50, n // 50, n)
    assert smallest_resolvable(n, changed=2 * (n // 50) / n) == pytest.approx(
        drop_upper_bounds(plain, knob[:, None])[0]
    )


def test_cross_fitting_reads_where_it_did_not_choose():
    seen = []
    labels = np.repeat([0, 1], [40, 60])

    def choose(rows):
        seen.append(set(rows.tolist()))
        return len(seen)

    found = cross_fit(choose, 100, labels, folds=3, seed=4)
    assert found.chosen == (1, 2, 3)
    for fold, rows in enumerate(seen):
        read = set(np.flatnonzero(found.fold == fold).tolist())
        assert not rows & read
        assert rows | read == set(range(100))
        assert (found.knob[sorted(read)] == found.chosen[fold]).all()
        assert np.bincount(labels[sorted(read)]).tolist() == pytest.approx([40 / 3, 20], abs=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: choose_within_drop([1.0], [0.1, 0.2], 0.01),
        lambda: choose_within_drop([1.0], [0.1], 0.01, upper=[np.nan]),
        lambda: choose_within_budget([], [], 1),
        lambda: drop_upper_bounds([True], [[True]], level=1.0),
        lambda: drop_upper_bounds([True, False], [[True]]),
        lambda: drop_certified(1, 1, 10, 0.0),
        lambda: score_drop_upper_bounds("mcc", [0, 1], [0, 1], [0, 1]),
        lambda: smallest_resolvable(0),
        lambda: cross_fit(lambda rows: 0, 5, folds=1),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call()
