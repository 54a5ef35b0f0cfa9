"""The frontier against linear programming, scipy's convex hull, numerical integration and hand-computed cases."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import linprog
from scipy.spatial import ConvexHull

from eebench.measure import concave_hull, find_frontier, mean_gain, mean_score, pareto_front, score_contrast


def candidates(seed, n=14, coarse=False):
    rng = np.random.default_rng(seed)
    if coarse:  # many ties
        return rng.integers(1, 12, size=n) / 10, rng.integers(0, 8, size=n) / 10
    return rng.uniform(0.2, 1, size=n), rng.random(n)


def best_mix(cost, score, budget):
    """The highest expected score of any mixture within a budget, by linear programming."""
    n = len(cost)
    found = linprog(-score, A_ub=[cost], b_ub=[budget], A_eq=[np.ones(n)], b_eq=[1], method="highs")
    return -found.fun if found.status == 0 else math.nan


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_the_frontier_is_the_best_any_mixture_reaches(seed, coarse):
    cost, score = candidates(seed, coarse=coarse)
    budgets = np.linspace(0.05, 1.3, 40)
    got = find_frontier(cost, score, cost, score).at(budgets)
    want = [best_mix(cost, score, b) for b in budgets]
    np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_the_vertices_are_those_of_scipys_hull(seed):
    cost, score = candidates(seed)
    corners = ConvexHull(np.stack([cost, score], 1)).vertices
    cheapest, best = cost.argmin(), score.argmax()
    rise, run = score[best] - score[cheapest], cost[best] - cost[cheapest]
    over = (score - score[cheapest]) * run - rise * (cost - cost[cheapest])  # above the line between the two: > 0
    upper = [i for i in corners if cost[i] <= cost[best] and over[i] >= -1e-12]
    assert concave_hull(cost, score).tolist() == sorted(upper, key=lambda i: cost[i])


def test_hull_by_hand():
    assert concave_hull([3, 1, 2], [0.9, 0.5, 0.7]).tolist() == [1, 0]  # on the line between: no vertex
    assert concave_hull([1, 1, 2], [0.5, 0.6, 0.6]).tolist() == [1]  # dearer and no better
    assert concave_hull([2, 1], [0.3, 0.5]).tolist() == [1]
    assert concave_hull([1], [0.2]).tolist() == [0]


def test_mixtures_by_hand():
    found = find_frontier([1, 2, 4], [0.5, 0.8, 0.9], [1.0, 2.5, 4.0], [0.4, 0.6, 0.9])  # costs differ on test data
    assert found.mixture(2.5) == ((1, 1.0),)
    assert found.mixture(1.75) == ((0, 0.5), (1, 0.5))
    assert found.mixture(9) == ((2, 1.0),)
    assert found.mixture(0.9) == ()
    assert found.mixture(1 - 1e-12) == ((0, 1.0),)  # cheaper by rounding only
    assert found.at([0.9, 1.75, 9])[1:].tolist() == pytest.approx([0.5, 0.9])
    assert math.isnan(found.at([0.9])[0])


def test_validation_chooses_and_test_data_is_read():
    found = find_frontier([1, 2, 3], [0.5, 0.9, 0.8], [1, 2, 3], [0.9, 0.1, 1.0])
    assert found.index.tolist() == [0, 1]  # the third lost on validation data, whatever it does on test data
    assert found.at([2, 3]).tolist() == [0.1, 0.1]


def test_a_candidate_that_test_costs_make_pointless_is_dropped():
    found = find_frontier([1, 2, 3], [0.5, 0.7, 0.8], [1, 3, 2], [0.5, 0.7, 0.8])  # the third is cheaper after all
    assert found.index.tolist() == [0, 2]
    same = find_frontier([1, 2, 3], [0.5, 0.7, 0.8], [1, 2, 2], [0.5, 0.7, 0.8])
    assert same.index.tolist() == [0, 2]


def test_reading_other_scores():
    found = find_frontier([1, 2], [0.5, 0.8], [1, 2], [0.5, 0.8])
    assert found.read([0.1, 0.3]).at([1.5])[0] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="1 scores"):
        found.read([0.1])


@pytest.mark.parametrize("seed", range(8))
def test_the_mean_score_equals_numerical_integration(seed):
    cost, score = candidates(seed)
    test_cost, test_score = cost * np.random.default_rng(seed).uniform(0.9, 1.1, len(cost)), candidates(seed + 40)[1]
    found = find_frontier(cost, score, test_cost, test_score)

    def worth(budget):
        value = found.at([budget])[0]
        return 0.15 if math.isnan(value) else value

    want = quad(worth, 0.1, 1.0, points=sorted(found.cost[found.cost < 1]), limit=200)[0] / 0.9
    got = mean_score(found, 0.1, 1.0, floor=0.15)
    assert got.value == pytest.approx(want, abs=1e-7)
    assert got.covered == pytest.approx((1 - found.cost[0]) / 0.9)


def test_mean_score_by_hand():
    found = find_frontier([0.5, 1.0], [0.6, 0.8], [0.5, 1.0], [0.6, 0.8])
    assert mean_score(found, 0.25, 1.0, floor=0.2).value == pytest.approx((0.25 * 0.2 + 0.5 * 0.7) / 0.75)
    assert mean_score(found, 0.1, 0.4, floor=0.2) == pytest.approx(mean_score(found, 0.2, 0.3, floor=0.2))
    assert mean_score(found, 0.1, 0.4, floor=0.2).covered == 0
    assert mean_score(found, 1.0, 2.0, floor=0.2).value == pytest.approx(0.8)  # nobody has to spend a budget


@pytest.mark.parametrize("seed", range(8))
def test_the_gain_equals_numerical_integration(seed):
    first, second = (find_frontier(*candidates(s), *candidates(s)) for s in (seed, seed + 20))
    got = mean_gain(first, second, 0.1, 1.2)
    budgets = got.low + (1.2 - got.low) * (np.arange(200000) + 0.5) / 200000
    assert got.low == pytest.approx(max(first.cost[0], second.cost[0]))
    assert got.gain == pytest.approx(np.mean(first.at(budgets) - second.at(budgets)), abs=1e-6)
    assert got.covered == pytest.approx((1.2 - got.low) / 1.1)
    assert mean_gain(second, first, 0.1, 1.2).gain == pytest.approx(-got.gain)


def test_more_knobs_on_the_same_line_gain_nothing():
    anchor = find_frontier([0.2, 1.0], [0.5, 0.9], [0.2, 1.0], [0.5, 0.9])
    few, many = ([0.2, 0.6, 1.0], [0.5, 0.8, 0.9]), (np.linspace(0.2, 1, 81), None)
    many = (many[0], np.interp(many[0], *few))
    gains = [mean_gain(find_frontier(c, s, c, s), anchor, 0.2, 1.0).gain for c, s in (few, many)]
    assert gains[0] == pytest.approx(0.05)  # a triangle: .1 at the middle
    assert gains[1] == pytest.approx(gains[0])


def test_no_common_budget_is_no_gain():
    dear = find_frontier([2], [0.9], [2], [0.9])
    cheap = find_frontier([1], [0.5], [1], [0.5])
    gain = mean_gain(dear, cheap, 0.5, 2.0)
    assert math.isnan(gain.gain)
    assert gain.covered == 0


def test_weights_let_a_contrast_give_the_gains_interval():
    rng = np.random.default_rng(0)
    targets = rng.integers(2, size=400)
    answers = [np.where(rng.random(400) < share, targets, 1 - targets) for share in (0.6, 0.8, 0.9, 0.7, 0.85)]
    scores = np.array([(a == targets).mean() for a in answers])
    method = find_frontier([0.3, 0.6, 1.0], [0.6, 0.8, 0.9], [0.3, 0.6, 1.0], scores[:3])
    anchor = find_frontier([0.4, 0.9], [0.7, 0.85], [0.4, 0.9], scores[3:])
    weights = [*method.weights(0.4, 1.0), *-anchor.weights(0.4, 1.0)]
    found = score_contrast("accuracy", answers, weights, targets)
    assert found.estimate == pytest.approx(mean_gain(method, anchor, 0.4, 1.0).gain)
    assert found.low < found.estimate < found.high


@pytest.mark.parametrize("seed", range(20))
def test_pareto_front_equals_brute_force(seed):
    cost, score = candidates(seed, n=30, coarse=True)
    want = [
        not any(
            (c <= cost[i] and s > score[i]) or (c < cost[i] and s >= score[i]) for c, s in zip(cost, score, strict=True)
        )
        for i in range(30)
    ]
    assert pareto_front(cost, score).tolist() == want


def test_pareto_front_keeps_identical_points_together():
    assert pareto_front([1, 1, 2, 2], [0.5, 0.5, 0.5, 0.6]).tolist() == [True, True, False, True]
    assert pareto_front([0.1 + 0.2, 0.3], [0.5, 0.5]).tolist() == [True, True]  # apart by rounding only
    assert pareto_front([0.1 + 0.2, 0.3], [0.5, 0.4]).tolist() == [True, False]


def test_pareto_front_passes_over_what_is_missing():
    assert pareto_front([1, np.nan, 2, 0.5], [0.5, 0.9, 0.6, np.nan]).tolist() == [True, False, True, False]
    assert pareto_front([], []).tolist() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: find_frontier([1.0], [1.0, 2.0], [1.0], [1.0]),
        lambda: find_frontier([1.0], [1.0], [1.0, 2.0], [1.0]),
        lambda: find_frontier([], [], [], []),
        lambda: concave_hull([np.nan], [1.0]),
        lambda: pareto_front([[1.0]], [[1.0]]),
        lambda: mean_score(find_frontier([1], [1], [1], [1]), 0.5, 0.5, 0.0),
        lambda: mean_gain(find_frontier([1], [1], [1], [1]), find_frontier([1], [1], [1], [1]), 2, 1),
        lambda: find_frontier([1], [1], [1], [1]).weights(0.5, 2.0),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call()
