"""Conformal prediction sets under early exit: how many classes must be named to hold the truth 1 - alpha of the time?

Split conformal prediction with the LAC score ``s = 1 - p_y`` (Sadinle et al., 2019): the set is
``{c : 1 - p_c <= q}`` with q the ``ceil((n + 1)(1 - alpha))``-th smallest of the n calibration scores. When that rank
exceeds n there is no such score: q is infinite and the set holds every class, which covers by definition.

*general*: one q from deployed outputs. The whole early-exit pipeline is one predictor, so coverage holds over all
samples, though not exit by exit. *mondrian*: one q an exit, from the calibration samples that stopped there, so
coverage holds within each exit. (In JEI-DNN's code, networkslab/dynn ``src/conformal_eedn.py``, they are called
``general`` and ``gated_strict``. Its ``gated_all`` calibrates an exit on samples that never stop there: not valid.)

Both promises need calibration samples exchangeable with the test's: held out from training and not used to choose the
knob, the temperature or alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, Ints, Mask, class_labels, finite, fraction

__all__ = ["ConformalReport", "ExitSets", "conformal_general", "conformal_mondrian", "conformal_quantile", "lac_sets"]


@dataclass(frozen=True, slots=True)
class ExitSets:
    """The sets of the test samples that stopped at one exit."""

    exit: int
    n: int  # test samples here
    size: float  # mean classes a set; NaN when n is 0
    coverage: float  # share of sets that hold the true class; NaN when n is 0
    n_calibration: int  # calibration samples that stopped here
    quantile: float  # the score's quantile in force; infinity: every class
    fallback: bool  # too few calibration samples for a quantile of this exit's own


@dataclass(frozen=True, slots=True)
class ConformalReport:
    """Sets over a whole test split, and exit by exit."""

    alpha: float  # the miscoverage asked for
    n: int
    size: float  # mean classes a set
    coverage: float  # share of sets that hold the true class
    exits: tuple[ExitSets, ...]

    @property
    def fallback_exits(self) -> int:
        """Exits that had test samples but too few calibration samples for a quantile of their own."""
        return sum(e.fallback and e.n > 0 for e in self.exits)

    @property
    def fallback_samples(self) -> int:
        """Test samples whose set came from the fallback."""
        return sum(e.n for e in self.exits if e.fallback)


def conformal_quantile(scores: ArrayLike, alpha: float) -> float:
    """The finite-sample quantile: the ``ceil((n + 1)(1 - alpha))``-th smallest score, infinity when n is too small.

    n suffices from ``1/alpha - 1`` up. No interpolation: numpy's ``method="higher"`` at the level the rank stands for.

    Args:
        scores: (n,); n may be 0.
        alpha: miscoverage asked for, in (0, 1).

    Returns:
        The quantile, or infinity.

    Raises:
        ValueError: not one-dimensional, NaN, or alpha outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    if np.shape(scores) == (0,):
        return math.inf
    ordered = np.sort(finite("scores", scores, (None,)))
    rank = math.ceil((len(ordered) + 1) * (1 - alpha) - 1e-9)  # 1e-9: 100 * (1 - 0.42) must stay 58
    return float(ordered[rank - 1]) if rank <= len(ordered) else math.inf


def lac_sets(probabilities: ArrayLike, quantile: ArrayLike) -> Mask:
    """Which classes are in each sample's set, ``1 - p_c <= quantile``. May be empty where no class is likely enough.

    Args:
        probabilities: (N, K).
        quantile: one for all, or (N,).

    Returns:
        bool (N, K).

    Raises:
        ValueError: wrong shape, empty input or values outside [0, 1].
    """
    p = fraction("probabilities", probabilities, (None, None))
    return 1 - p <= np.broadcast_to(quantile, len(p))[:, None]


