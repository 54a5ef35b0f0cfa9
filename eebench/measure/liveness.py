"""Has an exit learnt anything? One that has not anchors no comparison and stars nowhere.

An exit that answers one class whatever it sees scores the majority class's share, and a low-cost point of that kind
looks like a bargain. The bound asks for more than luck: an exit counts as live when so many right answers would be
improbable for an exit of no skill.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure import quality
from eebench.measure._arrays import Mask, class_labels, finite, flags
from eebench.measure.statistics import resampled_counts

__all__ = ["constant_answer", "live_exits", "live_regression", "live_scores"]

LEVEL = 0.99
DRAWS = 1000


def live_exits(correct: ArrayLike, targets: ArrayLike, level: float = LEVEL) -> Mask:
    """Which exits are clearly better than always answering the most frequent class.

    One-sided exact binomial test of "right as often as the majority class's share", each exit by itself.

    >>> import numpy as np
    >>> targets = np.array([0] * 60 + [1] * 40)
    >>> live_exits(np.stack([targets == 0, np.ones(100, bool)], 1), targets).tolist()
    [False, True]

    Args:
        correct: (N, E) bool, whether each exit is right on each validation sample.
        targets: (N,) their classes.
        level: confidence of the bound, in (0, 1).

    Returns:
        (E,) bool.

    Raises:
        ValueError: wrong shapes, empty input or a level outside (0, 1).
    """
    from scipy.stats import binom

    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, not {level}")
    right = flags("correct", correct, (None, None))
    labels = class_labels("targets", targets, right.shape[:1])
    majority = np.bincount(labels).max() / len(labels)
    found: Mask = binom.sf(right.sum(0) - 1, len(labels), majority) <= 1 - level
    return found


def live_scores(metric: str, predictions: ArrayLike, targets: ArrayLike, level: float = LEVEL, seed: int = 0) -> Mask:
    """Which exits score clearly better than the best constant answer, by a metric that is no mean over samples.

    The ``1 - level`` quantile of the paired bootstrap of the difference must lie above 0. For ``accuracy``, where an
    exact test exists, see :func:`live_exits`.

    >>> import numpy as np
    >>> targets = np.array([0, 1] * 50)
    >>> live_scores("f1", np.stack([np.ones(100, int), targets], 1), targets).tolist()  # always 1 has an F1 of 0.67
    [False, True]

    Args:
        metric: ``mcc``, ``f1``, ``accuracy_f1`` or ``accuracy``.
        predictions: (N, E) classes each exit predicts on validation data.
        targets: (N,) their classes.
        level: confidence of the bound, in (0, 1).
        seed: of the resampling.

    Returns:
        (E,) bool.

    Raises:
        ValueError: as :func:`eebench.measure.score`, or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, not {level}")
    answers, labels = np.asarray(predictions), class_labels("targets", targets, (None,))
    if answers.ndim != 2 or len(answers) != len(labels):
        raise ValueError(f"predictions must have shape ({len(labels)}, n), not {answers.shape}")
    counts = resampled_counts(np.random.default_rng(seed), DRAWS, len(labels))
    constant = np.full(len(labels), constant_answer(metric, labels))
    before = quality.resampled_scores(metric, constant, labels, counts)
    gains = np.stack([quality.resampled_scores(metric, column, labels, counts) - before for column in answers.T], 1)
    found: Mask = np.quantile(gains, 1 - level, axis=0) > 0
    return found


def constant_answer(metric: str, targets: ArrayLike) -> int:
    """The class that scores best when it is always answered, of those that occur; the smallest of equals.

    Args:
        metric: a metric of classes.
        targets: (N,) classes.

    Raises:
        ValueError: as :func:`eebench.measure.score`.
    """
    labels = class_labels("targets", targets, (None,))
    classes = np.unique(labels)
    scores = [quality.score(metric, np.full(len(labels), k), labels) for k in classes]
    return int(classes[int(np.argmax(scores))])


def live_regression(predictions: ArrayLike, targets: ArrayLike, level: float = LEVEL, seed: int = 0) -> Mask:
    """Which exits are clearly better than always predicting the mean: their mean squared error is lower.

    The ``1 - level`` quantile of the bootstrap of the mean difference of squared errors must lie above 0.

    Args:
        predictions: (N, E) values each exit predicts on validation data.
        targets: (N,).
        level: confidence of the bound, in (0, 1).
        seed: of the resampling.

    Returns:
        (E,) bool.

    Raises:
        ValueError: wrong shapes, empty input, NaN or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, not {level}")
    values = finite("predictions", predictions, (None, None))
    truth = finite("targets", targets, values.shape[:1])
    gain = (truth - truth.mean())[:, None] ** 2 - (values - truth[:, None]) ** 2
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(truth), np.full(len(truth), 1 / len(truth)), DRAWS)
    return np.quantile(counts @ gain / len(truth), 1 - level, axis=0) > 0
