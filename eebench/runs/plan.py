"""A run's plan: the cells it asks for, and which of them must be there before another can be made.

A graph, as a list in an order in which it can be made one by one. Of every seed: the plain backbone first; then, in any
order, the static models and the methods, which all start from it. With ``--search`` a method is searched for on the
first seed, and what is found trains it on every seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from eebench.schema import BACKBONE, static_label

if TYPE_CHECKING:
    from eebench.runs.cell import Cell
    from eebench.runs.prepare import Prepared

__all__ = ["Busy", "Job", "Made", "Outcomes", "Undone", "make_plan"]


@dataclass(frozen=True)
class Job:
    """One thing to make: a cell, or what a search finds for a method. Timings are asked for, and in no plan."""

    kind: Literal["backbone", "static", "search", "method", "timing"]
    label: str  # as in the record
    seed: int
    needs: tuple[str, ...] = ()  # keys of the jobs that come before it
    blocks: int = 0  # of a static model

    @property
    def key(self) -> str:
        """Its name in the plan."""
        return f"{self.kind} {self.label} seed {self.seed}"

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.label} seed {self.seed}" if self.kind != "search" else f"search for {self.label}"


@dataclass(frozen=True)
class Made:
    """A job that is done."""

    cell: Cell | None = None  # None: a search, whose trials lie in the run's folder
    notes: tuple[str, ...] = ()  # what a reader of the record must know


@dataclass(frozen=True)
class Undone:
    """A job that failed."""

    reason: str  # one line
    log: str = ""  # what there is to read about it
    error: BaseException | None = None  # where it was raised in this process
    storage: bool = False  # the disk failed, not the job: no other job would fare better


@dataclass(frozen=True)
class Busy:
    """A job that was not begun, because another process is at it, or at something that must not go on beside it."""

    lease: str  # to wait for
    host: str = ""  # of that process; nothing where it was over a moment ago
    pid: int | None = None


Outcomes = Mapping[str, Made | Undone]
"""What became of each job, by its key."""


def make_plan(prepared: Prepared) -> list[Job]:
    """The jobs of a run, each behind those it needs; methods that make no sense here have none."""
    spec, jobs = prepared.spec, []
    searched: dict[str, str] = {}
    for seed in spec.seeds:
        base = Job("backbone", BACKBONE, seed)
        jobs.append(base)
        for blocks in spec.static_blocks(prepared.depth):
            jobs.append(Job("static", static_label(blocks), seed, (base.key,), blocks))
        for chosen in prepared.methods:
            label = chosen.label
            if label in prepared.skips:
                continue
            if spec.search is not None and label not in searched:
                search = Job("search", label, seed, (base.key,))
                jobs.append(search)
                searched[label] = search.key
            needs = (base.key, searched[label]) if label in searched else (base.key,)
            jobs.append(Job("method", label, seed, needs))
    return jobs
