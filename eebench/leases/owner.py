"""Who holds a lease: a process, on a machine, since when; and whether it still runs, where that can be asked."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Clock", "Owner", "me", "read_owner", "runs"]


@dataclass(frozen=True)
class Owner:
    """A process that holds a lease."""

    host: str
    machine: str  # equal where process numbers mean the same
    pid: int
    started: float  # of the process: its number may be another one's by now
    token: str = field(default_factory=lambda: uuid.uuid4().hex)  # of this one lease
    about: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Clock:
    """The clock of the file system that leases lie on."""

    def touch(self, path: Path) -> None:
        """Set a file's time of change to now."""
        os.utime(path)

    def age(self, path: Path) -> float:
        """Seconds since a file was touched."""
        probe = path.parent / f".now-{uuid.uuid4().hex}"
        try:
            probe.touch()
            self.touch(probe)
            return _changed(probe) - _changed(path)
        finally:
            probe.unlink(missing_ok=True)


def _changed(path: Path) -> float:
    """A file's time of change; opened for it, for which NFS asks the server."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime


def read_owner(path: Path) -> Owner | None:
    """Who is named in a lease file; None: it cannot be read, or is not written yet."""
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return None


def me(about: dict[str, Any]) -> Owner:
    """This process, with a token of its own."""
    pid = os.getpid()
    return Owner(os.uname().nodename, _machine(), pid, _started(pid), about=about)


@cache
def _machine() -> str:
    """The same for two processes that can see each other by number, and for no others."""
    parts = [os.uname().nodename]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "/".join(parts)


def _started(pid: int) -> float:
    import psutil

    return float(psutil.Process(pid).create_time())


def runs(owner: Owner) -> bool | None:
    """Whether an owner's process runs, one that nobody has buried yet does not; None: it is another machine's."""
    if owner.machine != _machine():
        return None
    import psutil

    try:
        process = psutil.Process(owner.pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - owner.started) < 2
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
