"""Curve summaries against brute force, numerical integration and hand-computed cases."""

import math

import numpy as np
import pytest

from eebench.measure import (
    area_under_curve,
    at_budget,
    at_drop,
    gain_over_fixed_depth,
)

MACS, SCORE = np.array([0.3, 0.9, 0.5, 0.7]), np.array([0.70, 0.91, 0.86, 0.85])  # in no order; one point dominated


def random_curve(seed, n=12):
    rng = np.random.default_rng(seed)
    return rng.integers(1, 20, size=n) / 20, rng.integers(0, 10, size=n) / 10  # coarse: many ties


def test_gain_by_hand():
    fixed_macs, fixed_score = [0.4, 0.8], [0.70, 0.80]
    gain = gain_over_fixed_depth([0.3, 0.4, 0.6, 0.8, 1.1], [0.9, 0.72, 0.80, 0.80, 0.9], fixed_macs, fixed_score)
    assert gain.gain == pytest.approx((0.02 + 0.05 + 0) / 3)
    assert (gain.points, gain.cheaper, gain.dearer) == (3, 1, 1)


def test_gain_of_the_fixed_curve_itself_is_zero_in_any_order():
    macs, score = np.array([3.0, 1.0, 2.0]), np.array([0.9, 0.5, 0.8])
    assert gain_over_fixed_depth(macs, score, macs[::-1], score[::-1]).gain == 0


def test_gain_counts_equal_points_once_and_nothing_comparable_is_nan():
    once = gain_over_fixed_depth([0.5, 0.6], [0.9, 0.8], [0.4, 0.8], [0.7, 0.7])
    often = gain_over_fixed_depth([0.5, 0.5, 0.5, 0.6], [0.9, 0.9, 0.9, 0.8], [0.4, 0.8], [0.7, 0.7])
    assert once == often
    outside = gain_over_fixed_depth([0.1, 0.9], [0.9, 0.8], [0.4, 0.8], [0.7, 0.7])
    assert math.isnan(outside.gain)
    assert (outside.points, outside.cheaper, outside.dearer) == (0, 1, 1)


def test_area_by_hand():
    # best within the budget: nothing to .3, .70 to .5, .86 to .9, .91 to 1
    area = area_under_curve(MACS, SCORE, 0.2, 1.0)
    assert area.area == pytest.approx((0.1 * 0 + 0.2 * 0.70 + 0.4 * 0.86 + 0.1 * 0.91) / 0.8)
    assert area.covered == pytest.approx(0.7 / 0.8)
    assert area_under_curve(MACS, SCORE, 0.2, 1.0, floor=0.1).area == pytest.approx(area.area + 0.1 * 0.1 / 0.8)
    assert area_under_curve(MACS, SCORE, 0.5, 0.6).area == pytest.approx(0.86)
    assert area_under_curve(MACS, SCORE, 0.1, 0.2) == area_under_curve([0.3], [1.0], 0.1, 0.2)  # both reach nothing


@pytest.mark.parametrize("seed", range(5))
def test_area_equals_numerical_integration(seed):
    macs, score = random_curve(seed)
    budgets = 0.25 + 0.75 * (np.arange(30000) + 0.5) / 30000
    best = [max((s for m, s in zip(macs, score, strict=True) if m <= b), default=0.0) for b in budgets[::10]]
    assert area_under_curve(macs, score, 0.25, 1.0).area == pytest.approx(np.mean(best), abs=2e-3)


@pytest.mark.parametrize("seed", range(5))
def test_area_reads_another_split_at_the_points_that_were_chosen(seed):
    macs, score = random_curve(seed)
    test = np.random.default_rng(seed + 50).random(len(macs))
    points = sorted(zip(macs, -score, range(len(macs)), strict=True))  # cheapest first, of equally cheap the best
    budgets = 0.25 + 0.75 * (np.arange(30000) + 0.5) / 30000
    found = []
    for budget in budgets[::10]:
        affordable = [point for point in points if point[0] <= budget]
        found.append(test[min(affordable, key=lambda p: (p[1], p[0]))[2]] if affordable else 0.0)
    assert area_under_curve(macs, score, 0.25, 1.0, read=test).area == pytest.approx(np.mean(found), abs=2e-3)
    assert area_under_curve(macs, score, 0.25, 1.0, read=score) == area_under_curve(macs, score, 0.25, 1.0)


def test_choosing_a_point():
    assert at_drop(MACS, SCORE, plain_score=0.92, drop=0.01) == 1
    assert at_drop(MACS, SCORE, plain_score=0.87, drop=0.01) == 2  # .87 - .86 exceeds .01 by rounding only
    assert at_drop(MACS, SCORE, plain_score=0.92, drop=0.5) == 0
    assert at_drop(MACS, SCORE, plain_score=0.99, drop=0.01) is None
    assert at_budget(MACS, SCORE, 0.7) == 2  # the dominated point at .7 is affordable and worse
    assert at_budget(MACS, SCORE, 0.3) == 0
    assert at_budget(MACS, SCORE, 0.2999) is None
    assert at_budget([0.1 + 0.2], [0.5], 0.3) == 0  # over by rounding only
    assert at_budget([0.5, 0.4], [0.8, 0.8], 1.0) == 1  # the cheaper of equals
    assert at_drop([0.4, 0.4], [0.8, 0.9], 0.9, 0.1) == 1  # the better of equals


@pytest.mark.parametrize(
    "call",
    [
        lambda: gain_over_fixed_depth([1.0], [1.0, 2.0], [1.0], [1.0]),
        lambda: gain_over_fixed_depth([], [], [1.0], [1.0]),
        lambda: area_under_curve(MACS, SCORE, 0.5, 0.5),
        lambda: area_under_curve([np.nan], [1.0], 0, 1),
        lambda: at_drop([], [], 1.0, 0.1),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call()
