"""Task metrics by name, in plain numpy so that a replayed curve of a thousand points costs milliseconds.

The names are those of GLUE (Wang et al., 2019, 1804.07461, table 1): CoLA is scored by ``mcc``, MRPC and QQP by
``accuracy_f1``, STS-B by ``pearson_spearman``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, Mask, class_labels, finite

__all__ = ["METRICS", "per_sample_correct", "score"]


def per_sample_correct(predictions: ArrayLike, targets: ArrayLike) -> Mask:
    """Which predictions are right.

    Args:
        predictions: predicted classes, int (N,), or (N, E) with one column an exit (or a knob value).
        targets: true classes, int (N,).

    Returns:
        bool, of the shape of ``predictions``.

    Raises:
        ValueError: wrong shape, empty input, or classes that are no integers.
    """
    target = class_labels("targets", targets, (None,))
    columns = np.asarray(predictions).ndim - 1
    if columns not in (0, 1):
        raise ValueError(f"predictions must have shape (n) or (n, exits), not {np.shape(predictions)}")
    predicted = class_labels("predictions", predictions, (len(target), None)[: 1 + columns])
    return predicted == (target[:, None] if columns else target)


def score(metric: str, predictions: ArrayLike, targets: ArrayLike, counts: ArrayLike | None = None) -> float:
    """The task's metric over a split.

    =====================  ========================================================================  ========
    ``accuracy``           share of samples classified correctly                                     [0, 1]
    ``mcc``                Matthews correlation, for K classes in Gorodkin's form (2004):            [-1, 1]
                           ``(c s - sum p_k t_k) / sqrt((s^2 - sum p_k^2)(s^2 - sum t_k^2))``
                           with c right of s samples, p_k predicted and t_k true samples of class k
    ``f1``                 ``2 TP / (2 TP + FP + FN)``, class 1 being the positive one of two        [0, 1]
    ``accuracy_f1``        mean of accuracy and f1                                                   [0, 1]
    ``pearson_spearman``   mean of Pearson's r and Spearman's rho (average ranks for ties)           [-1, 1]
    =====================  ========================================================================  ========

    Where a metric is 0/0 it is 0, so a model that collapsed to one answer gets no credit and no NaN: ``mcc`` when all
    predictions or all targets are one class, ``f1`` when class 1 is neither predicted nor present, the correlations
    when predictions or targets are constant.

    Args:
        metric: one of :data:`METRICS`.
        predictions: (N,) predicted classes (int), or values (float) for ``pearson_spearman``.
        targets: (N,) true classes or values.
        counts: (N,) int, how often each sample counts (a bootstrap resample); None: once.

    Returns:
        The score.

    Raises:
        ValueError: unknown metric, wrong shape, empty input, NaN, counts that are negative or all 0, or labels other
            than 0 and 1 for f1.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
    weights = np.ones(len(np.atleast_1d(targets)))
    if counts is not None:
        weights = class_labels("counts", counts, weights.shape).astype(float)
        if not weights.any():
            raise ValueError("counts are all 0")
    return float(METRICS[metric](predictions, targets, weights))


def _accuracy(predictions: ArrayLike, targets: ArrayLike, weights: Floats) -> float:
    target = class_labels("targets", targets, (None,))
    return float((class_labels("predictions", predictions, target.shape) == target) @ weights / weights.sum())


def _mcc(predictions: ArrayLike, targets: ArrayLike, weights: Floats) -> float:
    target = class_labels("targets", targets, (None,))
    predicted = class_labels("predictions", predictions, target.shape)
    classes = int(max(target.max(), predicted.max())) + 1
    of_target, of_predicted = (np.bincount(labels, weights, classes) for labels in (target, predicted))
    n, right = float(weights.sum()), float((predicted == target) @ weights)
    spread = (n * n - of_predicted @ of_predicted) * (n * n - of_target @ of_target)
    return float((right * n - of_predicted @ of_target) / np.sqrt(spread)) if spread else 0.0


def _f1(predictions: ArrayLike, targets: ArrayLike, weights: Floats) -> float:
    target = class_labels("targets", targets, (None,), below=2)
    predicted = class_labels("predictions", predictions, target.shape, below=2)
    found, either = float(predicted * target @ weights), float((predicted + target) @ weights)
    return 2 * found / either if either else 0.0


def _accuracy_f1(predictions: ArrayLike, targets: ArrayLike, weights: Floats) -> float:
    return (_accuracy(predictions, targets, weights) + _f1(predictions, targets, weights)) / 2


def _pearson_spearman(predictions: ArrayLike, targets: ArrayLike, weights: Floats) -> float:
    target = finite("targets", targets, (None,))
    predicted = finite("predictions", predictions, target.shape)
    here = weights > 0
    x, y, w = predicted[here], target[here], weights[here]
    return (_correlation(x, y, w) + _correlation(_ranks(x, w), _ranks(y, w), w)) / 2


def _correlation(a: Floats, b: Floats, weights: Floats) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:  # asked of the values: a rounded mean would leave a constant some variance
        return 0.0
    a, b = (x - x @ weights / weights.sum() for x in (a, b))
    return float(np.clip((a * weights) @ b / np.sqrt(((a * a) @ weights) * ((b * b) @ weights)), -1, 1))


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Ranks from 1, ties sharing their mean rank."""
    _, group = np.unique(values, return_inverse=True)
    sizes = np.bincount(group, weights)
    return (sizes.cumsum() - (sizes - 1) / 2)[group]


METRICS = {
    "accuracy": _accuracy,
    "mcc": _mcc,
    "f1": _f1,
    "accuracy_f1": _accuracy_f1,
    "pearson_spearman": _pearson_spearman,
}
"""Every metric by name; :func:`score` is the way in."""
