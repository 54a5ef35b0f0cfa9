"""The nested bootstrap against loops over repeated rows, scipy's t interval and cases where nothing can vary."""

import math

import numpy as np
import pytest
from scipy import stats

from eebench.measure import (
    Candidates,
    Rule,
    Split,
    choose_within_budget,
    choose_within_drop,
    drop_upper_bounds,
    find_frontier,
    nested_bootstrap,
    resampled_counts,
    score,
    score_drop_upper_bounds,
)
from eebench.measure.statistics import Interval

RULES = [Rule(drop=0.05), Rule(drop=0.05, level=None), Rule(budget=0.6)]


def make_split(seed, n=150, knobs=9, candidates=5):
    """Two classes, so that every metric of classes applies; dearer knobs are better."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(2, size=n)
    plain = np.where(rng.random(n) < 0.9, targets, 1 - targets)
    cost = np.linspace(1.1, 0.3, knobs) * rng.uniform(0.7, 1.3, (n, knobs))
    answers = np.where(rng.random((n, knobs)) < np.linspace(0.01, 0.2, knobs), 1 - plain[:, None], plain[:, None])
    others = np.where(
        rng.random((n, candidates)) < np.linspace(0.4, 0.05, candidates), 1 - targets[:, None], targets[:, None]
    )
    frontier = Candidates(others, np.linspace(0.05, 1, candidates))
    return Split(targets, plain, rng.uniform(0.9, 1.1, n), Candidates(answers, cost), frontier)


def draw(split, rows):
    """The split with the given rows only, as often as they come."""
    return Split(
        split.targets[rows],
        split.plain[rows],
        split.plain_cost[rows],
        Candidates(split.knobs.predictions[rows], split.knobs.cost[rows]),
        Candidates(split.frontier.predictions[rows], split.frontier.cost),
    )


def read(val, test, rule, metric="accuracy", margin=None):
    """Choose and read once, by the functions a run uses: score, drop, speed-up, score over the frontier."""
    knobs = range(val.knobs.predictions.shape[1])
    val_scores = np.array([score(metric, val.knobs.predictions[:, k], val.targets) for k in knobs])
    cost, plain = val.knobs.cost.mean(0), score(metric, val.plain, val.targets)
    if rule.budget is not None:
        chosen = choose_within_budget(cost, val_scores, rule.budget * val.plain_cost.mean()).index
    else:
        right = val.knobs.predictions == val.targets[:, None]
        upper = None if rule.level is None else drop_upper_bounds(val.plain == val.targets, right, rule.level)
        if margin is not None:
            upper = plain - val_scores + margin
        chosen = choose_within_drop(cost, plain - val_scores, rule.drop, upper).index
    got = score(metric, test.knobs.predictions[:, chosen], test.targets)
    spent = test.knobs.cost[:, chosen].mean()
    val_others, others = ([score(metric, p, s.targets) for p in s.frontier.predictions.T] for s in (val, test))
    reached = find_frontier(val.frontier.cost, val_others, test.frontier.cost, others).at([spent])[0]
    return got, score(metric, test.plain, test.targets) - got, test.plain_cost.mean() / spent, got - reached


def by_loop(val, test, rule, n, seed, **how):
    """(1 + n, 4): on the data as they are, then on resamples written out row by row."""
    rng = np.random.default_rng(seed)
    counts = [resampled_counts(rng, n, len(split.targets)) for split in (val, test)]
    rows = [read(val, test, rule, **how)]
    for of_val, of_test in zip(*counts, strict=True):
        resampled = (draw(s, np.repeat(np.arange(len(c)), c)) for s, c in ((val, of_val), (test, of_test)))
        rows.append(read(*resampled, rule, **how))
    return np.array(rows)


@pytest.mark.parametrize("rule", RULES, ids=["upper", "naive", "budget"])
def test_one_seed_equals_a_loop_over_written_out_resamples(rule):
    val, test = make_split(0), make_split(1, n=120)
    found = nested_bootstrap([(val, test)], rule, n=60, seed=5)
    loop = by_loop(val, test, rule, 60, 5)
    loop[:, 2] = np.log(loop[:, 2])  # where its interval is made
    log_speedup = Interval(*np.log([found.speedup.estimate, found.speedup.low, found.speedup.high]), 0.95)
    for k, interval in enumerate((found.score, found.drop, log_speedup, found.over_frontier)):
        assert interval.estimate == pytest.approx(loop[0, k], abs=1e-6)
        low, high = np.quantile(loop[1:, k], (0.025, 0.975))
        assert (interval.low, interval.high) == pytest.approx((min(low, loop[0, k]), max(high, loop[0, k])), abs=1e-6)


@pytest.mark.parametrize("rule", RULES, ids=["upper", "naive", "budget"])
def test_another_metric_equals_the_loop(rule):
    val, test = make_split(2), make_split(3)
    found = nested_bootstrap([(val, test)], rule, metric="mcc", n=30, seed=1)
    margin = None
    if rule.level is not None and rule.drop is not None:
        upper = score_drop_upper_bounds("mcc", val.plain, val.knobs.predictions, val.targets)
        drops = [score("mcc", val.plain, val.targets) - score("mcc", p, val.targets) for p in val.knobs.predictions.T]
        margin = upper - drops
    loop = by_loop(val, test, rule, 30, 1, metric="mcc", margin=margin)
    assert found.drop.estimate == pytest.approx(loop[0, 1])
    high = np.exp(max(np.quantile(np.log(loop[1:, 2]), 0.975), np.log(loop[0, 2])))
    assert found.speedup.high == pytest.approx(high, abs=1e-6)


def test_the_choice_is_part_of_the_interval():
    val, test = make_split(0), make_split(1)
    found = nested_bootstrap([(val, test)], Rule(drop=0.05), n=300)
    chosen = np.isclose(test.plain_cost.mean() / test.knobs.cost.mean(0), found.speedup.estimate, rtol=1e-6)
    only = Candidates(test.knobs.predictions[:, chosen], test.knobs.cost[:, chosen])
    fixed = Split(test.targets, test.plain, test.plain_cost, only)
    given = nested_bootstrap([(fixed, fixed)], Rule(budget=9.0), n=300)
    assert given.speedup.estimate == pytest.approx(found.speedup.estimate)
    assert found.speedup.high - found.speedup.low > 2 * (given.speedup.high - given.speedup.low)


def constant(cost, n=40):
    targets = np.ones(n, int)
    return Split(targets, targets, 1.0, Candidates(targets[:, None], np.array([cost])))


def test_seeds_alone_give_students_interval():
    """Where samples cannot vary, what is left is the t interval of the seeds' mean."""
    costs = [0.5, 0.4, 0.8]
    found = nested_bootstrap([(constant(c), constant(c)) for c in costs], Rule(budget=1.0), n=50).speedup
    values = -np.log(costs)
    want = np.exp([values.mean(), *stats.t.interval(0.95, 2, values.mean(), stats.sem(values))])
    assert (found.estimate, found.low, found.high) == pytest.approx(want, rel=1e-6)


