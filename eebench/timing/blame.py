"""Whose inference it was that raised, or ended the process, while everybody was timed."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eebench.schema import EAGER

__all__ = ["ContenderError", "Key", "blamed", "pointed_at", "pointing"]

ROOM = 4096  # bytes of the file that names whoever runs
_pointers: list[mmap.mmap] = []  # the last one is written to

Key = tuple[str, str, str, int, str]
"""Method, device, scenario, batch size, path: what names a row of latency.csv."""


class ContenderError(Exception):
    """A contender's own inference raised; ``key`` and ``runtime`` say whose, ``__cause__`` what."""

    def __init__(self, key: Key, runtime: str = EAGER) -> None:
        super().__init__(f"{key[0]} on path {key[4]}")
        self.key, self.runtime = key, runtime


@contextmanager
def blamed(key: Key, runtime: str = EAGER) -> Iterator[None]:
    """Whatever is raised within is that contender's.

    Raises:
        ContenderError: from whatever it was.
    """
    _point(key[0])
    try:
        yield
    except (Exception, SystemExit) as error:  # a stranger's code may do either
        _point("")
        raise ContenderError(key, runtime) from error
    _point("")  # not where this process is being stopped: whose inference it was is asked then


@contextmanager
def pointing(path: Path) -> Iterator[None]:
    """In this block a file names whose inference runs. It is a page of memory: writing it costs nothing that is timed.

    Args:
        path: of the file, made anew; it stays, for :func:`pointed_at` when this process is gone.
    """
    path.write_bytes(bytes(ROOM))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), ROOM) as page:
        _pointers.append(page)
        try:
            yield
        finally:
            _pointers.pop()


def pointed_at(path: Path) -> str:
    """Label of the method whose inference ran when that file was last written; empty when it was nobody's."""
    try:
        return path.read_bytes().rstrip(b"\0").decode("utf-8", errors="replace")
    except OSError:
        return ""


def _point(label: str) -> None:
    if _pointers:
        _pointers[-1][:] = label.encode()[:ROOM].ljust(ROOM, b"\0")