def conformal_general(
    calibration_probabilities: ArrayLike,
    calibration_targets: ArrayLike,
    probabilities: ArrayLike,
    targets: ArrayLike,
    exits: ArrayLike,
    alpha: float = 0.1,
) -> ConformalReport:
    """One quantile from the deployed outputs: coverage at least 1 - alpha over all samples, whatever the exit.

    Args:
        calibration_probabilities: (n, K), each calibration sample's probabilities at the exit it stopped at.
        calibration_targets: (n,) int in [0, K).
        probabilities: (N, K), the same of the test samples.
        targets: (N,) int in [0, K).
        exits: (N,) int, where each test sample stopped; used to report sizes and coverage by exit.
        alpha: miscoverage asked for.

    Returns:
        Sizes and coverage. An exit's ``n_calibration`` is n, the samples behind the one quantile.

    Raises:
        ValueError: wrong shapes, empty input, values or classes out of range.
    """
    scores = _scores("calibration_", calibration_probabilities, calibration_targets)
    stopped = class_labels("exits", exits, (None,))
    count = int(stopped.max()) + 1
    quantile = conformal_quantile(scores, alpha)
    short = math.isinf(quantile)
    return _report(probabilities, targets, stopped, [quantile] * count, [len(scores)] * count, [short] * count, alpha)


def conformal_mondrian(
    calibration_probabilities: ArrayLike,
    calibration_targets: ArrayLike,
    calibration_exits: ArrayLike,
    probabilities: ArrayLike,
    targets: ArrayLike,
    exits: ArrayLike,
    alpha: float = 0.1,
    fallback: str = "full",
) -> ConformalReport:
    """One quantile an exit, from the calibration samples that stopped there: coverage holds within each exit.

    An exit with fewer than ``1/alpha - 1`` calibration samples has no quantile of its own. ``fallback="full"`` names
    every class there and keeps the promise; ``fallback="general"`` uses the quantile of all calibration samples:
    smaller sets, and no promise for that exit. Either way the exit is marked and counted in the report.

    Args:
        calibration_probabilities: (n, K), each calibration sample's probabilities at the exit it stopped at.
        calibration_targets: (n,) int in [0, K).
        calibration_exits: (n,) int, where each stopped.
        probabilities: (N, K), the same of the test samples.
        targets: (N,) int in [0, K).
        exits: (N,) int, where each stopped.
        alpha: miscoverage asked for.
        fallback: ``full`` or ``general``.

    Returns:
        Sizes and coverage, overall and by exit.

    Raises:
        ValueError: wrong shapes, empty input, values or classes out of range, unknown fallback.
    """
    if fallback not in ("full", "general"):
        raise ValueError(f"fallback must be 'full' or 'general', not {fallback!r}")
    scores = _scores("calibration_", calibration_probabilities, calibration_targets)
    calibration_stopped = class_labels("calibration_exits", calibration_exits, scores.shape)
    stopped = class_labels("exits", exits, (None,))
    groups = [scores[calibration_stopped == e] for e in range(max(stopped.max(), calibration_stopped.max()) + 1)]
    quantiles = [conformal_quantile(group, alpha) for group in groups]
    short = [math.isinf(q) for q in quantiles]
    if fallback == "general":
        general = conformal_quantile(scores, alpha)
        quantiles = [general if missing else q for q, missing in zip(quantiles, short, strict=True)]
    return _report(probabilities, targets, stopped, quantiles, [len(g) for g in groups], short, alpha)


def _scores(prefix: str, probabilities: ArrayLike, targets: ArrayLike) -> Floats:
    p = fraction(f"{prefix}probabilities", probabilities, (None, None))
    target = class_labels(f"{prefix}targets", targets, p.shape[:1], below=p.shape[1])
    return 1 - p[np.arange(len(p)), target]


def _report(
    probabilities: ArrayLike,
    targets: ArrayLike,
    stopped: Ints,
    quantiles: list[float],
    calibrated: list[int],
    short: list[bool],
    alpha: float,
) -> ConformalReport:
    """Build the test sets and count them, exit by exit."""
    p = fraction("probabilities", probabilities, (len(stopped), None))
    target = class_labels("targets", targets, stopped.shape, below=p.shape[1])
    sets = lac_sets(p, np.asarray(quantiles)[stopped])
    sizes = sets.sum(1)
    covered = sets[np.arange(len(p)), target]
    exits = []
    for e, quantile in enumerate(quantiles):
        here = stopped == e
        size, coverage = (
            (float(sizes[here].mean()), float(covered[here].mean())) if here.any() else (math.nan, math.nan)
        )
        exits.append(ExitSets(e, int(here.sum()), size, coverage, calibrated[e], quantile, short[e]))
    return ConformalReport(alpha, len(p), float(sizes.mean()), float(covered.mean()), tuple(exits))