def test_a_speed_up_never_reaches_nothing():
    """Seeds that choose 9, 3 and 3 of 12 blocks: on the ratio itself Student's interval would go below 0."""
    found = nested_bootstrap([(constant(c), constant(c)) for c in (0.75, 0.25, 0.25)], Rule(budget=1.0), n=50).speedup
    assert 0 < found.low < 4 / 3 < found.estimate < 4 < found.high


def test_seeds_that_agree_add_nothing():
    pair = (make_split(0), make_split(1))
    one, three = (nested_bootstrap([pair] * count, Rule(drop=0.05), n=200) for count in (1, 3))
    assert one == three


def test_groups_are_drawn_together():
    """Ten copies of every sample are ten times the samples and not a bit more information."""
    val, test = make_split(0, n=60), make_split(1, n=60)
    group = np.repeat(np.arange(60), 10)
    many = tuple(draw(split, group) for split in (val, test))
    one = nested_bootstrap([(val, test)], Rule(budget=0.6), n=400)
    grouped = nested_bootstrap([many], Rule(budget=0.6), n=400, val_groups=group, test_groups=group)
    apart = nested_bootstrap([many], Rule(budget=0.6), n=400)
    assert grouped.score.low == pytest.approx(one.score.low)
    assert grouped.score.high == pytest.approx(one.score.high)
    assert apart.score.high - apart.score.low < 0.6 * (one.score.high - one.score.low)


def test_too_little_to_resample_is_no_interval():
    for val, test in ((make_split(0, n=9), make_split(1)), (make_split(0), make_split(1, n=9))):
        found = nested_bootstrap([(val, test)], Rule(budget=0.6), n=20)
        assert math.isfinite(found.drop.estimate)
        assert math.isnan(found.drop.low)
        assert math.isnan(found.speedup.high)
    groups = np.arange(150) % 9
    assert math.isnan(nested_bootstrap([(make_split(0), make_split(1))], RULES[0], n=20, val_groups=groups).drop.low)


def test_below_the_frontier_there_is_nothing_to_compare_with():
    val, test = make_split(0), make_split(1)
    alone = Split(test.targets, test.plain, test.plain_cost, test.knobs)
    assert nested_bootstrap([(val, alone)], Rule(budget=0.6), n=20).over_frontier is None
    dear = Candidates(val.frontier.predictions, val.frontier.cost + 9)
    splits = [Split(s.targets, s.plain, s.plain_cost, s.knobs, dear) for s in (val, test)]
    assert nested_bootstrap([tuple(splits)], Rule(budget=0.6), n=20).over_frontier is None


def test_a_large_cost_loses_nothing():
    val, test = make_split(0), make_split(1)
    huge = [
        Split(s.targets, s.plain, s.plain_cost * 1e12, Candidates(s.knobs.predictions, s.knobs.cost * 1e12))
        for s in (val, test)
    ]
    small, large = nested_bootstrap([(val, test)], RULES[0], n=30), nested_bootstrap([tuple(huge)], RULES[0], n=30)
    assert large.speedup.low == pytest.approx(small.speedup.low, rel=1e-6)
    assert large.drop == small.drop


@pytest.mark.parametrize(
    "call",
    [
        lambda: Rule(),
        lambda: Rule(drop=0.1, budget=0.5),
        lambda: nested_bootstrap([], RULES[0]),
        lambda: nested_bootstrap([(constant(1), constant(1))], RULES[0], level=1.0),
        lambda: nested_bootstrap([(constant(1), constant(1)), (constant(1, 30), constant(1))], RULES[0]),
        lambda: nested_bootstrap([(make_split(0), constant(1))], RULES[0]),
        lambda: nested_bootstrap([(constant(math.nan), constant(1))], RULES[0]),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call()
