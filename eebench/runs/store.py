"""Where runs live: ``results/<run>/`` with its tables, and finished cells that are written whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from eebench.errors import StorageError, UserError, shown
from eebench.files import durable, storage_trouble
from eebench.manifest import DamagedError, faults_of_cell, faults_of_run, is_record_only, seal, spoilt_arrays
from eebench.record import RunRecord
from eebench.runs.probed import PROBES, probed
from eebench.runs.publishing import STAGE, publish

__all__ = ["Store"]

ABANDONED = 24 * 3600.0  # seconds: copying a cell takes minutes; what is older belongs to a run that was killed
FORGOTTEN = 14 * 24 * 3600.0  # seconds: what is unfinished or set aside and nobody has looked at for so long
UNFINISHED = ".unfinished-"
ASIDE = ".set-aside"  # folder of a run: what was damaged
LOCK = ".lock"


class Store:
    """One run's directory.

    Args:
        root: the results folder, made if need be.
        run: the run's folder name.
        repair: set damaged cells aside, so that they are made again; otherwise refuse them.
        say: hears what was damaged.

    Raises:
        UserError: ``root`` is a file, or cannot be written to.
        StorageError: the disk is full.
    """

    def __init__(
        self, root: Path, run: str, *, repair: bool = True, say: Callable[[str], None] = lambda line: None
    ) -> None:
        if root.exists() and not root.is_dir():
            raise UserError(f"output directory {root} is a file")
        self.root, self.repair, self.say = root, repair, say
        self.path = root / run
        try:
            (self.path / "cells").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path) as file:
                file.write(bytes(1 << 16))
                file.flush()
        except OSError as error:
            trouble = storage_trouble(error, self.path) if self.path.is_dir() else None
            if trouble is not None:
                raise StorageError(trouble) from error
            raise UserError(f"output directory {root} cannot be written to: {error.strerror}") from None
        self._sweep()

    def cell(self, cell_id: str) -> Path | None:
        """A finished cell of this run, or of a sister run, from which it is then linked; None when there is none.

        A cell of this run that is not as it was written is set aside, one of a sister run left alone.

        Raises:
            DamagedError: it would be set aside, and the store repairs nothing.
        """
        own = self.path / "cells" / cell_id
        if own.exists():
            faults = faults_of_cell(own, cell_id)
            if faults:
                self._set_aside(own, faults[0], cell_id)
            elif not is_record_only(own):
                return own
            else:
                self.say(f"to be made again: {shown(own)}: it has no weights")
        for other in sorted(self.root.glob(f"*/cells/{cell_id}")):
            faults = faults_of_cell(other, cell_id)
            if faults or is_record_only(other):
                self.say(f"not taken over: {shown(other)}: {faults[0] if faults else 'it has no weights or traces'}")
                continue
            with self._replacing(own) as folder:
                shutil.copytree(other, folder, dirs_exist_ok=True, copy_function=_link)
            return own
        return None

    def beside(self, unit: str) -> Path | None:
        """A sealed folder beside the cells, by its path within the run; None when there is none.

        One that is not as it was written is set aside.

        Raises:
            DamagedError: it would be set aside, and the store repairs nothing.
        """
        own = self.path / unit
        if not own.exists():
            return None
        faults = faults_of_cell(own, unit)
        if faults:
            self._set_aside(own, faults[0], unit.replace("/", "-"))
        return None if faults else own

    def _set_aside(self, damaged: Path, fault: str, name: str) -> None:
        """Move what is damaged out of the way, for somebody to look at.

        Raises:
            DamagedError: the store repairs nothing.
        """
        if not self.repair:
            raise DamagedError(f"{shown(damaged)}: {fault}; without --no-repair it is set aside and made again")
        aside = self.path / ASIDE
        aside.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # a run beside this one has done it
            _remove(aside / name)
            os.replace(damaged, aside / name)
        self.say(f"set aside, to be made again: {shown(damaged)}: {fault}")

    def check(self) -> None:
        """Say that the record, which is written anew at the end, is not as it was written; refuse it without repair.

        Cells are looked at as they are needed; without repair all of them here, before any work.

        Raises:
            DamagedError: the record or a cell is not as it was written, and the store repairs nothing.
        """
        for fault in (faults_of_run(self.path) or [])[:1]:
            if not self.repair:
                raise DamagedError(f"{shown(self.path)}: {fault}; without --no-repair the record is written anew")
            self.say(f"to be written anew: {shown(self.path)}: {fault}")
        for cell in () if self.repair else sorted((self.path / "cells").glob("[!.]*")):
            self.cell(cell.name)
        for unit in () if self.repair else probed(self.path):
            self.beside(unit)

    @contextmanager
    def writing(self, cell_id: str) -> Iterator[Path]:
        """A folder to fill; it becomes the cell when the block ends well, and vanishes when it does not."""
        with self._replacing(self.path / "cells" / cell_id) as temporary:
            yield temporary
            _seal(temporary, cell_id)

    @contextmanager
    def writing_beside(self, unit: str) -> Iterator[Path]:
        """A folder to fill; it becomes the sealed folder of that path within the run when the block ends well."""
        (self.path / unit).parent.mkdir(parents=True, exist_ok=True)
        with self._replacing(self.path / unit) as temporary:
            yield temporary
            _seal(temporary, unit)

    @contextmanager
    def _replacing(self, target: Path) -> Iterator[Path]:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            yield temporary
            self._put(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @contextmanager
    def making(self, cell_id: str, *, fresh: bool = False) -> Iterator[Path]:
        """A folder to make a cell in, found again by the cell's name when whoever made it was stopped or killed.

        It becomes the cell when the block ends well. When it does not, it stays as it is, if there is anything in it;
        so it does for a sister run, which takes it over. Whoever finds it in use by another process makes the cell in a
        folder of its own. With ``fresh`` nothing that was left is gone on with.
        """
        folder = self.path / "cells" / f"{UNFINISHED}{cell_id}"
        lock = self._take(cell_id, folder, fresh=fresh)
        if lock is None:
            with self.writing(cell_id) as own:
                yield own
            return
        try:
            for spoilt in spoilt_arrays(folder):
                self.say(f"to be made again: {shown(spoilt)}: it is not as it was computed")
                spoilt.unlink()
            yield folder
            _seal(folder, cell_id)
            (folder / LOCK).unlink()
            self._put(folder, self.path / "cells" / cell_id)
        finally:
            if folder.exists() and {path.name for path in folder.iterdir()} <= {LOCK}:
                shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    def _take(self, cell_id: str, folder: Path, *, fresh: bool) -> int | None:
        """Lock this run's folder of an unfinished cell, or take over a sister run's; None when it is in use."""
        if not (fresh or folder.exists()):
            for other in sorted(self.root.glob(f"*/cells/{UNFINISHED}{cell_id}")):
                lock = _lock(other)
                if lock is not None:
                    os.replace(other, folder)
                    return lock
        folder.mkdir(exist_ok=True)
        lock = _lock(folder)
        if lock is not None and fresh:
            for left in folder.iterdir():
                if left.name != LOCK:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
        return lock

    def _put(self, folder: Path, target: Path) -> None:
        if target.exists():
            shutil.rmtree(target)
        os.replace(folder, target)
        durable(target.parent)

    def _sweep(self) -> None:
        """Remove what killed runs left half-written. By age: the owner may still write, on this machine or another."""
        kept = [*(self.path / "cells").glob(f"{UNFINISHED}*"), *(self.path / ASIDE).glob("*")]
        beside = [left for probe in PROBES for left in (self.path / probe).glob("*/.*-*")]
        for left in [*(self.path / "cells").glob(".*-*"), *beside, *self.path.glob(f"{STAGE}*"), *kept]:
            with suppress(OSError):  # another run may be sweeping too
                if time.time() - left.stat().st_mtime > (FORGOTTEN if left in kept else ABANDONED):
                    _remove(left)

    def forget(self, cell_id: str) -> None:
        """Remove a finished cell."""
        shutil.rmtree(self.path / "cells" / cell_id, ignore_errors=True)

    def abandon(self, cell_id: str) -> None:
        """Remove what there is of an unfinished cell."""
        shutil.rmtree(self.path / "cells" / f"{UNFINISHED}{cell_id}", ignore_errors=True)

    def publish(
        self,
        tables: Mapping[str, Iterable[Mapping[str, Any]]],
        raw: Mapping[str, Mapping[str, np.ndarray]],
        record: RunRecord,
    ) -> Path:
        """Put a record in the place of the one that is there: all files are written before the first is exchanged.

        Args:
            tables: rows of the documented tables, by name.
            raw: arrays of files beside them, by file name without ``.npz``.
            record: what becomes ``run.json``, with the checksums of everything else.

        Returns:
            The path of ``run.json``.
        """
        return publish(self.path, tables, raw, record)


def _seal(folder: Path, name: str) -> None:
    """Write the manifest of what has just been made.

    Raises:
        DamagedError: an array is not as it was computed; its file is removed, so that it is made again.
    """
    spoilt = spoilt_arrays(folder)
    for path in spoilt:
        path.unlink()
    if spoilt:
        raise DamagedError(f"{spoilt[0].name} was changed while its cell was made; the same command makes it again")
    seal(folder, cell=name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _lock(folder: Path) -> int | None:
    """A file handle that holds the folder for this process until it is closed, or the process ends; None: in use."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:  # a file system without locks: nobody else can be told from this process
        return handle
    return handle


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
