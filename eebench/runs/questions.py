"""What is asked of finished cells where methods' own code has to answer: what they say, elsewhere too, and how fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from eebench.runs.cell import Cell
    from eebench.runs.models import Model
    from eebench.runs.plan import Job
    from eebench.timing.times import Times

__all__ = ["Beyond", "Clock", "Clocked", "Question", "Read"]


@dataclass(frozen=True)
class Read:
    """Score a method's finished cell, and compare live inference with the replay. Answer: a ``MethodRead``."""

    job: Job
    cell: Cell
    base: Cell  # the plain backbone's


@dataclass(frozen=True)
class Beyond:
    """Read a model's operating points on other inputs than the test split's. Answer: rows of the table ``what``."""

    job: Job
    what: Literal["shift", "slowdown"]
    model: Model  # without its method, which whoever answers has
    plain: Model


@dataclass(frozen=True)
class Clock:
    """Time a seed's models, and read the energy that they take if that is asked for. Answer: a ``Clocked``."""

    job: Job
    models: tuple[Model, ...]  # without their methods, the plain backbone first
    pointer: Path  # a file that names whoever runs, for the case that the process ends
    runtimes: tuple[str, ...]  # to time in


@dataclass(frozen=True)
class Clocked:
    """What the clock and the meter said."""

    times: Times
    energy: list[dict[str, Any]] = field(default_factory=list)
    notes: tuple[str, ...] = ()  # what a reader of the record must know


Question = Read | Beyond | Clock
