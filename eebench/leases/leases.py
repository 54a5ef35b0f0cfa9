"""Leases: who is at what, in files of a folder that several processes see, on one machine or on many.

Whoever holds the lease of a name may make what is called so; the others leave it alone. Nothing but files is needed, on
NFS too: a lease is created by ``link``, which of two processes exactly one does, and which the server decides.

A lease of ``name`` is a file ``name.N``; the highest N counts. Whoever takes over a lease creates ``name.N+1``, so that
of any number who see a dead owner one succeeds it. The owner shows that it lives by the file's time of change, which is
compared with that of a file changed now: both are the file system's own clock, machines' clocks need not agree. On the
owner's own machine its process is asked for besides, so that there nobody waits for a dead one.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eebench.leases.owner import Clock, Owner, me, read_owner, runs

__all__ = ["BEAT", "PATIENCE", "InUseError", "Lease", "LeaseLostError", "Leases"]

BEAT = 10.0  # seconds between two signs of life
PATIENCE = 120.0  # seconds without one after which an owner counts as dead; NFS may show a time of change 60 s late
ATTEMPTS = 20  # another process may remove the empty folder at the same moment


class LeaseLostError(Exception):
    """Another process has taken the lease over: what was made under it must not be published."""


class InUseError(Exception):
    """Another process is at it.

    Args:
        name: of the lease.
        owner: who holds it; None: it was over a moment ago.
    """

    def __init__(self, name: str, owner: Owner | None) -> None:
        super().__init__(f"{name} is in use by {owner or 'another process'}")
        self.name, self.owner = name, owner


@dataclass(frozen=True)
class _Found:
    """A lease file."""

    path: Path
    number: int
    owner: Owner | None  # None: it cannot be read, or not yet


class Leases:
    """The leases in one folder, as one process sees them.

    Args:
        folder: made when a lease is taken, removed when none is left.
        clock: for tests.
        patience: seconds without a sign of life after which an owner counts as dead.
        beat: seconds between signs of life of this process.
        lost: hears that a lease was taken over, in a thread of its own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock | None = None,
        patience: float = PATIENCE,
        beat: float = BEAT,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.clock, self.patience, self.beat, self.lost = folder, clock or Clock(), patience, beat, lost
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def take(self, name: str, **about: Any) -> Lease | None:
        """The lease of a name, if nobody has it, or whoever had it is dead; None: somebody has it.

        Args:
            name: of what is to be made; a file name.
            **about: what others may read of it.
        """
        for _ in range(ATTEMPTS):
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # the folder was removed, being empty
                return self._take(name, about)
        raise FileNotFoundError(f"{self.folder} does not stay")

    @contextlib.contextmanager
    def holding(self, name: str, **about: Any) -> Iterator[Lease]:
        """Hold a lease in this block.

        Raises:
            InUseError: somebody has it.
        """
        lease = self.take(name, **about)
        if lease is None:
            raise InUseError(name, self.holder(name))
        try:
            yield lease
        finally:
            lease.release()

    def holder(self, name: str) -> Owner | None:
        """Whoever holds a lease and lives."""
        found = self._top(name)
        return found.owner if found is not None and self._lives(found) else None

    def live(self) -> dict[str, Owner]:
        """All leases whose owners live, by name."""
        tops: dict[str, _Found] = {}
        for name, found in self._all():
            if name not in tops or tops[name].number < found.number:
                tops[name] = found
        return {name: top.owner for name, top in sorted(tops.items()) if top.owner is not None and self._lives(top)}

    def sweep(self) -> None:
        """Remove leases of the dead."""
        for name, found in list(self._all()):
            if not self._lives(found):
                lease = self.take(name)
                if lease is not None:
                    lease.release()
        for left in [*self.folder.glob(".new-*"), *self.folder.glob(".now-*")]:
            with suppress(OSError):
                if self.clock.age(left) > self.patience:
                    left.unlink()
        self._tidy()

    def pulse(self) -> None:
        """Show that the leases held here are alive; find out which were taken over."""
        with self._lock:
            held = list(self._held.values())
        for lease in held:
            if lease.intact():
                with suppress(OSError):
                    self.clock.touch(lease.path)
            elif not lease.lost:
                lease.lost = True
                self.lost()

    def _take(self, name: str, about: dict[str, Any]) -> Lease | None:
        before = {found.number: found for found in self._files(name)}
        number = max(before, default=0) + 1
        if before and self._lives(before[number - 1]):
            return None
        lease = Lease(self, name, number, me(about))
        if not self._create(lease.path, lease.owner):
            return None
        others = [found for found in self._files(name) if found.number != number]
        if any(found != before.get(found.number) for found in others):  # it acted on what was over: it gives way
            lease.path.unlink(missing_ok=True)
            return None
        for found in others:
            found.path.unlink(missing_ok=True)
        self._hold(lease)
        return lease

    def _create(self, path: Path, owner: Owner) -> bool:
        """Create a lease's file with its content in one step; False when there is one."""
        own = self.folder / f".new-{owner.token}"
        try:
            own.write_text(json.dumps(asdict(owner)), encoding="utf-8")
            self.clock.touch(own)
            try:
                os.link(own, path)
            except FileExistsError:
                return own.stat().st_nlink == 2  # on NFS: the answer to a first try was lost, and it was tried again
            except FileNotFoundError:
                raise
            except OSError:  # a file system without links
                try:
                    with path.open("x", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(owner)))
                except FileExistsError:
                    return False
                self.clock.touch(path)
            return True
        finally:
            own.unlink(missing_ok=True)

    def _lives(self, found: _Found) -> bool:
        if found.owner is not None and runs(found.owner) is False:
            return False
        try:
            return self.clock.age(found.path) <= self.patience
        except FileNotFoundError:
            return False

    def _top(self, name: str) -> _Found | None:
        return max(self._files(name), key=lambda found: found.number, default=None)

    def _files(self, name: str) -> list[_Found]:
        return [found for _, found in self._all(name)]

    def _all(self, only: str | None = None) -> Iterator[tuple[str, _Found]]:
        try:
            names = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        for file in names:
            name, _, number = file.rpartition(".")
            if not name or not number.isdecimal() or (only is not None and name != only):
                continue
            path = self.folder / file
            with suppress(FileNotFoundError):
                yield name, _Found(path, int(number), read_owner(path))

    def _hold(self, lease: Lease) -> None:
        with self._lock:
            self._held[lease.owner.token] = lease
            if self._thread is None:
                self._over = threading.Event()
                self._thread = threading.Thread(target=self._beat, args=(self._over,), name="leases", daemon=True)
                self._thread.start()

    def _drop(self, lease: Lease) -> None:
        with self._lock:
            self._held.pop(lease.owner.token, None)
            if not self._held:
                self._over.set()
                self._thread = None
        self._tidy()

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(self.beat):
            with suppress(OSError):  # a server that is away for a while
                self.pulse()

    def _tidy(self) -> None:
        with suppress(OSError):
            self.folder.rmdir()  # if it is empty


