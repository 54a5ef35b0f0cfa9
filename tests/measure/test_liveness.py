"""Which exits learnt anything: the bounds against scipy, and how often guessing passes."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef

from eebench.measure import constant_answer, live_exits, live_regression, live_scores


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


@pytest.mark.parametrize(("metric", "oracle"), [("mcc", matthews_corrcoef), ("f1", f1_score)])
def test_another_metric_is_judged_by_itself(metric, oracle):
    """Of 1,000 samples 5 % are positive: who answers 0 always is right in 95 %, and has learnt nothing."""
    rng = np.random.default_rng(2)
    targets = (rng.random(1000) < 0.05).astype(int)
    constant, positive = np.zeros(1000, int), np.ones(1000, int)
    skilled = np.where(rng.random(1000) < 0.9, targets, 1 - targets)  # right in 90 %, fewer than "always 0"
    assert live_scores(metric, np.stack([constant, positive, skilled], 1), targets).tolist() == [False, False, True]
    assert oracle(targets, skilled) > max(oracle(targets, constant), oracle(targets, positive))
    assert not live_exits((skilled == targets)[:, None], targets)[0]


def test_luck_passes_as_often_as_the_level_says():
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 2, 400)
    assert live_scores("mcc", rng.integers(0, 2, (400, 500)), targets).mean() <= 0.02


def test_the_constant_answer_is_the_best_by_the_metric():
    targets = np.array([0] * 7 + [1] * 3)
    assert constant_answer("accuracy", targets) == 0
    assert constant_answer("f1", targets) == 1  # "always 0" has an F1 of 0
    assert constant_answer("accuracy", targets + 4) == 4


@pytest.mark.parametrize("measure", [live_exits, live_regression])
def test_bad_input(measure):
    for table, targets, level in (([[1]], [0, 1], 0.9), ([[1], [0]], [0, 1], 1.0), ([], [], 0.9)):
        with pytest.raises(ValueError, match=r"."):
            measure(table, targets, level=level)
