"""The floor of an ECE against the function itself on drawn answers, and its interval by simulation."""

import numpy as np
import pytest

from eebench.measure import calibration_error_of, ece

SHAPES = {
    "calibrated": lambda p: p,
    "a little over-confident": lambda p: p - 0.02,
    "over-confident": lambda p: p - 0.06,
    "very over-confident": lambda p: np.clip(p - 0.15, 0, 1),
    "under-confident": lambda p: p**0.6,
}


def confidences(n, seed=0):
    return 0.4 + 0.6 * np.random.default_rng(seed).beta(3, 1, n)


def test_estimate_and_floor_are_the_eces_own():
    p = confidences(361)
    right = np.random.default_rng(1).random(361) < p
    found = calibration_error_of(p, right, n=4000)
    assert found.ece.estimate == pytest.approx(ece(p, right))
    rng = np.random.default_rng(2)
    drawn = [ece(p, rng.random(361) < p) for _ in range(1500)]
    assert found.floor == pytest.approx(np.mean(drawn), rel=0.02)
    assert found.floor_high == pytest.approx(np.quantile(drawn, 0.95), rel=0.04)


def test_the_floor_falls_with_the_square_root_of_the_samples():
    floors = [calibration_error_of(confidences(n), np.ones(n, bool)).floor for n in (400, 1600, 6400)]
    assert floors[0] / floors[1] == pytest.approx(2, rel=0.1)
    assert floors[1] / floors[2] == pytest.approx(2, rel=0.1)


def test_an_error_that_is_there_is_above_the_floor():
    p = confidences(2000)
    found = calibration_error_of(p, np.random.default_rng(1).random(2000) < p - 0.15)
    assert found.ece.low > found.floor_high
    assert found.ece.low < 0.15 < found.ece.high


def test_certain_and_right_has_no_floor():
    found = calibration_error_of(np.ones(50), np.ones(50, bool))
    assert (found.ece.estimate, found.ece.low, found.ece.high, found.floor) == (0, 0, 0, 0)


def test_chunks_of_any_size(monkeypatch):
    p, right = confidences(60), np.arange(60) % 4 > 0
    whole = calibration_error_of(p, right, n=50)
    monkeypatch.setattr("eebench.measure.calibration_error.CHUNK", 600)
    assert calibration_error_of(p, right, n=50).floor == pytest.approx(whole.floor)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [361, 1000, 4000])
def test_the_interval_covers(shape, n):
    many = confidences(2_000_000, seed=9)
    bins = np.minimum((many * 15).astype(int), 14)
    true = np.abs(np.bincount(bins, SHAPES[shape](many) - many, 15)).sum() / len(many)
    inside, rng = 0, np.random.default_rng(n)
    for i in range(400):
        p = confidences(n, seed=i + 10)
        interval = calibration_error_of(p, rng.random(n) < SHAPES[shape](p), n=300, seed=i).ece
        inside += interval.low <= true <= interval.high
    assert 0.92 <= inside / 400 <= 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: calibration_error_of([], []),
        lambda: calibration_error_of([1.5], [True]),
        lambda: calibration_error_of([0.5], [True], bins=0),
        lambda: calibration_error_of([0.5], [True], level=1.0),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call()
