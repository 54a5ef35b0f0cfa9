"""Exit rules several methods share. A method may use one of these, or bring its own ``ExitRule``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from eebench import decisions
from eebench.api import ExitOutput, ExitRule, Knob, Rows, entropy, top_probability
from eebench.decisions import Decision

__all__ = ["Above", "Below", "Confidence", "Decided", "Entropy", "Thresholds", "decisions", "quantile_grid"]


def quantile_grid(scores: Any, points: int = 100, digits: int = 5) -> list[float]:
    """Thresholds that part a validation split's scores (any shape) into equal shares, ascending, rounded, no repeats.

    Rounded to ``digits`` decimals because a threshold between two neighbouring floats would decide by rounding noise.
    """
    values = np.quantile(np.asarray(scores, dtype=np.float64), np.linspace(0, 1, points))
    return np.unique(values.round(digits)).tolist()


class Decided(ExitRule):
    """A rule whose decision is one of :mod:`eebench.decisions`: numpy alone, and data that a deployed model carries.

    A subclass sets ``decision`` and defines ``observe`` and ``grid``.
    """

    decision: Decision

    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        """What the decision says."""
        return self.decision(state, seen, knob)


class Above(Decided):
    """Stop when a score of the exit's output is strictly above the knob.

    Args:
        score: output → (B,) score.
        knob: the knob; ``never`` must be at or above, ``always`` below every possible score.
    """

    decision: Decision = decisions.Above()

    def __init__(self, score: Callable[[ExitOutput], Tensor], knob: Knob) -> None:
        self.score = score
        self.knob = knob

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """The score."""
        return {"score": self.score(output)}

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """Quantiles of the validation scores, the extremes included."""
        ends = [k for k in (self.knob.always, self.knob.never) if k is not None]
        return sorted({*quantile_grid(seen["score"]), *ends})


class Below(Above):
    """Stop when a score is strictly below the knob (entropy, uncertainty)."""

    decision = decisions.Below()


class Confidence(Above):
    """Stop when the largest softmax probability is above the threshold (strict, one threshold for all exits)."""

    def __init__(self) -> None:
        super().__init__(_of_logits(top_probability), Knob("threshold", never=1.0, always=-1.0))


class Entropy(Below):
    """Stop when the entropy of the softmax, in nats, is below the threshold (BranchyNet, ICPR 2016, Fig. 2)."""

    def __init__(self) -> None:
        super().__init__(_of_logits(entropy), Knob("threshold", never=-1.0, always=100.0))


class Thresholds(Decided):
    """Stop when a score reaches its exit's own threshold, as MSDNet's budgeted batches do (ICLR 2018, section 5).

    The vector of thresholds is fixed; the knob, 0 for these very thresholds, shifts them all.

    Args:
        thresholds: one an exit before the last, in their order; infinity where nobody stops.
        score: output → (B,) score; the largest softmax probability when not given.

    Raises:
        ValueError: no threshold, or one that is not a number.
    """

    def __init__(self, thresholds: Sequence[float], score: Callable[[ExitOutput], Tensor] | None = None) -> None:
        self.thresholds = np.asarray(thresholds, dtype=np.float64)
        if self.thresholds.ndim != 1 or not self.thresholds.size or np.isnan(self.thresholds).any():
            raise ValueError(f"thresholds must be numbers, one an exit before the last, not {thresholds!r}")
        self.decision = decisions.EachAbove(tuple(self.thresholds.tolist()))
        self.score = score or _of_logits(top_probability)
        self.knob = Knob("shift", never=1e9, always=-1e9 if self.thresholds[0] < np.inf else None)

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """The score."""
        if exit >= len(self.thresholds):
            raise ValueError(f"{len(self.thresholds)} thresholds, but there are more exits before the last")
        return {"score": self.score(output)}

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """Quantiles of how far the validation scores are above their thresholds, 0 and the extremes."""
        above = np.asarray(seen["score"], dtype=np.float64) - self.thresholds
        finite = above[np.isfinite(above)]
        ends = [k for k in (self.knob.always, self.knob.never) if k is not None]
        return sorted({*(quantile_grid(finite) if finite.size else []), 0.0, *ends})


def _of_logits(score: Callable[[Tensor], Tensor]) -> Callable[[ExitOutput], Tensor]:
    """A score of an exit's logits as a score of its output."""

    def of(output: ExitOutput) -> Tensor:
        if output.logits is None:
            raise ValueError("this rule reads logits, and the exit puts its own off until a sample stops")
        return score(output.logits)

    return of
