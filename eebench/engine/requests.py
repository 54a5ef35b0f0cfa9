"""What signals ask of a training that goes on: a checkpoint now, or to stop at the end of this batch.

Nothing heavy is imported here: the command line installs its handlers before work begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Requests", "requests"]


class Requests:
    """Set by signal handlers, heeded by the training loop after every batch."""

    def __init__(self) -> None:
        self.checkpoint = False  # write one as soon as the batch is done
        self._stop: BaseException | None = None
        self._listeners = 0

    def ask_to_stop(self, reason: BaseException) -> None:
        """Stop with ``reason``: after this batch and its checkpoint where a training listens, else (or twice) at once.

        Raises:
            BaseException: ``reason``.
        """
        if not self._listeners or self._stop is not None:
            raise reason
        self._stop = reason

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A training that heeds requests goes on in this block."""
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._stop, self.checkpoint = None, False

    @property
    def pending(self) -> bool:
        """Whether anything was asked for."""
        return self.checkpoint or self._stop is not None

    def heed(self) -> None:
        """What was asked for is written: stop if that was asked.

        Raises:
            BaseException: the reason to stop.
        """
        self.checkpoint = False
        if self._stop is not None:
            reason, self._stop = self._stop, None
            raise reason


requests = Requests()
"""The process's own."""
