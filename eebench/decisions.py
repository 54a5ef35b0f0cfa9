"""Who stops: the decisions that exit rules make, and which rows of a batch are still under way. Arrays alone.

A decision is a function of what a rule observed at the exits so far and of the knob. Those in :data:`DECISIONS` are
data as well (``to_dict``, ``decision_of``): a deployed model carries its own as JSON, and what decides there is what
decided when it was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

__all__ = [
    "DECISIONS",
    "Above",
    "Agreement",
    "Below",
    "ConfidentStreak",
    "Decision",
    "EachAbove",
    "GateShare",
    "Step",
    "Survival",
    "Underway",
    "decision_of",
]

Columns = dict[str, Any]
"""Named numpy arrays with one row a sample."""

Step = Callable[[Columns, Columns, float], tuple[Any, Columns]]
"""``(state, seen, knob) → (stop (B,) bool, state)``, as ``eebench.api.ExitRule.step`` says."""


@dataclass(frozen=True)
class Decision:
    """One of the decisions of this module: called as a :data:`Step`."""

    kind: ClassVar[str]

    def __call__(self, state: Columns, seen: Columns, knob: float) -> tuple[Any, Columns]:
        """``(stop (B,) bool, state)`` for the rows still under way."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it; infinities are strings."""
        return {"kind": self.kind, **{name: _plain(value) for name, value in asdict(self).items()}}


@dataclass(frozen=True)
class Above(Decision):
    """Stop when an observation is strictly above the knob times ``sign``, 1 or -1."""

    kind = "above"
    of: str = "score"
    sign: int = 1

    def __call__(self, state: Columns, seen: Columns, knob: float) -> tuple[Any, Columns]:
        return seen[self.of] > self.sign * knob, state


@dataclass(frozen=True)
class Below(Decision):
    """Stop when an observation is strictly below the knob."""

    kind = "below"
    of: str = "score"

    def __call__(self, state: Columns, seen: Columns, knob: float) -> tuple[Any, Columns]:
        return seen[self.of] < knob, state


@dataclass(frozen=True)
class EachAbove(Decision):
    """Stop when an observation reaches its exit's own threshold plus the knob, compared in double precision."""

    kind = "each_above"
    thresholds: tuple[float, ...]
    of: str = "score"

    def __call__(self, state: Columns, seen: Columns, knob: float) -> tuple[Any, Columns]:
        score = seen[self.of]
        place = state["place"] + 1 if state else np.zeros(len(score), dtype=np.int64)
        return score.astype(np.float64) >= np.asarray(self.thresholds)[place] + knob, {"place": place}


@dataclass(frozen=True)
class Agreement(Decision):
    """Stop when the last ``knob`` comparisons of neighbouring exits all agreed: 0 stops at the first exit.

    Args:
        of: what exits say, a class or a value.
        tolerance: None where what they say must be equal, else how much less than this it may differ by.
    """

    kind = "agreement"
    of: str = "said"
    tolerance: float | None = None

    def __call__(self, state: Columns, seen: Columns, knob: float) -> tuple[Any, Columns]:
        said = seen[self.of]
        if not state:
            agreed = np.zeros(len(said), dtype=np.int64)  # nobody has been compared with anything yet
        elif self.tolerance is None:
            agreed = (state["agreed"] + 1) * (said == state["said"])
        else:
            agreed = (state["agreed"] + 1) * (abs(said - state["said"]) < self.tolerance)
        return agreed >= knob, {"agreed": agreed, "said": said}


@dataclass(frozen=True)
class ConfidentStreak(Decision):
    """Stop at the ``patience``-th exit in a row whose observation is strictly below the knob times ``scale``."""

    kind = "confident_streak"
    patience: int
    scale: float
    of: str = "entropy"

    def __call__(self, state: Columns, seen: Columns, knob: float) -> tuple[Any, Columns]:
        confident = (seen[self.of] < knob * self.scale) * (state["confident"] + 1 if state else 1)
        return confident >= self.patience, {"confident": confident}


