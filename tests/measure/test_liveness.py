"""Which exits learnt anything: the bounds against scipy, and how often guessing passes."""

import numpy as np
import pytest
from scipy import stats

from eebench.measure import live_exits, live_regression


def test_the_bound_is_scipys_binomial_test():
    targets = np.repeat([0, 1, 2], [50, 30, 20])
    for right in range(45, 80):
        correct = np.arange(100) < right
        want = stats.binomtest(right, 100, 0.5, alternative="greater").pvalue <= 0.01
        assert live_exits(correct[:, None], targets)[0] == want


def test_one_class_for_all_is_dead_and_so_is_what_luck_allows():
    rng = np.random.default_rng(0)
    targets = rng.choice(3, p=[0.4, 0.35, 0.25], size=500)
    guesses = rng.choice(3, p=[0.4, 0.35, 0.25], size=(500, 400))
    live = live_exits(np.concatenate([guesses, np.arange(3) * np.ones((500, 1), int)], 1) == targets[:, None], targets)
    assert not live[-3:].any()
    assert live[:-3].mean() <= 0.01


def test_regression_against_predicting_the_mean():
    rng = np.random.default_rng(1)
    targets = rng.normal(3, 1, 400)
    constant, good, noise = np.full(400, 3.0), targets + 0.5 * rng.normal(size=400), rng.normal(3, 1, 400)
    assert live_regression(np.stack([constant, good, noise], 1), targets).tolist() == [False, True, False]


@pytest.mark.parametrize("measure", [live_exits, live_regression])
def test_bad_input(measure):
    for table, targets, level in (([[1]], [0, 1], 0.9), ([[1], [0]], [0, 1], 1.0), ([], [], 0.9)):
        with pytest.raises(ValueError, match=r"."):
            measure(table, targets, level=level)
