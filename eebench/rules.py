"""Exit rules several methods share. A method may use one of these, or bring its own ``ExitRule``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from eebench.api import ExitOutput, ExitRule, Knob, Rows, entropy, top_probability

__all__ = ["Above", "Below", "Confidence", "Entropy", "quantile_grid"]


def quantile_grid(scores: Any, points: int = 100, digits: int = 5) -> list[float]:
    """Thresholds that part a validation split's scores (any shape) into equal shares, ascending, rounded, no repeats.

    Rounded to ``digits`` decimals because a threshold between two neighbouring floats would decide by rounding noise.
    """
    values = np.quantile(np.asarray(scores, dtype=np.float64), np.linspace(0, 1, points))
    return np.unique(values.round(digits)).tolist()


class Above(ExitRule):
    """Stop when a score of the exit's output is strictly above the knob.

    Args:
        score: output → (B,) score.
        knob: the knob; ``never`` must be at or above, ``always`` below every possible score.
    """

    def __init__(self, score: Callable[[ExitOutput], Tensor], knob: Knob) -> None:
        self.score = score
        self.knob = knob

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """The score."""
        return {"score": self.score(output)}

    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        """``score > knob``."""
        return seen["score"] > knob, state

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """Quantiles of the validation scores, the extremes included."""
        ends = [k for k in (self.knob.always, self.knob.never) if k is not None]
        return sorted({*quantile_grid(seen["score"]), *ends})


class Below(Above):
    """Stop when a score is strictly below the knob (entropy, uncertainty)."""

    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        """``score < knob``."""
        return seen["score"] < knob, state


class Confidence(Above):
    """Stop when the largest softmax probability is above the threshold (strict, one threshold for all exits)."""

    def __init__(self) -> None:
        super().__init__(_of_logits(top_probability), Knob("threshold", never=1.0, always=-1.0))


class Entropy(Below):
    """Stop when the entropy of the softmax, in nats, is below the threshold (BranchyNet, ICPR 2016, Fig. 2)."""

    def __init__(self) -> None:
        super().__init__(_of_logits(entropy), Knob("threshold", never=-1.0, always=100.0))


def _of_logits(score: Callable[[Tensor], Tensor]) -> Callable[[ExitOutput], Tensor]:
    """A score of an exit's logits as a score of its output."""

    def of(output: ExitOutput) -> Tensor:
        assert output.logits is not None, "this rule reads logits, and the exit puts its own off"
        return score(output.logits)

    return of