@dataclass(frozen=True)
class Survival(Decision):
    """Stop where the probability of having stopped, 1 - the product of going on so far, exceeds the knob."""

    kind = "survival"
    of: str = "go_on"

    def __call__(self, state: Columns, seen: Columns, knob: float) -> tuple[Any, Columns]:
        survival = state["survival"] * seen[self.of] if state else seen[self.of]
        return survival < 1 - knob, {"survival": survival}


@dataclass(frozen=True)
class GateShare(Decision):
    """Stop where a gate g = sigmoid(observed log-odds + knob) claims half of what the gates before left.

    In terms of sums, 2 g_l + sum_{j<l} g_j >= 1.
    """

    kind = "gate_share"
    of: str = "logit"

    def __call__(self, state: Columns, seen: Columns, knob: float) -> tuple[Any, Columns]:
        gate = (1 + np.tanh((seen[self.of].astype(np.float64) + knob) / 2)) / 2  # the sigmoid, which cannot overflow
        spent = state["spent"] + gate if state else gate
        return spent + gate >= 1, {"spent": spent}


DECISIONS: dict[str, type[Decision]] = {
    cls.kind: cls for cls in (Above, Below, EachAbove, Agreement, ConfidentStreak, Survival, GateShare)
}
"""Decisions by what they are called in JSON."""


def decision_of(values: Mapping[str, Any]) -> Decision:
    """Back from :meth:`Decision.to_dict`.

    Raises:
        ValueError: no such kind, or not the fields that it has.
    """
    fields = {name: _valued(value) for name, value in values.items() if name != "kind"}
    cls = DECISIONS.get(values.get("kind", ""))
    if cls is None:
        raise ValueError(f"no decision is called {values.get('kind')!r}; there are {', '.join(DECISIONS)}")
    try:
        return cls(**fields)
    except TypeError as error:
        raise ValueError(f"decision '{cls.kind}': {error}") from None


class Underway:
    """Rows of a batch that have not stopped yet, as a rule decides exit after exit.

    Args:
        size: samples in the batch.
        step: what decides.
        knob: at which knob.
        wait: keep rows that stop in the batch until its last one stops.
    """

    def __init__(self, size: int, step: Step, knob: float, *, wait: bool = False) -> None:
        self.alive = np.arange(size)  # which sample each row of the batch is
        self.exits = np.full(size, -1)  # where each sample stopped, counted from 0; -1: it has not
        self.answered: list[np.ndarray] = []  # samples in the order in which they stopped
        self._step, self._knob, self._wait = step, knob, wait
        self._state: Columns = {}

    @property
    def done(self) -> bool:
        """Whether everyone has stopped."""
        return bool((self.exits >= 0).all())

    @property
    def order(self) -> np.ndarray:
        """(B,) int64: where each sample's answer lies among the answers, once everyone has stopped."""
        return np.concatenate(self.answered).argsort()

    def decide(self, exit: int, seen: Columns | None) -> np.ndarray:
        """Which rows stop here, (n,) bool.

        Args:
            exit: counted from 0.
            seen: what the rule observed; None at the last exit, where everyone stops.
        """
        if seen is None:
            stop = np.ones(len(self.alive), dtype=bool)
        else:
            stop, self._state = self._step(self._state, seen, self._knob)
        if self._wait:
            stop = stop & (self.exits < 0)
        if stop.any():
            self.answered.append(self.alive[stop])
            self.exits[self.alive[stop]] = exit
        return stop

    def leave(self, stop: np.ndarray) -> np.ndarray | None:
        """Rows that stopped leave; the places (int64) of those that go on, None where all do."""
        if self._wait or not stop.any():
            return None
        self.alive = self.alive[~stop]
        self._state = {name: column[~stop] for name, column in self._state.items()}
        return np.flatnonzero(~stop)


def _plain(value: Any) -> Any:
    """Numbers as JSON has them, infinities as strings."""
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def _valued(value: Any) -> Any:
    """Back from :func:`_plain`."""
    if isinstance(value, list):
        return tuple(float(each) for each in value)
    return value
