"""Signals of a terminal and of a scheduler: stop, or write a checkpoint now."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from eebench.engine.requests import requests
from eebench.errors import TerminatedError

__all__ = ["heeded"]

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def heeded() -> Iterator[None]:
    """Within this block SIGTERM and SIGINT let a training finish its batch and write a checkpoint before they stop it.

    A second one stops at once, as the first does where nothing trains. SIGUSR1, a scheduler's warning, writes a
    checkpoint and goes on.

    Raises:
        KeyboardInterrupt: after SIGINT.
        TerminatedError: after SIGTERM.
    """
    me = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == me:
            requests.ask_to_stop(TerminatedError() if number == signal.SIGTERM else KeyboardInterrupt())
        elif number == signal.SIGTERM:  # a process that reads data ahead, stopped by this one
            os._exit(128 + signal.SIGTERM)

    own: dict[signal.Signals, Handler] = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if hasattr(signal, "SIGUSR1"):
        own[signal.SIGUSR1] = _checkpoint
    before = {number: signal.signal(number, handler) for number, handler in own.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _checkpoint(number: int, frame: FrameType | None) -> None:
    requests.checkpoint = True
