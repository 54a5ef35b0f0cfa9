"""Efficacy against a network of three exits worked out by hand, and against numerical integration."""

import numpy as np
import pytest

from eebench.measure import efficacy


def test_three_exits_by_hand():
    # Costs are 1/4, 1/2 and all of the full one; half the samples stop at the first exit, a quarter at each other.
    # Trapezoids: 1/4 * (0 + 1/2) / 2, 1/4 * (1/2 + 3/4) / 2, 1/2 * (3/4 + 1) / 2.
    assert efficacy([0, 0, 1, 2], [2.0, 4.0, 8.0]) == pytest.approx(1 / 16 + 5 / 32 + 7 / 16)


def test_everybody_early_and_everybody_late():
    assert efficacy([0, 0], [1.0, 2.0, 10.0]) == pytest.approx(1 - 0.1 / 2)
    assert efficacy([2, 2], [1.0, 2.0, 10.0]) == pytest.approx(0.8 / 2)
    assert efficacy([0, 0, 0], [7.0]) == pytest.approx(0.5)


def test_stopping_later_is_never_better():
    rng = np.random.default_rng(0)
    cost = np.cumsum(rng.random(6) + 0.1)
    exits = rng.integers(0, 5, 100)
    later = exits + (rng.random(100) < 0.3)
    assert efficacy(later, cost) < efficacy(exits, cost)


def test_the_curve_integrated_numerically():
    rng = np.random.default_rng(1)
    cost, exits = np.cumsum(rng.random(5) + 0.1), rng.integers(0, 5, 50)
    x = np.linspace(0, 1, 200_001)
    y = np.interp(x, [0, *cost / cost[-1]], [0, *[(exits <= e).mean() for e in range(5)]])
    assert efficacy(exits, cost) == pytest.approx(y.mean(), abs=1e-4)


@pytest.mark.parametrize(
    ("exits", "cost"), [([], [1.0]), ([1], [1.0]), ([0], [0.0]), ([0], [2.0, 1.0]), ([0.5], [1.0]), ([0], [np.nan])]
)
def test_what_is_no_such_thing_is_refused(exits, cost):
    with pytest.raises(ValueError, match=r"exits|cost"):
        efficacy(exits, cost)
