"""Operating points: a knob chosen on validation data, for a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eebench.measure import choice, drops
from eebench.runs.score import Point
from eebench.targets import DROPS, SHARES, Target

__all__ = ["Choice", "Chooser", "default_targets"]

CHANGED = 0.04
"""Share of answers that a default drop target lets a rule change, as many mended as spoilt: what a rule near one point
lost usually does."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which candidate was chosen, and how well validation data vouch for it."""

    index: int
    met: bool
    drop: float  # of the validation score against the plain backbone
    upper: float  # its one-sided upper confidence bound; the drop itself under ``naive``


class Chooser:
    """Chooses among a model's points on validation data.

    Args:
        plain: the plain backbone's point on validation data.
        how: ``upper`` judges a drop by its upper confidence bound, ``naive`` by the drop seen.
        level: of that bound, one-sided.
        ms: estimated milliseconds a sample of a point at batch 1; needed for targets in milliseconds.
    """

    def __init__(
        self,
        plain: Point,
        how: Literal["upper", "naive"] = "upper",
        level: float = 0.9,
        ms: Callable[[Point], float] | None = None,
    ) -> None:
        self.plain, self.how, self.level, self.ms = plain, how, level, ms

    def choose(self, target: Target, points: Sequence[Point]) -> Choice:
        """Choose one of some points.

        A drop: from the dearest downwards, the last before the first whose bound exceeds the target (under ``naive``
        the cheapest whose drop does not); where none fits, the best score. A cost: the best score within the cost;
        where none fits, the cheapest.
        """
        score = np.array([p.row["score"] for p in points])
        gmacs = np.array([p.row["gmacs"] for p in points])
        drop = float(self.plain.row["score"]) - score
        if target.kind == "drop":
            upper = self.upper(points)
            bounds = None if self.how == "naive" else upper
            found = choice.choose_within_drop(gmacs, drop, target.value / 100, bounds)
            return Choice(found.index, found.met, float(drop[found.index]), float(upper[found.index]))
        if target.kind == "macs":
            cost, most = gmacs, target.value / 100 * float(self.plain.row["gmacs"])
        else:
            cost, most = np.array([self._ms(p) for p in points]), target.value
        found = choice.choose_within_budget(cost, score, most)
        upper = self.upper([points[found.index]])
        return Choice(found.index, found.met, float(drop[found.index]), float(upper[0]))

    def upper(self, points: Sequence[Point]) -> np.ndarray:
        """Upper bound of each point's validation drop, (P,); the drop itself under ``naive``."""
        if self.how == "naive":
            return float(self.plain.row["score"]) - np.array([p.row["score"] for p in points])
        of = self.plain.of
        answers = np.stack([p.predictions for p in points], 1)
        return drops.score_drop_upper_bounds(
            of.task.metric, self.plain.predictions, answers, of.trace.targets, self.level
        )

    def _ms(self, point: Point) -> float:
        if self.ms is None:
            raise ValueError("a target in milliseconds needs measured latencies")
        return self.ms(point)


def default_targets(samples: int, level: float) -> tuple[str, ...]:
    """Targets of a run that names none: first the smallest of the default drops that its validation data can certify.

    Args:
        samples: validation samples.
        level: of the upper bound that a drop is judged by.

    Returns:
        Names, the headline's first.
    """
    least = 100 * drops.smallest_resolvable(samples, level, CHANGED)
    drop = next((drop for drop in DROPS if drop >= least), DROPS[-1])
    return (Target("drop", drop).name, *SHARES)