class Lease:
    """A lease that is held, until :meth:`release`.

    Attributes:
        lost: whether another process is known to have taken it over.
    """

    def __init__(self, leases: Leases, name: str, number: int, owner: Owner) -> None:
        self.leases, self.name, self.number, self.owner = leases, name, number, owner
        self.lost = False

    @property
    def path(self) -> Path:
        """Its file."""
        return self.leases.folder / f"{self.name}.{self.number}"

    def intact(self) -> bool:
        """Whether it is still this process's, as far as this machine sees."""
        top = self.leases._top(self.name)
        return not self.lost and top is not None and top.owner == self.owner

    def renew(self) -> None:
        """Have it for sure, and for as long as others are patient: to be called right before publishing.

        Creates the file that whoever takes it over would have to create.

        Raises:
            LeaseLostError: another process has it, or had it.
        """
        old, following = self.path, self.leases.folder / f"{self.name}.{self.number + 1}"
        with suppress(FileNotFoundError):  # the folder is gone: nobody holds anything any more
            if not self.lost and self.leases._create(following, self.owner):
                self.number += 1
                if read_owner(old) == self.owner:
                    old.unlink(missing_ok=True)
                    return
        self.lost = True
        self.release()
        raise LeaseLostError(f"another process has taken {self.name} over")

    def release(self) -> None:
        """Let it go."""
        with suppress(OSError):
            if read_owner(self.path) == self.owner:
                self.path.unlink(missing_ok=True)
        self.leases._drop(self)
