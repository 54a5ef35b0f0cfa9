"""Are the probabilities honest? ECE, reliability diagrams, NLL, Brier and temperature scaling.

Everything is computed once over a whole split. Averaging ECE over batches of 64 gives a perfectly calibrated model 8 to
16 %, which is where some published early-exit figures come from.

For the deployed model :func:`deployed` picks each sample's own exit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, Ints, class_labels, finite, flags, fraction

__all__ = [
    "Reliability",
    "brier",
    "brier_per_sample",
    "deployed",
    "ece",
    "fit_temperature",
    "nll",
    "nll_per_sample",
    "reliability",
    "softmax",
]

TINY = float(np.finfo(np.float32).tiny)
TEMPERATURES = (0.01, 100.0)


@dataclass(frozen=True, eq=False, slots=True)
class Reliability:
    """A reliability diagram: bin ``b`` holds confidences in (edges[b], edges[b + 1]]; the first bin its left edge too.

    ``confidence`` and ``accuracy`` are means over a bin, NaN where it is empty.
    """

    edges: Floats  # (bins + 1,)
    count: Ints  # (bins,)
    confidence: Floats  # (bins,)
    accuracy: Floats  # (bins,)

    @property
    def ece(self) -> float:
        """Mean gap between accuracy and confidence over the bins, weighted by their samples."""
        gaps = np.abs(self.accuracy - self.confidence)[self.count > 0]
        return float(gaps @ self.count[self.count > 0] / self.count.sum())


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = 15, scheme: str = "width") -> Reliability:
    """Bin predictions by confidence and compare it with accuracy.

    ``width``: edges at 0, 1/bins, …, 1 (Guo et al., 2017, 1706.04599, section 2). ``mass``: edges at the confidence's
    quantiles, so bins hold about equally many samples; equal confidences share a bin, however many, so some bins may
    stay empty (as in scikit-learn's ``calibration_curve(strategy="quantile")``).

    Args:
        confidence: (N,) in [0, 1], usually the top probability.
        correct: (N,) bool, whether the prediction was right.
        bins: how many bins.
        scheme: ``width`` or ``mass``.

    Returns:
        The diagram's table.

    Raises:
        ValueError: wrong shape, empty input, values outside [0, 1], fewer than one bin, unknown scheme.
    """
    confidence = fraction("confidence", confidence, (None,))
    right = flags("correct", correct, confidence.shape)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    if scheme == "width":
        edges = np.linspace(0, 1, bins + 1)
    elif scheme == "mass":
        edges = np.quantile(confidence, np.linspace(0, 1, bins + 1))
    else:
        raise ValueError(f"scheme must be 'width' or 'mass', not {scheme!r}")
    index = np.searchsorted(edges[1:-1], confidence)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0/0 in an empty bin is the documented NaN
        mean_confidence = np.bincount(index, confidence, bins) / count
        accuracy = np.bincount(index, right, bins) / count
    return Reliability(edges, count, mean_confidence, accuracy)


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = 15, scheme: str = "width") -> float:
    """Expected calibration error, ``sum_b n_b/N |acc_b - conf_b|`` in [0, 1]; arguments as :func:`reliability`."""
    return reliability(confidence, correct, bins, scheme).ece


def nll_per_sample(probabilities: ArrayLike, targets: ArrayLike) -> Floats:
    """Negative log-likelihood ``-ln p_y`` of each sample, in nats.

    A probability that underflowed to 0 counts as float32's smallest normal number, 1.2e-38 (87.3 nats): one such sample
    should show, not make a whole split's mean infinite.

    Args:
        probabilities: (N, K).
        targets: (N,) int in [0, K).

    Returns:
        (N,).

    Raises:
        ValueError: wrong shape, empty input, values outside [0, 1] or targets outside [0, K).
    """
    p, target = _probabilities(probabilities, targets)
    return -np.log(p[np.arange(len(p)), target].clip(TINY))


def nll(probabilities: ArrayLike, targets: ArrayLike) -> float:
    """Mean of :func:`nll_per_sample`, in nats."""
    return float(nll_per_sample(probabilities, targets).mean())


def brier_per_sample(probabilities: ArrayLike, targets: ArrayLike) -> Floats:
    """Brier score ``sum_c (p_c - [c = y])^2`` of each sample, in [0, 2] (Brier, 1950); arguments as the NLL's."""
    p, target = _probabilities(probabilities, targets)
    return (p * p).sum(1) - 2 * p[np.arange(len(p)), target] + 1


def brier(probabilities: ArrayLike, targets: ArrayLike) -> float:
    """Mean of :func:`brier_per_sample`, in [0, 2]. For two classes it is twice the one-column Brier score."""
    return float(brier_per_sample(probabilities, targets).mean())


def deployed(values: ArrayLike, exits: ArrayLike) -> np.ndarray:
    """Each sample's value at the exit it stopped at.

    Args:
        values: (N, E) or (N, E, K), any type.
        exits: (N,) int in [0, E).

    Returns:
        (N,) or (N, K).

    Raises:
        ValueError: wrong shape or an exit outside [0, E).
    """
    array = np.asarray(values)
    if array.ndim < 2:
        raise ValueError(f"values must have shape (n, exits, ...), not {array.shape}")
    index = class_labels("exits", exits, array.shape[:1], below=array.shape[1])
    return array[np.arange(len(array)), index]


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """``softmax(logits / temperature)`` over the last axis, of any shape (…, K)."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(-1, keepdims=True))
    return scaled / scaled.sum(-1, keepdims=True)


def fit_temperature(logits: ArrayLike, targets: ArrayLike) -> float:
    """The scalar T that minimises the NLL of ``softmax(logits / T)`` (Guo et al., 2017, section 4.2).

    Fit it on validation data only. The NLL is convex in 1/T, so a bounded search over ln T finds its one minimum. The
    search ends at 0.01 and 100: perfectly separated logits want T = 0, useless ones T = infinity.

    Args:
        logits: (N, K).
        targets: (N,) int in [0, K).

    Returns:
        T, above 1 for an over-confident model.

    Raises:
        ValueError: wrong shape, empty input, NaN, or targets outside [0, K).
    """
    from scipy.optimize import minimize_scalar

    z = finite("logits", logits, (None, None))
    target = class_labels("targets", targets, z.shape[:1], below=z.shape[1])
    z = z - z[np.arange(len(z)), target][:, None]  # then -ln p_y = ln sum_c exp(z_c / T)

    def loss(log_t: float) -> float:
        scaled = z / np.exp(log_t)
        top = scaled.max(1)
        return float((top + np.log(np.exp(scaled - top[:, None]).sum(1))).mean())

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def _probabilities(probabilities: ArrayLike, targets: ArrayLike) -> tuple[Floats, Ints]:
    p = fraction("probabilities", probabilities, (None, None))
    if np.abs(p.sum(1) - 1).max() > 1e-3:
        raise ValueError("probabilities must sum to 1 in each row: are these logits?")
    return p, class_labels("targets", targets, p.shape[:1], below=p.shape[1])
