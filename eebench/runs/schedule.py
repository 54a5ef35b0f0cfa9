"""Which job of a plan comes next, whoever makes them: behind those it needs, in the order of the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from eebench.runs.plan import Busy, Job, Made, Outcomes, Undone

__all__ = ["Began", "Schedule", "Told"]

Told = Callable[[Job, Made | Undone | Busy], None]
Began = Callable[[Job, int], None]


class Schedule:
    """The state of a plan while it is made.

    Args:
        plan: the jobs, each behind those it needs.
        told: hears what became of each, in the order in which they end.
        free: whether what another process was at is over.
    """

    def __init__(self, plan: Sequence[Job], told: Told, free: Callable[[Busy], bool] = lambda busy: True) -> None:
        self.plan, self.told, self.free = plan, told, free
        self._elsewhere: dict[str, Busy] = {}
        self._outcomes: dict[str, Made | Undone] = {}
        self._given: set[str] = set()

    def ready(self) -> Iterator[Job]:
        """Jobs that can be made now and that nobody has, in the order of the plan."""
        for job in self.plan:
            if job.key in self._given or not all(key in self._outcomes for key in job.needs):
                continue
            if job.key not in self._elsewhere or self.free(self._elsewhere[job.key]):
                yield job

    def give(self, job: Job) -> Outcomes:
        """Somebody takes a job: what became of those it needs."""
        self._given.add(job.key)
        return {key: self._outcomes[key] for key in job.needs}

    def end(self, job: Job, outcome: Made | Undone | Busy) -> None:
        """A job has ended; those that needed it have failed with it, when it has.

        One that another process is at is ready again when that is over: it is then found made, or is to be made here.
        """
        if isinstance(outcome, Busy):
            self._given.discard(job.key)
            self._elsewhere[job.key] = outcome
            self.told(job, outcome)
            return
        self._given.add(job.key)
        self._outcomes[job.key] = outcome
        self.told(job, outcome)
        if isinstance(outcome, Undone):
            for other in self.plan:
                if job.key in other.needs and other.key not in self._outcomes:
                    self.end(other, outcome)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return len(self._outcomes) == len(self.plan)

    @property
    def outcomes(self) -> Outcomes:
        """What became of each job, in the order of the plan."""
        return {job.key: self._outcomes[job.key] for job in self.plan if job.key in self._outcomes}
