"""From timed samples to the split: post-stratified means, and intervals of speed-ups that hold the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from eebench.measure.timings import (
    MIN_BLOCKS,
    Strata,
    round_factors,
    speedup_interval,
    split_mean,
    strays,
)

BLOCKS = np.arange(1, 13)


def test_a_mean_without_strata_is_the_mean():
    assert split_mean([1, 2, 6]) == 3


def test_exits_count_by_their_share_of_the_split():
    strata = Strata([0, 0, 0, 2], [0.25, 0, 0.75], [1, 2, 4])
    assert split_mean([1.0, 1.2, 0.8, 5.0], strata) == pytest.approx(0.25 * 1 + 0.75 * 5)
    np.testing.assert_allclose(strata.weights, [0.25 / 3] * 3 + [0.75])


def test_an_exit_nobody_took_is_read_off_the_line_through_the_others():
    rng = np.random.default_rng(0)
    exits = rng.choice([1, 4, 7], 60)
    times = 0.3 + 0.2 * BLOCKS[exits] + rng.normal(0, 0.05, 60)
    shares = np.zeros(12)
    shares[[1, 4, 7, 9]] = 0.3, 0.3, 0.3, 0.1
    slope, start = np.polyfit(BLOCKS[exits], times, 1)
    expected = 0.3 * sum(times[exits == e].mean() for e in (1, 4, 7)) + 0.1 * (start + slope * 10)
    assert split_mean(times, Strata(exits, shares, BLOCKS)) == pytest.approx(expected)


def test_with_one_exit_alone_time_rises_with_the_blocks_and_the_plain_backbones_does_not():
    strata = Strata([1] * 20, [0, 0.9, 0.1], [2, 4, 8])
    found = speedup_interval(np.full(20, 6.0), np.full(20, 2.0), 1, strata)
    assert found.estimate == pytest.approx(6 / (0.9 * 2 + 0.1 * 4))


def test_a_line_never_falls_below_nothing():
    strata = Strata([1, 1, 2, 2], [0.5, 0.0, 0.5], [1, 2, 3])
    assert split_mean([1.0, 1.0, 8.0, 8.0], strata) == 4  # the line says -6 for the first exit


def test_the_interval_is_a_jackknife_over_turns_with_students_t():
    rng = np.random.default_rng(0)
    plain, mine = rng.gamma(50, size=96), rng.gamma(20, size=96)
    found = speedup_interval(plain, mine, 8)
    left_out = [np.delete(plain, s, 0).mean() / np.delete(mine, s, 0).mean() for s in np.arange(96).reshape(12, 8)]
    error = math.sqrt(11 / 12 * ((np.log(left_out) - np.log(left_out).mean()) ** 2).sum())
    ratio = plain.mean() / mine.mean()
    low, high = np.exp(np.log(ratio) + np.array([-1, 1]) * stats.t(11).ppf(0.975) * error)
    assert (found.estimate, found.low, found.high) == pytest.approx((ratio, low, high))
    narrower = speedup_interval(plain, mine, 8, level=0.5)
    assert found.low < narrower.low < ratio < narrower.high < found.high


def test_few_turns_have_no_interval():
    enough = speedup_interval(np.ones(MIN_BLOCKS * 8), np.ones(MIN_BLOCKS * 8), 8)
    assert (enough.low, enough.high) == (1, 1)
    found = speedup_interval(np.full(72, 3.0), np.ones(72), 8)
    assert found.estimate == 3
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_rounds_stray_against_each_other_alone():
    drift = np.array([1.0, 2.0, 0.5, 1.1])
    within = np.array([0.2, 1.0, 1.8])
    factors = round_factors(np.outer(drift, within))
    np.testing.assert_allclose(factors, drift / np.median(drift))
    assert not strays(factors, round_factors(np.outer(drift, [5, 6])))
    assert strays(factors, np.ones(4))
    assert strays([1.0], [1.0]), "one round says nothing about the next"
    assert not strays([1, 1, 1, 1, 5], np.ones(5)), "one slow round does not move the middle half"


def test_one_sample_does_not_make_a_round_slow():
    times = np.ones((3, 20))
    times[1, 4] = 80.0
    np.testing.assert_array_equal(round_factors(times), [1, 1, 1])


@pytest.mark.parametrize(
    "call",
    [
        lambda: split_mean([]),
        lambda: split_mean([1, math.nan]),
        lambda: Strata([0], [0.5, 0.4], [1, 2]),
        lambda: Strata([2], [0.5, 0.5], [1, 2]),
        lambda: Strata([0], [1.5, -0.5], [1, 2]),
        lambda: Strata([0], [0.5, 0.5], [1]),
        lambda: speedup_interval([1, 2], [1], 1),
        lambda: speedup_interval([1, 0], [1, 1], 1),
        lambda: speedup_interval([1, 1], [1, 1], 1, level=1),
    ],
)
def test_nonsense_is_refused(call):
    with pytest.raises(ValueError, match=r"."):
        call()


# --- simulated timing ------------------------------------------------------------------------------------------------

QUIET = 0.08  # eebench.timing.times.QUIET, which needs torch
WORLDS = {  # the table in docs/measurement.md
    "images, 100 of 361 samples": {},
    "two exits only": {"shape": "two"},
    "exits anyhow": {"shape": "any"},
    "texts of all lengths": {"spread": 0.4},
    "100 of 5,000 samples": {"size": 5000},
    "256 of 1,000 samples": {"size": 1000, "timed": 256},
    "noisy turns and heavy tails": {"turns": 0.1, "each": 0.05, "tail": 0.1},
    "noisy turns, rounds until quiet": {"turns": 0.1, "each": 0.05, "tail": 0.1, "least": 2, "most": 15},
}


def simulate(rng, *, shape="early", size=361, timed=100, spread=0.0, turns=0.02, each=0.02, tail=0.03, least=5, most=5):
    """One timing of one method on one machine that never rests: whether its interval holds the truth, and its width.

    Exits are drawn for every sample of a split, of which some are timed. A slow stretch of the machine (an AR(1)
    process over turns) is shared by the plain backbone and the method; either's own turns, each measurement, and now
    and then an interruption with a Pareto tail come on top.
    """
    chances = {
        "early": rng.dirichlet(np.r_[np.full(6, 1.0), np.full(6, 0.15)]),
        "two": np.bincount([1, 11], [0.7, 0.3], minlength=12),
        "any": rng.dirichlet(np.full(12, 0.5)),
    }[shape]
    exits = rng.choice(12, size, p=chances)
    plain = 2 * (0.15 + 0.85 * np.exp(rng.normal(0, spread, size)))
    mine = 0.1 + (exits + 1) / 12 * plain * 1.03
    truth = plain.sum() / mine.sum()
    rows = rng.permutation(size)[:timed]
    strata = Strata(exits[rows], np.bincount(exits, minlength=12) / size, BLOCKS)
    turn = np.arange(timed) // 8
    slow, drift = rng.normal(0, 0.1), np.empty((most, turn[-1] + 1))
    for place in np.ndindex(drift.shape):
        slow = 0.9 * slow + rng.normal(0, 0.1 * math.sqrt(1 - 0.9**2))
        drift[place] = math.exp(slow)

    def measure(times):
        own = np.exp(rng.normal(0, turns, drift.shape)) * drift
        found = times[rows] * own[:, turn] * np.exp(rng.normal(0, each, (most, timed)))
        return found * (1 + (rng.random(found.shape) < tail) * rng.pareto(1.5, found.shape) / 2)

    above, below = measure(plain), measure(mine)
    quiet = least >= most
    for rounds in range(least, most + 1):
        found = speedup_interval(np.median(above[:rounds], 0), np.median(below[:rounds], 0), 8, strata)
        if quiet:
            break  # one round after it was found so
        quiet = found.high - found.low <= QUIET * found.estimate
    return found.low <= truth <= found.high, (found.high - found.low) / truth


def test_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    inside = np.mean([simulate(rng)[0] for _ in range(150)])
    assert 0.9 <= inside <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_95_percent_intervals_hold_the_truth_93_to_97_times_of_100(name):
    rng = np.random.default_rng(1)
    inside, width = np.mean([simulate(rng, **WORLDS[name]) for _ in range(2000)], 0)
    print(f"{name}: {inside:.1%}, {width:.3f} wide")  # noqa: T201 - the figures of docs/measurement.md
    assert 0.93 <= inside <= 0.97
