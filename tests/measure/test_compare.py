"""Paired tests against scipy, statistics by other routes, and cases worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from eebench.measure import (
    compare_all,
    compare_two,
    critical_difference,
    holm,
    paired_bootstrap,
    score,
    score_contrast,
    tiers,
)


def table(seeds, samples=400, share=0.8, seed=0, noise=0.0):
    """(S, N) right or wrong; samples differ in difficulty, seeds in skill."""
    rng = np.random.default_rng(seed)
    hard = np.random.default_rng(99).normal(size=samples)
    skill = stats.norm.ppf(share) * 1.4 + noise * rng.normal(size=(seeds, 1))
    return skill - hard + rng.normal(size=(seeds, samples)) > 0


def test_one_seed_is_mcnemars_exact_test():
    a, b = table(1, seed=1), table(1, share=0.77, seed=2)
    won, lost = int((a & ~b).sum()), int((b & ~a).sum())
    found = compare_two(a, b)
    assert found.p == pytest.approx(stats.binomtest(won, won + lost).pvalue)
    assert found.difference.estimate == pytest.approx((won - lost) / 400)
    assert found.seeds == 1
    same = compare_two(a, a)
    assert (same.p, same.difference.estimate) == (1.0, 0.0)
    assert same.difference.low < 0 < same.difference.high  # no difference seen is not none


def test_one_seed_of_other_values_is_a_paired_z_test():
    a, b = np.random.default_rng(0).normal(size=(2, 1, 500))
    found, want = compare_two(a, b), stats.ttest_rel(a[0], b[0])
    assert found.p == pytest.approx(want.pvalue, abs=2e-3)
    assert found.difference.low == pytest.approx(want.confidence_interval().low, abs=2e-3)


def test_where_only_seeds_vary_it_is_students_test():
    a = np.repeat([[0.5], [0.9], [0.8]], 50, 1)
    b = np.repeat([[0.4], [0.6], [0.7]], 50, 1)
    found, want = compare_two(a, b), stats.ttest_rel(a[:, 0], b[:, 0])
    assert found.p == pytest.approx(want.pvalue)
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(want.confidence_interval()))


def test_where_only_samples_vary_it_is_the_paired_z_test():
    a, b = (np.repeat(np.random.default_rng(s).normal(size=(1, 300)), 3, 0) for s in (1, 2))
    found = compare_two(a, b)
    apart = a[0] - b[0]
    z = apart.mean() / (apart.std(ddof=1) / math.sqrt(300))
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(z)))


def test_the_parts_are_those_of_a_two_way_analysis_of_variance():
    """Student's part from seeds, the normal one from what samples add: each mean square by its textbook sum."""
    a, b = table(4, noise=0.3, seed=3).astype(float), table(4, noise=0.3, share=0.7, seed=4).astype(float)
    apart = a - b
    seeds, samples = apart.shape
    grand = apart.mean()
    between_seeds = sum(samples * (row.mean() - grand) ** 2 for row in apart) / (seeds - 1)
    between_samples = sum(seeds * (column.mean() - grand) ** 2 for column in apart.T) / (samples - 1)
    total = ((apart - grand) ** 2).sum()
    rest = (total - between_seeds * (seeds - 1) - between_samples * (samples - 1)) / ((seeds - 1) * (samples - 1))
    squared = stats.t.ppf(0.975, 3) ** 2 * between_seeds + stats.norm.ppf(0.975) ** 2 * max(between_samples - rest, 0)
    half = math.sqrt(squared / (seeds * samples))
    least = 1.959964 * math.sqrt(max(between_samples, rest) / (seeds * samples))
    found = compare_two(a, b)
    assert found.difference.high - grand == pytest.approx(max(half, least))


def test_p_and_interval_tell_the_same():
    for seed in range(6):
        methods = table(3, seed=seed, noise=0.1), table(3, seed=seed + 50, share=0.75, noise=0.1)
        again = compare_two(*methods, level=1 - compare_two(*methods).p).difference
        assert min(abs(again.low), abs(again.high)) == pytest.approx(0, abs=1e-7)


def test_many_methods_share_what_their_seeds_say():
    """With two seeds one pair's test is Student's with one degree of freedom; with eight methods it has seven."""
    values = [table(2, seed=s, noise=0.05, share=0.8 if s else 0.6) for s in range(8)]
    pairs, corrected = compare_all(values)
    alone = compare_two(values[0], values[1])
    assert pairs[0][1].p < alone.p / 100
    assert corrected[0, 1] < 0.01 < alone.p
    assert pairs[0][1].difference.estimate == alone.difference.estimate


def test_pairs_are_mirrored_and_corrected_together():
    values = [table(3, seed=s, share=share) for s, share in enumerate((0.8, 0.75, 0.7))]
    pairs, corrected = compare_all(values)
    for i in range(3):
        assert pairs[i][i].p == corrected[i, i] == 1
        for j in range(3):
            first, second = pairs[i][j].difference, pairs[j][i].difference
            assert (first.estimate, first.low, first.high) == pytest.approx(
                (-second.estimate, -second.high, -second.low)
            )
    found = holm([pairs[0][1].p, pairs[0][2].p, pairs[1][2].p])
    assert [corrected[0, 1], corrected[0, 2], corrected[1, 2]] == pytest.approx(found.tolist())


