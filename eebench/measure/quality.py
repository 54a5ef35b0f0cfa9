"""Task metrics by name, in plain numpy so that a replayed curve of a thousand points costs milliseconds.

The names are those of GLUE (Wang et al., 2019, 1804.07461, table 1): CoLA is scored by ``mcc``, MRPC and QQP by
``accuracy_f1``, STS-B by ``pearson_spearman``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, Ints, Mask, class_labels, finite

__all__ = ["METRICS", "per_sample_correct", "resampled_scores", "score"]


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

    >>> score("accuracy", [0, 1, 1, 2], [0, 1, 2, 2])
    0.75

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
    samples = len(np.atleast_1d(targets))
    once = np.ones((1, samples), np.int64) if counts is None else np.asarray(counts)[None]
    return float(resampled_scores(metric, predictions, targets, once)[0])


def resampled_scores(metric: str, predictions: ArrayLike, targets: ArrayLike, counts: ArrayLike) -> Floats:
    """The metric on many resamples at once.

    Args:
        metric: one of :data:`METRICS`.
        predictions: as for :func:`score`.
        targets: as for :func:`score`.
        counts: (R, N) int, how often each sample counts in each resample.

    Returns:
        (R,) scores.

    Raises:
        ValueError: as :func:`score`.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
    weights = class_labels("counts", counts, (None, len(np.atleast_1d(targets)))).astype(float)
    if not weights.any(1).all():
        raise ValueError("counts are all 0")
    return METRICS[metric](predictions, targets, weights)


def _accuracy(predictions: ArrayLike, targets: ArrayLike, weights: Floats) -> Floats:
    target = class_labels("targets", targets, (None,))
    return weights @ (class_labels("predictions", predictions, target.shape) == target) / weights.sum(1)


def _mcc(predictions: ArrayLike, targets: ArrayLike, weights: Floats) -> Floats:
    target = class_labels("targets", targets, (None,))
    predicted = class_labels("predictions", predictions, target.shape)
    classes = int(max(target.max(), predicted.max())) + 1
    of_target, of_predicted = (_sums(labels, classes, weights) for labels in (target, predicted))
    n, right = weights.sum(1), weights @ (predicted == target)
    spread = (n * n - (of_predicted**2).sum(1)) * (n * n - (of_target**2).sum(1))
    return _ratio(right * n - (of_predicted * of_target).sum(1), np.sqrt(spread))


def _f1(predictions: ArrayLike, targets: ArrayLike, weights: Floats) -> Floats:
    target = class_labels("targets", targets, (None,), below=2)
    predicted = class_labels("predictions", predictions, target.shape, below=2)
    return _ratio(2 * (weights @ (predicted * target)), weights @ (predicted + target))


def _accuracy_f1(predictions: ArrayLike, targets: ArrayLike, weights: Floats) -> Floats:
    return (_accuracy(predictions, targets, weights) + _f1(predictions, targets, weights)) / 2


def _pearson_spearman(predictions: ArrayLike, targets: ArrayLike, weights: Floats) -> Floats:
    target = finite("targets", targets, (None,))
    predicted = finite("predictions", predictions, target.shape)
    varied = _varies(predicted, weights) & _varies(target, weights)
    pearson = _correlation(predicted[None], target[None], weights)
    spearman = _correlation(_ranks(predicted, weights), _ranks(target, weights), weights)
    return np.where(varied, (pearson + spearman) / 2, 0.0)


def _varies(values: Floats, weights: Floats) -> Mask:
    """Whether the drawn values differ, asked of the values: a rounded mean would leave a constant some variance."""
    here = weights > 0
    return np.where(here, values, -np.inf).max(1) > np.where(here, values, np.inf).min(1)


def _correlation(a: Floats, b: Floats, weights: Floats) -> Floats:
    total = weights.sum(1, keepdims=True)
    a, b = (x - (x * weights).sum(1, keepdims=True) / total for x in (a, b))
    spread = np.sqrt((a * a * weights).sum(1) * (b * b * weights).sum(1))
    return np.clip(_ratio((a * weights * b).sum(1), spread), -1, 1)


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Ranks from 1 in each resample, ties sharing their mean rank: (R, N)."""
    distinct, group = np.unique(values, return_inverse=True)
    sizes = _sums(group, len(distinct), weights)
    return (sizes.cumsum(1) - (sizes - 1) / 2)[:, group]


def _sums(labels: Ints, count: int, weights: Floats) -> Floats:
    """Sum of each resample's weights over every label from 0: (R, N) -> (R, count)."""
    order = np.argsort(labels, kind="stable")
    edges = np.searchsorted(labels[order], np.arange(count + 1))
    running = np.concatenate([np.zeros((len(weights), 1)), weights[:, order].cumsum(1)], 1)  # whole numbers: exact
    return np.diff(running[:, edges], axis=1)


def _ratio(above: Floats, below: Floats) -> Floats:
    """Their ratio, 0 where it is 0/0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


METRICS = {
    "accuracy": _accuracy,
    "mcc": _mcc,
    "f1": _f1,
    "accuracy_f1": _accuracy_f1,
    "pearson_spearman": _pearson_spearman,
}
"""Every metric by name; :func:`score` is the way in."""
