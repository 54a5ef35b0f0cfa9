"""Executors: who makes a plan's jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from eebench.runs.maker import Maker
from eebench.runs.plan import Job, Made, Outcomes, Undone, lacking

__all__ = ["Executor", "InProcess"]

Told = Callable[[Job, Made | Undone], None]


class Executor(Protocol):
    """Makes what is missing of a plan."""

    def execute(self, plan: Sequence[Job], told: Told) -> Outcomes:
        """Do every job that can be done.

        Args:
            plan: the jobs, each behind those it needs.
            told: hears what became of a job, in the order in which they end.

        Returns:
            What became of each, by its key, in the order of the plan.
        """


class InProcess:
    """One job after another, in this very process."""

    def __init__(self, maker: Maker) -> None:
        self.maker = maker

    def execute(self, plan: Sequence[Job], told: Told) -> Outcomes:
        outcomes: dict[str, Made | Undone] = {}
        for job in plan:
            failed = lacking(job, outcomes)
            outcomes[job.key] = failed[0] if failed else self.maker.make(job, outcomes)
            told(job, outcomes[job.key])
        return outcomes
