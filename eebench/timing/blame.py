"""Whose inference it was that raised while everybody was timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ContenderError", "Key", "blamed"]

Key = tuple[str, str, str, int, str]
"""Method, device, scenario, batch size, path: what names a row of latency.csv."""


class ContenderError(Exception):
    """A contender's own inference raised; ``key`` says whose, ``__cause__`` what."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"{key[0]} on path {key[4]}")
        self.key = key


@contextmanager
def blamed(key: Key) -> Iterator[None]:
    """Whatever is raised within is that contender's.

    Raises:
        ContenderError: from whatever it was.
    """
    try:
        yield
    except (Exception, SystemExit) as error:  # a stranger's code may do either
        raise ContenderError(key) from error
