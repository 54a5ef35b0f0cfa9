"""A worker process as seen by whoever runs the show: started, given tasks, listened to, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from eebench.errors import UserError
from eebench.progress import Bar, Reporter
from eebench.runs.talk import Announced, Begin, Channel, Done, Progressed, Ready, Refused, Said, Setup

__all__ = ["Hand"]

GOODBYE = 5.0  # seconds that a worker without work has to end by itself


class Hand:
    """One worker process. Its work is given by :meth:`give`; :meth:`hear` tells what became of it.

    Args:
        setup: what the run is about.
        reporter: shows what the worker says.
        environment: variables that are other than this process's.
    """

    def __init__(self, setup: Setup, reporter: Reporter, environment: Mapping[str, str] | None = None) -> None:
        self.reporter = reporter
        self.task: Any = None  # what it is at
        self.since = self.heard = 0.0  # when that began, and when it was last heard of, on the monotonic clock
        self._about = "starting a worker process"
        self._begun = self._prepared = self._eof = False
        self._bars: dict[int, Bar] = {}
        paths = os.pathsep.join(map(os.path.abspath, sys.path))
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "eebench.runs.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": paths, **(environment or {})},
                start_new_session=True,  # a Ctrl-C is for this process alone, which hands it on
            )
        self._channel = Channel(Connection(ours.detach()))
        self._channel.send(setup)

    @property
    def connection(self) -> Connection[Any, Any]:
        """To wait for, beside others."""
        return self._channel.connection

    @property
    def pid(self) -> int:
        """Its number in the system."""
        return self._process.pid

    def ready(self) -> None:
        """Wait until it has prepared the run by itself.

        Raises:
            UserError: it cannot be prepared, or the attempt ended the process.
        """
        while not self._prepared:
            for message in self._messages(wait=0.2):
                if isinstance(message, Ready):
                    return
            how = self.gone()
            if how is not None:
                raise UserError(f"{self._about}: this ended the process ({how})")

    def begin(self, begin: Begin) -> None:
        """Tell it where work goes."""
        self._begun = True
        with suppress(OSError):
            self._channel.send(begin)

    def give(self, task: Any) -> None:
        """Something to do."""
        self.task = task
        self.since = self.heard = time.monotonic()
        with suppress(OSError):  # it is gone, which hear() will tell
            self._channel.send(task)

    def hear(self) -> Done | None:
        """What has come: shown, or handed on when its task is done; None: nothing to hand on."""
        for message in self._messages():
            if isinstance(message, Done):
                self.task = None
                return message
        return None

    def gone(self) -> str | None:
        """How the process ended; None while it has not, or has left something to hear."""
        if self._pending():
            return None
        if self._eof and self._process.poll() is None:
            try:
                self._process.wait(GOODBYE)
            except subprocess.TimeoutExpired:
                return "it closed its line to this process"
        return None if self._process.poll() is None else ending(self._process.returncode)

    def signal(self, number: signal.Signals) -> None:
        """Hand a signal on."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it and everything it has started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()
        self.connection.close()

    def close(self) -> None:
        """Let it go; at once when it has work, or has not begun."""
        if self._begun and self.task is None:
            with suppress(OSError):
                self._channel.send(None)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GOODBYE)
        self.kill()

    def _pending(self) -> bool:
        try:
            return not self._eof and self.connection.poll()
        except (OSError, EOFError):
            return False

    def _messages(self, wait: float = 0.0) -> Iterator[Any]:
        """What it says; lines and bars are shown on the way."""
        try:
            while not self._eof and self.connection.poll(wait):
                message = self._channel.receive()
                self.heard = time.monotonic()
                if isinstance(message, Said):
                    self.reporter.say(message.text)
                elif isinstance(message, Announced):
                    self._about = message.words
                elif isinstance(message, Progressed):
                    self._show(message)
                elif isinstance(message, Refused):
                    raise message.error
                else:
                    self._prepared = True
                    yield message
                wait = 0.0
        except (EOFError, OSError):
            self._eof = True

    def _show(self, message: Progressed) -> None:
        if message.total is None:
            self._bars[message.bar] = self.reporter.bar(message.name)
        elif message.total < 0:
            self._bars.pop(message.bar).close()
        elif message.bar in self._bars:
            self._bars[message.bar].update(message.done, message.total, message.loss)


def ending(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    if name == "SIGKILL":
        return "SIGKILL: somebody killed it, or memory ran out"
    return {"SIGSEGV": "SIGSEGV, a segmentation fault", "SIGABRT": "SIGABRT, an abort"}.get(name, name)


def tail(path: Path, lines: int = 60) -> str:
    """The end of a log."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