def test_predictions_are_compared_by_their_metric():
    rng = np.random.default_rng(5)
    targets = rng.integers(2, size=300)
    a, b = (np.where(rng.random((3, 300)) < share, targets, 1 - targets) for share in (0.9, 0.84))
    accuracy = compare_two(a, b, "accuracy", targets)
    assert accuracy == compare_two(a == targets, b == targets)
    other = compare_two(a, b, "mcc", targets)
    want = np.mean([score("mcc", x, targets) - score("mcc", y, targets) for x, y in zip(a, b, strict=True)])
    assert other.difference.estimate == pytest.approx(want)
    # MCC of balanced classes is about twice the accuracy less one, so both tests see the same evidence.
    assert other.difference.high / 2 == pytest.approx(accuracy.difference.high, abs=0.01)


def test_one_seed_of_another_metric_is_its_bootstrap():
    rng = np.random.default_rng(6)
    targets = rng.integers(2, size=300)
    a, b = (np.where(rng.random((1, 300)) < share, targets, 1 - targets) for share in (0.9, 0.84))
    found = compare_two(a, b, "f1", targets, n=4000).difference
    want = score_contrast("f1", [a[0], b[0]], [1, -1], targets, n=4000)
    assert (found.low, found.high) == pytest.approx((want.low, want.high), abs=0.006)


def test_seed_noise_is_in_it():
    """The same samples, seeds that disagree: resampling samples alone would call it a difference."""
    a = np.stack([table(1, share=share, seed=1, samples=2000)[0] for share in (0.9, 0.72, 0.88)])
    b = np.stack([table(1, share=0.76, seed=s, samples=2000)[0] for s in (2, 3, 4)])
    samples_only = paired_bootstrap(a.mean(0), b.mean(0))
    assert samples_only.low > 0.02
    assert compare_two(a, b).difference.low < 0


@pytest.mark.parametrize("seed", range(4))
def test_holm_equals_its_definition(seed):
    p = np.random.default_rng(seed).random(9) ** 3
    found = holm(p)
    for alpha in np.linspace(0.001, 1, 400):
        rejected, order = set(), np.argsort(p)
        for step, i in enumerate(order):  # reject while p is within alpha / (number left)
            if p[i] > alpha / (len(p) - step):
                break
            rejected.add(i)
        assert {i for i in range(9) if found[i] <= alpha + 1e-12} == rejected or np.isclose(found, alpha).any()


def test_tiers_by_hand():
    p = np.ones((5, 5))
    for i, j in ((0, 3), (0, 4), (3, 4)):
        p[i, j] = p[j, i] = 0.01
    assert tiers([0.9, 0.89, 0.88, 0.8, 0.7], p).tolist() == [1, 1, 1, 2, 3]
    p[2, 0] = p[0, 2] = 0.01  # the third differs from the best, not from the fourth
    assert tiers([0.9, 0.89, 0.88, 0.8, 0.7], p).tolist() == [1, 1, 2, 2, 2]
    assert tiers([0.8, 0.9], np.ones((2, 2))).tolist() == [1, 1]
    assert tiers([0.8, 0.9], [[1, 0.04], [0.04, 1]]).tolist() == [2, 1]
    assert tiers([0.8], [[1]]).tolist() == [1]


def test_nobody_in_a_tier_differs_from_its_best():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores, p = rng.random(8), rng.random((8, 8)) ** 4
        p = np.minimum(p, p.T)
        np.fill_diagonal(p, 1)
        found = tiers(scores, p)
        for tier in range(1, found.max() + 1):
            members = np.flatnonzero(found == tier)
            best = members[scores[members].argmax()]
            assert (p[best, members] > 0.05).all()
            assert all(scores[best] >= scores[other] for other in np.flatnonzero(found >= tier))
            assert all(p[best, other] <= 0.05 for other in np.flatnonzero(found > tier))


def test_critical_difference_of_the_literature():
    """Demšar's example: four methods, fourteen data sets, q = 2.569, a critical difference of 1.25."""
    scores = np.random.default_rng(0).random((14, 4))
    found = critical_difference(scores)
    assert found.difference == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert found.difference == pytest.approx(1.25, abs=0.005)
    assert found.p == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    assert found.ranks.tolist() == pytest.approx(stats.rankdata(-scores, axis=1).mean(0).tolist())


def test_groups_are_the_longest_runs_within_the_difference():
    scores = np.tile([4.0, 3.0, 2.0, 1.0], (12, 1))  # ranks 1 to 4, critical difference 1.35
    assert critical_difference(scores).groups == ((0, 1), (1, 2), (2, 3))
    assert critical_difference(np.tile([3.0, 2.0, 1.0], (100, 1))).groups == ()
    alike = critical_difference(np.ones((5, 3)))
    assert (alike.p, alike.groups) == (1.0, ((0, 1, 2),))


@pytest.mark.parametrize(
    "call",
    [
        lambda: compare_all([[[1, 0]]]),
        lambda: compare_two([[1, 0]], [[1, 0, 1]]),
        lambda: compare_two([1, 0], [1, 0]),
        lambda: compare_two([[1]], [[0]]),
        lambda: compare_two([[1, 0]], [[1, 0]], level=1.0),
        lambda: compare_two([[1, 0]], [[1, 0]], "accuracy"),
        lambda: compare_two([[1, np.nan]], [[1, 0]]),
        lambda: holm([1.2]),
        lambda: tiers([0.5, 0.6], [[1.0]]),
        lambda: critical_difference([[1, 2]]),
        lambda: critical_difference([[1, 2, 3]]),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call()
