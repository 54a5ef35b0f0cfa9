"""Calibration against scikit-learn, loops and hand-computed cases."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from eebench.measure import (
    brier,
    brier_per_sample,
    deployed,
    ece,
    fit_temperature,
    nll,
    nll_per_sample,
    reliability,
    softmax,
)


def draws(n=500, classes=4, seed=0, sharpness=2.0):
    """Logits and targets drawn from their softmax: calibrated at temperature 1."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * sharpness
    p = softmax(logits)
    targets = (p.cumsum(1) > rng.random((n, 1))).argmax(1)
    return logits, p, targets


def ece_by_loop(confidence, correct, edges):
    total = 0.0
    for b in range(len(edges) - 1):
        here = [
            i
            for i, c in enumerate(confidence)
            if (edges[b] < c or b == 0) and (c <= edges[b + 1] or b == len(edges) - 2)
        ]
        if here:
            total += abs(sum(correct[i] for i in here) - sum(confidence[i] for i in here)) / len(confidence)
    return total


@pytest.mark.parametrize(("scheme", "strategy"), [("width", "uniform"), ("mass", "quantile")])
@pytest.mark.parametrize("bins", [1, 7, 15])
def test_reliability_equals_sklearn(scheme, strategy, bins):
    _, p, targets = draws()
    confidence, correct = p.max(1), p.argmax(1) == targets
    table = reliability(confidence, correct, bins, scheme)
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=bins, strategy=strategy)
    full = table.count > 0
    np.testing.assert_allclose(table.accuracy[full], accuracy)
    np.testing.assert_allclose(table.confidence[full], mean_confidence)
    assert np.isnan(table.accuracy[~full]).all()
    assert table.count.sum() == 500


@pytest.mark.parametrize("scheme", ["width", "mass"])
def test_ece_equals_a_loop(scheme):
    _, p, targets = draws(seed=3)
    confidence, correct = p.max(1), p.argmax(1) == targets
    edges = np.linspace(0, 1, 16) if scheme == "width" else np.quantile(confidence, np.linspace(0, 1, 16))
    assert ece(confidence, correct, 15, scheme) == pytest.approx(ece_by_loop(confidence, correct, edges))


def test_ece_by_hand():
    # bins (0, .5] and (.5, 1]: gaps |1/2 - .4| and |1/2 - .8|, two samples each
    assert ece([0.3, 0.5, 0.7, 0.9], [0, 1, 1, 0], bins=2) == pytest.approx((0.1 + 0.3) / 2)
    assert ece([1.0, 1.0], [1, 1]) == 0
    assert ece([1.0, 1.0], [0, 0], scheme="mass") == 1  # all confidences equal: one bin holds them


def test_equal_mass_bins_hold_equally_many():
    _, p, targets = draws(n=1500)
    assert set(reliability(p.max(1), p.argmax(1) == targets, 15, "mass").count) <= {99, 100, 101}


def test_batchwise_ece_would_condemn_a_calibrated_model():
    _, p, targets = draws(n=6400, classes=10, sharpness=1.5)
    confidence, correct = p.max(1), p.argmax(1) == targets
    batches = np.split(np.arange(6400), 100)
    averaged = np.mean([ece(confidence[b], correct[b], scheme="mass") for b in batches])
    assert ece(confidence, correct, scheme="mass") < 0.03
    assert averaged > 0.08


def test_nll_equals_sklearn_and_survives_underflow():
    _, p, targets = draws()
    assert nll(p, targets) == pytest.approx(log_loss(targets, p, labels=range(4)))
    assert nll_per_sample([[1.0, 0.0]], [1]) == pytest.approx(-np.log(np.finfo(np.float32).tiny))


def test_brier_equals_sklearn_class_by_class():
    _, p, targets = draws()
    want = sum(brier_score_loss(targets == c, p[:, c]) for c in range(4))
    assert brier(p, targets) == pytest.approx(want)
    assert brier_per_sample([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]], [0, 1, 1]).tolist() == [0, 2, 0.5]


def test_deployed_picks_each_samples_own_exit():
    table = np.arange(6).reshape(3, 2)
    assert deployed(table, [0, 1, 0]).tolist() == [0, 3, 4]
    cube = np.arange(12).reshape(3, 2, 2)
    assert deployed(cube, [1, 1, 0]).tolist() == [[2, 3], [6, 7], [8, 9]]


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_temperature_is_found_and_is_the_minimum(true):
    logits, _, targets = draws(n=4000, seed=5)
    over = logits * true
    found = fit_temperature(over, targets)
    assert found == pytest.approx(true, rel=0.1)
    grid = np.exp(np.linspace(np.log(found) - 1, np.log(found) + 1, 201))
    best = min(nll(softmax(over, t), targets) for t in grid)
    assert nll(softmax(over, found), targets) <= best + 1e-9


def test_temperature_ends_at_its_bounds():
    separated = np.array([[5.0, 0.0], [0.0, 5.0]])
    assert fit_temperature(separated, [0, 1]) < 0.1
    assert fit_temperature(separated, [1, 0]) == pytest.approx(100, rel=0.01)


def test_softmax_does_not_overflow():
    np.testing.assert_allclose(softmax([[1000.0, 1000.0], [0.0, -1000.0]]), [[0.5, 0.5], [1, 0]])
    np.testing.assert_allclose(softmax([np.log(4), 0.0], temperature=2), [2 / 3, 1 / 3])


@pytest.mark.parametrize(
    "call",
    [
        lambda: ece([0.5], [1, 0]),
        lambda: ece([], []),
        lambda: ece([1.5], [1]),
        lambda: ece([np.nan], [1]),
        lambda: ece([0.5], [0.3]),
        lambda: ece([0.5], [1], bins=0),
        lambda: ece([0.5], [1], scheme="adaptive"),
        lambda: nll([[2.0, -1.0]], [0]),
        lambda: brier([[0.9, 0.9]], [0]),  # sums to 1.8
        lambda: brier([[0.5, 0.5]], [2]),
        lambda: deployed([[1, 2]], [2]),
        lambda: softmax([1.0], temperature=0),
        lambda: fit_temperature([[1.0, np.inf]], [0]),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call()


def test_float32_softmax_overshoot_is_forgiven():
    assert ece(np.array([1 + 1e-7], np.float32), [1]) == 0
