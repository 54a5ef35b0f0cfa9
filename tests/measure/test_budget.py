"""The budgeted solver against a sample-by-sample loop, and the budget it promises."""

import math

import numpy as np
import pytest

from eebench.measure import (
    apply_thresholds,
    budgeted_thresholds,
    geometric_shares,
    thresholds_for_shares,
)

COSTS = np.array([1.0, 3.0, 4.0, 8.0])


def confidences(n=400, ties=False, seed=0):
    p = np.sort(np.random.default_rng(seed).random((n, 4)), 1)
    return p.round(1) if ties else p


def loop_thresholds(confidence, shares):
    """One sample at a time, from the surest down."""
    n, exits = confidence.shape
    gone, thresholds = set(), []
    for k in range(exits - 1):
        wanted, threshold = math.floor(n * shares[k] + 1e-9), math.inf
        for i in sorted(range(n), key=lambda i: -confidence[i, k]):
            if i in gone or wanted == 0:
                continue
            wanted -= 1
            if wanted == 0:
                threshold = confidence[i, k]
        thresholds.append(threshold)
        gone |= {i for i in range(n) if confidence[i, k] >= threshold}
    return [*thresholds, -math.inf]


def loop_exits(confidence, thresholds):
    return [next(k for k in range(len(row)) if k == len(row) - 1 or row[k] >= thresholds[k]) for row in confidence]


def test_geometric_shares():
    np.testing.assert_allclose(geometric_shares(0.5, 3), [4 / 7, 2 / 7, 1 / 7])
    np.testing.assert_allclose(geometric_shares(2, 3), [1 / 7, 2 / 7, 4 / 7])
    np.testing.assert_allclose(geometric_shares(1, 4), [0.25] * 4)
    assert geometric_shares(0, 3).tolist() == [1, 0, 0]
    assert geometric_shares(math.inf, 3).tolist() == [0, 0, 1]
    np.testing.assert_allclose(geometric_shares(1e300, 12), [0] * 11 + [1], atol=1e-12)  # no overflow


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("q", [0.0, 0.05, 0.4, 1.0, 1.7])
def test_thresholds_and_exits_equal_the_loop(ties, q):
    confidence, shares = confidences(ties=ties), geometric_shares(q, 4)
    thresholds = thresholds_for_shares(confidence, shares)
    assert thresholds.tolist() == loop_thresholds(confidence, shares)
    assert apply_thresholds(confidence, thresholds).tolist() == loop_exits(confidence, thresholds)


def test_thresholds_by_hand():
    confidence = [[0.9, 0.2, 0.0], [0.8, 0.9, 0.0], [0.5, 0.7, 0.0], [0.1, 0.8, 0.0]]
    thresholds = thresholds_for_shares(confidence, [0.25, 0.5, 0.25])
    assert thresholds.tolist() == [0.9, 0.8, -math.inf]  # sample 0 leaves first; of 1, 2, 3 the two surest leave next
    assert apply_thresholds(confidence, thresholds).tolist() == [0, 1, 2, 1]


def test_the_last_exit_takes_everyone_left_whatever_its_threshold():
    assert apply_thresholds([[0.2, 0.4], [0.9, 0.4]], [0.5, math.inf]).tolist() == [1, 0]


def test_without_ties_the_shares_are_met():
    confidence, costs = confidences(1000), []
    for q in (p / 20 for p in range(1, 40)):
        exits = apply_thresholds(confidence, thresholds_for_shares(confidence, geometric_shares(q, 4)))
        shares = np.bincount(exits, minlength=4) / 1000
        np.testing.assert_allclose(shares[:-1], np.floor(1000 * geometric_shares(q, 4)[:-1] + 1e-9) / 1000)
        costs.append(shares @ COSTS)
    assert np.all(np.diff(costs) > 0)


def test_impossible_shares_stop_nobody():
    ties = np.full((10, 3), 0.5)
    thresholds = thresholds_for_shares(ties, [0.1, 0.4, 0.5])
    assert thresholds.tolist() == [0.5, math.inf, -math.inf]  # the tie empties the first exit, none are left
    assert (
        apply_thresholds(confidences(100), thresholds_for_shares(confidences(100), [0.29, 0, 0, 0.71])).sum() == 3 * 71
    )
    few = thresholds_for_shares(np.random.default_rng(0).random((5, 3)), [0.1, 0.1, 0.8])
    assert few.tolist() == [math.inf, math.inf, -math.inf]  # a tenth of 5 samples is nobody


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("budget", [1.0, 1.001, 2.5, 4.0, 6.0, 7.99])
def test_the_budget_is_met_and_used(ties, budget):
    confidence = confidences(ties=ties)
    solved = budgeted_thresholds(confidence, COSTS, budget)
    exits = apply_thresholds(confidence, solved.thresholds)
    assert COSTS[exits].mean() == pytest.approx(solved.cost)
    assert solved.cost <= budget
    if not ties:
        assert solved.cost > budget - 4 * COSTS[-1] / len(confidence)  # a few samples' worth at most is left over
    tried = (thresholds_for_shares(confidence, geometric_shares(p / 20, 4)) for p in range(1, 81))
    costs = [COSTS[apply_thresholds(confidence, thresholds)].mean() for thresholds in tried]
    best = max((cost for cost in costs if cost <= budget), default=0)
    assert solved.cost >= best - 4 * COSTS[-1] / len(confidence) - (0.6 if ties else 0)


def test_budgets_at_the_ends():
    confidence = confidences()
    unlimited = budgeted_thresholds(confidence, COSTS, 8.0)
    assert (apply_thresholds(confidence, unlimited.thresholds) == 3).all()
    assert unlimited.cost == 8
    assert unlimited.q == math.inf
    least = budgeted_thresholds(confidence, COSTS, 1.0)
    assert (apply_thresholds(confidence, least.thresholds) == 0).all()
    with pytest.raises(ValueError, match=r"below the first exit's cost of 1"):
        budgeted_thresholds(confidence, COSTS, 0.99)


def test_negative_entropies_serve_as_confidences():
    entropy = -np.log(confidences())
    solved = budgeted_thresholds(-entropy, COSTS, 3.0)
    same = budgeted_thresholds(confidences(), COSTS, 3.0)
    np.testing.assert_allclose(solved.shares, same.shares)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: geometric_shares(-1, 3),
        lambda c: geometric_shares(1, 0),
        lambda c: thresholds_for_shares(c, [0.5, 0.5]),
        lambda c: thresholds_for_shares(c, [0.5, 0.5, 0.5, 0.5]),
        lambda c: thresholds_for_shares(c, [1.5, -0.5, 0, 0]),
        lambda c: apply_thresholds(c, [0.5, 0.5]),
        lambda c: apply_thresholds(c, [0.5, np.nan, 0.5, 0.5]),
        lambda c: apply_thresholds(c * np.nan, [0.5] * 4),
        lambda c: budgeted_thresholds(c, COSTS[::-1], 5.0),
        lambda c: budgeted_thresholds(c, COSTS[:3], 5.0),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call(confidences())
