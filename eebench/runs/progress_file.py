"""How far a run is, in a file of its folder: written by whoever makes it, read by ``eebench status``. Nothing heavy."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from eebench.errors import UserError
from eebench.files import read_json, write_json

__all__ = ["HEARTBEAT", "Progress", "ProgressFile", "Step", "read_progress"]

NAME = "progress.json"
SHARDS = "progress-*-of-*.json"
RANK = ("waiting", "failed", "running", "done")
HEARTBEAT = 5.0  # seconds between two signs of life
PATIENCE = 60.0  # seconds without one, on another machine, after which a run is taken to be dead
State = Literal["waiting", "running", "done", "failed"]


@dataclass
class Step:
    """One job of a run."""

    title: str
    kind: str
    label: str
    seed: int
    state: State = "waiting"
    reused: bool = False
    reason: str | None = None
    pid: int | None = None  # of the process that makes it
    host: str | None = None  # of that process; None: the run's own
    log: str | None = None  # in the run's folder
    started: float | None = None  # seconds since the epoch
    ended: float | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took; None where it is not done, or was found finished."""
        if self.state != "done" or self.reused or self.started is None or self.ended is None:
            return None
        return self.ended - self.started


@dataclass
class Progress:
    """A run, as far as it is."""

    host: str
    pid: int
    workers: int  # 0: cells are made in that very process, which gives no sign of life meanwhile
    beat: float  # the last sign of life, seconds since the epoch
    stage: Literal["making", "reading", "over"]  # cells are made, then read and timed; over, one way or another
    steps: list[Step]

    def count(self, state: State) -> int:
        """Jobs in a state."""
        return sum(step.state == state for step in self.steps)

    def gone(self, now: float) -> bool:
        """Whether whoever makes the run is no more, as far as can be seen from here."""
        if self.stage == "over":
            return False
        if self.host == os.uname().nodename:
            return not _alive(self.pid)
        return bool(self.workers) and self.stage == "making" and now - self.beat > PATIENCE

    def remaining(self, now: float) -> float | None:
        """Seconds until every job is done, from jobs alike: of that label, else of that kind, else all.

        What was found finished says nothing of how long a job takes. None while no job has been made.
        """
        left = 0.0
        for step in self.steps:
            if step.state not in ("waiting", "running"):
                continue
            usual = self._usual(step)
            if usual is None:
                return None
            spent = now - step.started if step.state == "running" and step.started is not None else 0.0
            left += max(0.0, usual - spent)
        return left / max(1, self.workers)

    def _usual(self, step: Step) -> float | None:
        for alike in (
            [s for s in self.steps if (s.kind, s.label) == (step.kind, step.label)],
            [s for s in self.steps if s.kind == step.kind],
            self.steps,
        ):
            known = [s.seconds for s in alike if s.seconds is not None]
            if known:
                return sum(known) / len(known)
        return None


class ProgressFile:
    """Keeps the file of a run that goes on.

    Args:
        run: the run's folder.
        steps: its jobs.
        workers: how many at a time.
        part: which shard of how many; it has a file of its own.
    """

    def __init__(self, run: Path, steps: Iterable[Step], workers: int, part: tuple[int, int] | None = None) -> None:
        self.path = run / (NAME if part is None else f"progress-{part[0]}-of-{part[1]}.json")
        if part is None:  # whoever makes everything sees what the shards have made
            for other in run.glob(SHARDS):
                other.unlink(missing_ok=True)
        self.progress = Progress(os.uname().nodename, os.getpid(), workers, 0.0, "making", list(steps))
        self._steps = {(step.kind, step.label, step.seed): step for step in self.progress.steps}
        self._write()

    def began(self, key: tuple[str, str, int], pid: int, log: str | None) -> None:
        """A job has begun."""
        step = self._steps[key]
        step.state, step.pid, step.log, step.started = "running", pid, log, time.time()
        step.host = None
        self._write()

    def elsewhere(self, key: tuple[str, str, int], host: str, pid: int) -> None:
        """Another run's process is at a job."""
        step = self._steps[key]
        step.state, step.host, step.pid, step.started = "running", host, pid, time.time()
        self._write()

    def ended(self, key: tuple[str, str, int], *, reused: bool, reason: str | None) -> None:
        """A job has ended; with a reason it has failed."""
        step = self._steps[key]
        step.state, step.reused, step.reason = "done" if reason is None else "failed", reused, reason
        step.pid, step.host, step.ended = None, None, time.time()
        self._write()

    def beat(self) -> None:
        """A sign of life, now and then."""
        if time.time() - self.progress.beat > HEARTBEAT:
            self._write()

    def reading(self) -> None:
        """Every cell is made; nothing is written any more until the run is over, for its clocks' sake."""
        self.progress.stage = "reading"
        self._write()

    def close(self) -> None:
        """The run ends, one way or another."""
        self.progress.stage = "over"
        for step in self.progress.steps:
            if step.state == "running":
                step.state, step.pid, step.host, step.started = "waiting", None, None, None
        self._write()

    def _write(self) -> None:
        self.progress.beat = time.time()
        with suppress(OSError):  # a full disk is the cells' matter, not this file's
            write_json(self.path, asdict(self.progress))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def read_progress(run: Path) -> Progress:
    """How far a run is.

    Raises:
        UserError: no such run, or one that was made without this file.
    """
    shards = sorted(run.glob(SHARDS))
    if not (run / NAME).is_file() and not shards:
        raise UserError(f"{run} does not say how far it is: no {NAME} there")
    found = [_read(path) for path in [*([run / NAME] if (run / NAME).is_file() else []), *shards]]
    return found[0] if len(found) == 1 else _together(found)


def _read(path: Path) -> Progress:
    try:
        values: dict[str, Any] = read_json(path)
        steps = [Step(**step) for step in values.pop("steps")]
        return Progress(**values, steps=steps)
    except (TypeError, KeyError, AttributeError):
        raise UserError(f"{path} is damaged") from None


def _together(parts: list[Progress]) -> Progress:
    """What several processes of one run say: of each job, the furthest that one of them has seen it."""
    now = time.time()
    going = [part for part in parts if part.stage != "over" and not part.gone(now)]
    steps: dict[tuple[str, str, int], Step] = {}
    for part in parts:
        for step in part.steps:
            known = steps.setdefault((step.kind, step.label, step.seed), step)
            if RANK.index(step.state) > RANK.index(known.state):
                steps[step.kind, step.label, step.seed] = step
            if step.state == "running" and step.host is None:
                step.host = part.host
    head = (going or parts)[0]
    workers = sum(part.workers for part in going)
    return Progress(head.host, head.pid, workers or head.workers, head.beat, head.stage, list(steps.values()))
