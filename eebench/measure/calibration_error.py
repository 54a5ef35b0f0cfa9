"""How much of an ECE is chance? Its floor, and its interval.

An ECE sums absolute gaps, so chance never cancels: a perfectly calibrated model of the same confidences has one too, of
1 to 3 % on a few hundred samples. That floor is what a small ECE has to be compared with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, flags, fraction
from eebench.measure.statistics import Interval, resampled_counts

__all__ = ["CalibrationError", "calibration_error_of"]

CHUNK = 1 << 23  # samples drawn at once


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """An ECE beside what chance makes of a calibrated model."""

    ece: Interval  # of equal-width bins; the ends are about the error without chance, the estimate holds chance
    floor: float  # mean ECE of a perfectly calibrated model with these confidences and so many samples
    floor_high: float  # up to here an ECE cannot be told from a calibrated model's


def calibration_error_of(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 15, n: int = 500, seed: int = 0, level: float = 0.95
) -> CalibrationError:
    """The ECE (Guo et al., 2017; as :func:`eebench.measure.ece`) with its floor and interval.

    The floor is simulated: right and wrong are drawn by the confidences themselves. A bootstrap of the ECE lies too
    high by about what the ECE itself does, and its percentiles miss a small error nearly always. Each end is therefore
    the wider of two corrections, mirroring the percentiles at the estimate, and shifting them down by the bias; and the
    interval reaches 0 where the ECE is within what a calibrated model shows. In simulation (five kinds of
    miscalibration, 361 to 4,000 samples) it holds the true error in at least 92 of 100 cases.

    >>> import numpy as np
    >>> confidence = np.random.default_rng(0).uniform(0.5, 1, 400)
    >>> right = np.random.default_rng(1).random(400) < confidence  # calibrated
    >>> found = calibration_error_of(confidence, right)
    >>> found.ece.low, bool(found.ece.estimate <= found.floor_high)
    (0.0, True)

    Args:
        confidence: (N,) in [0, 1], usually the top probability.
        correct: (N,) bool.
        bins: equal-width bins.
        n: draws for the floor, and resamples for the interval.
        seed: of both.
        level: of the interval, and of ``floor_high``.

    Returns:
        The error, its interval and its floor.

    Raises:
        ValueError: wrong shape, empty input, values outside [0, 1], fewer than one bin or 2 draws, or a level outside
            (0, 1).
    """
    p = fraction("confidence", confidence, (None,))
    right = flags("correct", correct, p.shape)
    if bins < 1 or n < 2 or not 0 < level < 1:
        raise ValueError(f"take a bin, 2 draws and a level in (0, 1), not {bins}, {n} and {level}")
    rng, samples = np.random.default_rng(seed), len(p)
    placed = np.eye(bins)[np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], p)]  # (N, bins), one 1 a row
    gaps = placed * (right - p)[:, None]
    estimate = float(np.abs(gaps.sum(0)).sum() / samples)
    drawn, expected = [], placed.T @ p
    for size in _chunks(n, samples):
        hits = (rng.random((size, samples)) < p) @ placed
        drawn.append(np.abs(hits - expected).sum(1) / samples)
    floor = np.concatenate(drawn)
    resampled = np.concatenate(
        [np.abs(resampled_counts(rng, size, samples) @ gaps).sum(1) / samples for size in _chunks(n, samples)]
    )
    floor_high = float(np.quantile(floor, level))
    return CalibrationError(_interval(estimate, resampled, floor_high, level), float(floor.mean()), floor_high)


def _interval(estimate: float, resampled: Floats, floor_high: float, level: float) -> Interval:
    low, high = np.quantile(resampled, ((1 - level) / 2, (1 + level) / 2))
    bias = float(resampled.mean()) - estimate
    bottom = 0.0 if estimate <= floor_high else max(float(min(2 * estimate - high, low - 2 * bias)), 0.0)
    return Interval(estimate, bottom, float(max(2 * estimate - low, high - bias, bottom)), level)


def _chunks(n: int, samples: int) -> list[int]:
    step = max(1, CHUNK // samples)
    return [min(step, n - start) for start in range(0, n, step)]
