"""Executors: who makes a plan's jobs and answers for methods' cells, the two things in which a method's code runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from eebench.progress import Reporter
from eebench.runs.answers import Answers
from eebench.runs.maker import Maker
from eebench.runs.plan import Job, Outcomes, Undone
from eebench.runs.prepare import Prepared
from eebench.runs.questions import Question
from eebench.runs.schedule import Began, Schedule, Told
from eebench.runs.store import Store
from eebench.runs.together import Free

__all__ = ["Executor", "InProcess", "Without"]

PULSE = 0.2  # seconds between two looks at what others do


class Executor(Protocol):
    """Makes what is missing of a plan, and answers for what is made."""

    def execute(self, plan: Sequence[Job], told: Told, began: Began, pulse: Callable[[], None]) -> Outcomes:
        """Do every job that can be done.

        Args:
            plan: the jobs, each behind those it needs.
            told: hears what became of a job, in the order in which they end; and that another process is at one.
            began: hears what is begun, and in which process.
            pulse: called every now and then, where there is time for it.

        Returns:
            What became of each, by its key, in the order of the plan.
        """

    def ask(self, question: Question) -> Any:
        """Ask about finished cells; the answer that the question's class names, or an ``Undone``."""


class InProcess:
    """One job after another, in this very process: for debugging, and for what cannot be sent to another one."""

    def __init__(self, prepared: Prepared, store: Store, reporter: Reporter, *, force: bool = False) -> None:
        self.maker = Maker(prepared, store, reporter, force=force)
        self.free = Free(store.leases)
        self.ask = Answers(prepared, store, reporter).to

    def execute(self, plan: Sequence[Job], told: Told, began: Began, pulse: Callable[[], None]) -> Outcomes:
        """As every executor does."""
        schedule = Schedule(plan, told, self.free)
        while not schedule.over:
            job = next(schedule.ready(), None)
            pulse()
            if job is None:  # another process is at all that could be made now
                time.sleep(PULSE)
                continue
            began(job, os.getpid())
            schedule.end(job, self.maker.make(job, schedule.give(job)))
        return schedule.outcomes


class Without:
    """Another executor, spared what has failed elsewhere: a method's own error is not tried again.

    Args:
        executor: makes the rest.
        given_up: label, seed and reason of cells that failed.
    """

    def __init__(self, executor: Executor, given_up: Sequence[tuple[str, int, str]]) -> None:
        self.executor = executor
        self.reasons = {(label, seed): reason for label, seed, reason in given_up}
        self.ask = executor.ask

    def execute(self, plan: Sequence[Job], told: Told, began: Began, pulse: Callable[[], None]) -> Outcomes:
        """As every executor does."""
        spared: dict[str, Undone] = {}
        for job in plan:
            reason = None if job.kind == "search" else self.reasons.get((job.label, job.seed))
            if reason is not None:
                spared[job.key] = Undone(reason)
        for job in plan:  # a search that nothing is trained by any more
            users = [other for other in plan if job.key in other.needs]
            if job.kind == "search" and users and all(user.key in spared for user in users):
                spared[job.key] = spared[users[0].key]
        for job in plan:
            if job.key in spared:
                told(job, spared[job.key])
        done = self.executor.execute([job for job in plan if job.key not in spared], told, began, pulse)
        return {job.key: spared.get(job.key) or done[job.key] for job in plan}
