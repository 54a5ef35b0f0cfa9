"""Task metrics against scikit-learn and scipy, and the edge cases those warn about."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from eebench.measure import METRICS, per_sample_correct, resampled_scores, score


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_mcc_equal_sklearn(classes, seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(classes, size=200)
    predictions = np.where(rng.random(200) < 0.6, targets, rng.integers(classes, size=200))
    assert score("accuracy", predictions, targets) == metrics.accuracy_score(targets, predictions)
    assert score("mcc", predictions, targets) == pytest.approx(metrics.matthews_corrcoef(targets, predictions))


def test_mcc_with_classes_that_only_one_side_has():
    targets, predictions = np.array([0, 0, 3, 3, 5]), np.array([0, 1, 3, 1, 3])
    assert score("mcc", predictions, targets) == pytest.approx(metrics.matthews_corrcoef(targets, predictions))


@pytest.mark.parametrize("seed", range(5))
def test_f1_equals_sklearn(seed):
    rng = np.random.default_rng(seed)
    targets, predictions = rng.integers(2, size=(2, 60))
    f1 = metrics.f1_score(targets, predictions)
    assert score("f1", predictions, targets) == pytest.approx(f1)
    both = (f1 + metrics.accuracy_score(targets, predictions)) / 2
    assert score("accuracy_f1", predictions, targets) == pytest.approx(both)


@pytest.mark.parametrize("decimals", [0, 1, 6])  # few decimals: many ties
def test_pearson_spearman_equals_scipy(decimals):
    rng = np.random.default_rng(decimals)
    targets = (rng.random(100) * 5).round(decimals)
    predictions = (targets + rng.normal(size=100)).round(decimals)
    want = (stats.pearsonr(predictions, targets).statistic + stats.spearmanr(predictions, targets).statistic) / 2
    assert score("pearson_spearman", predictions, targets) == pytest.approx(want)


def test_collapsed_models_score_zero_not_nan():
    targets = np.array([0, 1, 1, 0, 1])
    assert score("mcc", np.ones(5, int), targets) == 0
    assert score("mcc", targets, np.ones(5, int)) == 0
    assert score("f1", np.zeros(5, int), np.zeros(5, int)) == 0
    assert score("f1", np.zeros(5, int), targets) == 0
    assert score("pearson_spearman", np.full(5, 0.1), np.arange(5.0)) == 0  # 5 * 0.1 has a rounded mean
    assert score("pearson_spearman", np.arange(5.0), np.full(5, 0.1)) == 0


def test_perfect_and_inverted():
    values = np.random.default_rng(0).random(20)
    assert score("pearson_spearman", values, values) == pytest.approx(1)
    assert score("pearson_spearman", -values, values) == pytest.approx(-1)
    assert score("mcc", np.array([1, 0, 1]), np.array([0, 1, 0])) == -1


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_counts_are_repetitions(metric):
    rng = np.random.default_rng(4)
    targets, predictions, counts = rng.integers(2, size=40), rng.integers(2, size=40), rng.integers(4, size=40)
    if metric == "pearson_spearman":
        targets, predictions = targets + rng.random(40).round(1), predictions + rng.random(40)
    repeated = score(metric, predictions.repeat(counts), targets.repeat(counts))
    assert score(metric, predictions, targets, counts) == pytest.approx(repeated)
    assert score(metric, predictions, targets) == pytest.approx(score(metric, predictions, targets, np.ones(40, int)))


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_many_resamples_are_scored_as_one_by_one(metric):
    rng = np.random.default_rng(5)
    targets, predictions = rng.integers(2, size=30), rng.integers(2, size=30)
    if metric == "pearson_spearman":
        targets, predictions = targets + rng.random(30).round(1), predictions + rng.random(30)
    if metric == "mcc":
        targets, predictions = rng.choice([0, 3, 7], size=(2, 30))
    counts = np.append(rng.integers(3, size=(20, 30)), [np.eye(30, dtype=int)[0]], 0)  # the last leaves one sample
    want = [score(metric, predictions, targets, row) for row in counts]
    assert resampled_scores(metric, predictions, targets, counts).tolist() == pytest.approx(want)


def test_counts_that_leave_a_constant():
    assert score("pearson_spearman", [1.0, 1.0, 2.0], [1.0, 2.0, 3.0], [3, 4, 0]) == 0
    for counts in ([0, 0, 0], [1, -1, 1], [1, 1]):
        with pytest.raises(ValueError, match="counts"):
            score("accuracy", [0, 1, 1], [0, 1, 1], counts)


def test_per_sample_correct_by_exit():
    got = per_sample_correct(np.array([[0, 1], [2, 2]]), np.array([1, 2]))
    assert got.tolist() == [[False, True], [True, True]]
    assert per_sample_correct([0, 2], [1, 2]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("metric", "predictions", "targets"),
    [
        ("nonsense", [0], [0]),
        ("accuracy", [0, 1], [0]),
        ("accuracy", [[0, 1]], [0]),  # one column an exit is for per_sample_correct; a score is one number
        ("accuracy", [], []),
        ("accuracy", [0.0], [0.0]),
        ("mcc", [0, 1], [0, -1]),
        ("f1", [0, 2], [0, 1]),
        ("pearson_spearman", [0.0, np.nan], [0.0, 1.0]),
    ],
)
def test_bad_input(metric, predictions, targets):
    with pytest.raises(ValueError, match=r"."):
        score(metric, predictions, targets)


def test_every_metric_of_the_tables_is_there():
    assert set(METRICS) == {"accuracy", "mcc", "f1", "accuracy_f1", "pearson_spearman"}
