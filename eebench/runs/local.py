"""Worker processes on this machine: one by default, alive for many jobs and replaced only when it dies."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any

from eebench.engine.requests import requests
from eebench.progress import Reporter
from eebench.runs.hand import Hand, tail
from eebench.runs.plan import Busy, Job, Made, Outcomes, Undone
from eebench.runs.questions import Clock, Question
from eebench.runs.schedule import Began, Schedule, Told
from eebench.runs.talk import Ask, Begin, Make, Setup

__all__ = ["Local"]

PULSE = 0.2  # seconds between two looks at the workers
LAST_WORDS = 10.0  # seconds to write a checkpoint for whoever took too long


class Local:
    """Jobs in worker processes.

    Use it as a context manager: its workers end with the block, having written a checkpoint where they train, whatever
    ends it. What a job does to its process, it does to its worker:
    that one fails alone, another worker goes on.

    Args:
        setup: what the run is about; the first worker starts at once.
        reporter: hears what workers say.
        workers: how many at a time.
        timeout: seconds that a job may take; None: for ever.
        environments: variables of each worker that are other than this process's.
    """

    def __init__(
        self,
        setup: Setup,
        reporter: Reporter,
        *,
        workers: int = 1,
        timeout: float | None = None,
        environments: Sequence[dict[str, str]] = (),
    ) -> None:
        self.setup, self.reporter, self.timeout = setup, reporter, timeout
        self.environments = list(environments) or [{}] * workers
        self.hands: list[Hand | None] = [None] * workers
        self.hands[0] = self._hand(0)

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stop()
        finally:
            for hand in self.hands:
                if hand is not None:
                    hand.close()

    def prepare(self) -> None:
        """Wait until the first worker has prepared the run: what it did is safe to do here then.

        Raises:
            UserError: it cannot be prepared, or a plugin ended the attempt.
        """
        assert self.hands[0] is not None
        self.hands[0].ready()

    def begin(self, begin: Begin, log: Callable[[Job], Path], free: Callable[[Busy], bool]) -> None:
        """Say where work goes, where the log of each job lies, and whether what another process was at is over."""
        self._begin, self._log, self._free = begin, log, free
        assert self.hands[0] is not None
        self.hands[0].begin(begin)

    def execute(self, plan: Sequence[Job], told: Told, began: Began, pulse: Callable[[], None]) -> Outcomes:
        """As every executor does."""
        schedule = Schedule(plan, told, self._free)
        while not schedule.over:
            for place in range(len(self.hands)):
                if self._at_work(place):
                    continue
                job = next(schedule.ready(), None)
                if job is None:
                    break
                began(job, self._give(place, Make(job, schedule.give(job), self._log(job))).pid)
            pulse()
            for task, outcome in self._ended():
                schedule.end(task.job, outcome)
        return schedule.outcomes

    def ask(self, question: Question) -> Any:
        """As every executor does."""
        self._give(0, Ask(question, self._log(question.job)))
        while True:
            for _, outcome in self._ended():
                return outcome

    def _hand(self, place: int) -> Hand:
        return Hand(self.setup, self.reporter, self.environments[place])

    def _give(self, place: int, task: Make | Ask) -> Hand:
        hand = self.hands[place]
        if hand is None:
            self.hands[place] = hand = self._hand(place)
            hand.begin(self._begin)
        hand.give(task)
        return hand

    def _ended(self) -> list[tuple[Make | Ask, Any]]:
        """Tasks that have ended since the last look, and with what; waits a moment."""
        busy = [hand.connection for hand in self._busy()]
        if busy:
            wait(busy, PULSE)
        else:  # another process is at all that could be made now
            time.sleep(PULSE)
        if requests.checkpoint:
            requests.checkpoint = False
            for each in self._busy():
                each.signal(signal.SIGUSR1)
        found = []
        for place, hand in enumerate(self.hands):
            if hand is None or hand.task is None:
                continue
            task = hand.task
            done = hand.hear()
            if done is not None:
                outcome = done.outcome
                if done.changed:
                    outcome = self._changed(task, outcome, done.changed)
                    self._drop(place, hand)
                found.append((task, outcome))
            elif (how := hand.gone()) is not None:
                self._drop(place, hand)
                found.append((task, Undone(f"its process ended: {how}", tail(task.log))))
            elif self._late(task, hand):
                self._drop(place, hand, LAST_WORDS)
                words = f"it took longer than --cell-timeout {self.timeout:g} s"
                found.append((task, Undone(words, tail(task.log))))
        return found

    def _late(self, task: Make | Ask, hand: Hand) -> bool:
        """A cell has so long; an answer is many small steps, each of which has."""
        if self.timeout is None:
            return False
        since = hand.since if isinstance(task, Make) else hand.heard
        return time.monotonic() - since > self.timeout * trials(task, self.setup)

    def _at_work(self, place: int) -> bool:
        hand = self.hands[place]
        return hand is not None and hand.task is not None

    def _busy(self) -> list[Hand]:
        return [hand for hand in self.hands if hand is not None and hand.task is not None]

    def _drop(self, place: int, hand: Hand, patience: float = 0.0) -> None:
        if patience:
            hand.signal(signal.SIGTERM)
            end = time.monotonic() + patience
            while hand.gone() is None and time.monotonic() < end:
                hand.hear()
                time.sleep(PULSE)
        hand.kill()
        self.hands[place] = None

    def _changed(self, task: Make | Ask, outcome: Any, changed: tuple[str, ...]) -> Any:
        """A plugin's code has changed this worker: a cell stands as it was made, an answer that does so does not."""
        words = f"{task.job.title}: its code changed {', '.join(changed)}"
        if isinstance(task, Ask) and not isinstance(task.question, Clock) and not isinstance(outcome, Undone):
            return Undone(f"while it answered, its code changed {', '.join(changed)}: others would be timed so too")
        self.reporter.say(f"{words}; another process goes on")
        if isinstance(outcome, Made):
            return Made(outcome.cell, (*outcome.notes, f"{words} while it was made"))
        return outcome

    def _stop(self) -> None:
        """Have every worker write what it has, and end."""
        for hand in self._busy():
            hand.signal(signal.SIGTERM)
        while any(hand.gone() is None for hand in self._busy()):
            for hand in self._busy():
                hand.hear()
            time.sleep(PULSE / 4)


def trials(task: Make | Ask, setup: Setup) -> int:
    """How many trainings a task is."""
    return (setup.spec.search or 1) if task.job.kind == "search" else 1
