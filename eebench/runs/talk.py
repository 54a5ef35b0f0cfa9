"""What a worker process and the process that runs the show say to each other: messages over one pair of sockets."""

from __future__ import annotations

import io
import itertools
import math
import pickle
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from eebench.discovery import Plugin
from eebench.progress import Bar, Reporter
from eebench.runs.plan import Job, Outcomes
from eebench.runs.questions import Question
from eebench.runs.spec import RunSpec

__all__ = [
    "Announced",
    "Ask",
    "Begin",
    "Channel",
    "Done",
    "Make",
    "Progressed",
    "Ready",
    "Refused",
    "RemoteReporter",
    "Said",
    "Setup",
    "log_line",
]

SELDOM = 0.1  # seconds between two reports of one bar


# --- to the worker ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setup:
    """What a run is about: enough to prepare it."""

    spec: RunSpec
    plugins: tuple[Plugin, ...]
    deadly: Mapping[str, str]  # methods that must not be imported, and why


@dataclass(frozen=True)
class Begin:
    """Where work goes, and how it is done."""

    results: Path
    run: str
    threads: int
    force: bool
    repair: bool


@dataclass(frozen=True)
class Make:
    """Do a job."""

    job: Job
    before: Outcomes  # of the jobs it needs
    log: Path


@dataclass(frozen=True)
class Ask:
    """Answer a question about finished cells."""

    question: Question
    log: Path

    @property
    def job(self) -> Job:
        """What it is about."""
        return self.question.job


# --- from the worker -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Announced:
    """What it is about to do: whoever dies next dies of it."""

    words: str


@dataclass(frozen=True)
class Ready:
    """The run is prepared."""


@dataclass(frozen=True)
class Refused:
    """The run cannot be prepared."""

    error: BaseException


@dataclass(frozen=True)
class Said:
    """A line for people."""

    text: str


@dataclass(frozen=True)
class Progressed:
    """How a bar stands; ``total`` None: it begins; negative: it is over."""

    bar: int
    name: str = ""
    done: int = 0
    total: int | None = None
    loss: float = math.nan


@dataclass(frozen=True)
class Done:
    """What became of a task."""

    outcome: Any
    changed: tuple[str, ...] = ()  # state of the process that is not as it was: another process goes on


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        """Arrays that lie in a file stay there, both ends read it; a view of one goes as it is."""
        if not (isinstance(obj, np.memmap) and isinstance(obj.base, mmap)):
            return None
        fortran = obj.flags.f_contiguous and not obj.flags.c_contiguous
        return (str(obj.filename), obj.dtype.str, obj.shape, obj.offset, "F" if fortran else "C")


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        path, dtype, shape, offset, order = pid
        return np.memmap(path, dtype=dtype, mode="r", shape=shape, offset=offset, order=order)


class Channel:
    """One end of the line.

    Raises:
        EOFError: by ``receive``, when the other end is gone.
        OSError: by ``send``, then.
    """

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self.connection = connection

    def send(self, message: Any) -> None:
        """Send one message."""
        buffer = io.BytesIO()
        _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(message)
        self.connection.send_bytes(buffer.getbuffer())

    def receive(self) -> Any:
        """Wait for one."""
        return _Unpickler(io.BytesIO(self.connection.recv_bytes())).load()


def log_line(text: str) -> None:
    """A line for the log of the task that goes on, which is standard output; a plugin may have closed that."""
    with suppress(OSError, ValueError):
        print(text, flush=True)  # noqa: T201


class RemoteReporter(Reporter):
    """Has the other end say and show what happens; every line goes to the task's own log as well."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(quiet=True)
        self.channel = channel
        self._numbers = itertools.count()

    def say(self, text: str) -> None:
        log_line(f"{time.strftime('%H:%M:%S')} {text}")
        self.tell(Said(text))

    def tell(self, message: Any) -> None:
        """Send a message; when nobody hears it any more, the worker is about to be stopped in good order."""
        with suppress(OSError):
            self.channel.send(message)

    def bar(self, name: str) -> Bar:
        return _RemoteBar(self, next(self._numbers), name)


class _RemoteBar(Bar):
    def __init__(self, reporter: RemoteReporter, number: int, name: str) -> None:
        self.reporter, self.number = reporter, number
        self._last = 0.0
        reporter.tell(Progressed(number, name))

    def update(self, done: int, total: int, loss: float) -> None:
        now = time.monotonic()
        if now - self._last >= SELDOM:
            self._last = now
            self.reporter.tell(Progressed(self.number, done=done, total=total, loss=loss))

    def close(self) -> None:
        self.reporter.tell(Progressed(self.number, total=-1))
