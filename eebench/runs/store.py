"""Where runs live: ``results/<run>/`` with its tables, and finished cells that are written whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from eebench.errors import UserError
from eebench.files import write_json, write_table
from eebench.record import RunRecord
from eebench.schema import TABLES

__all__ = ["Store"]

ABANDONED = 24 * 3600.0  # seconds: copying a cell takes minutes; what is older belongs to a run that was killed
FORGOTTEN = 14 * 24 * 3600.0  # seconds: an unfinished cell that nobody has gone on with for so long
UNFINISHED = ".unfinished-"
LOCK = ".lock"


class Store:
    """One run's directory.

    Args:
        root: the results folder, made if need be.
        run: the run's folder name.

    Raises:
        UserError: ``root`` is a file, or cannot be written to.
    """

    def __init__(self, root: Path, run: str) -> None:
        if root.exists() and not root.is_dir():
            raise UserError(f"output directory {root} is a file")
        self.root = root
        self.path = root / run
        try:
            (self.path / "cells").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise UserError(f"output directory {root} cannot be written to: {error.strerror}") from None
        self._sweep()

    def cell(self, cell_id: str) -> Path | None:
        """A finished cell of this run, or of a sister run, from which it is then linked; None when there is none."""
        own = self.path / "cells" / cell_id
        if (own / "cell.json").exists():
            return own
        for other in sorted(self.root.glob(f"*/cells/{cell_id}/cell.json")):
            with self.writing(cell_id) as folder:
                shutil.copytree(other.parent, folder, dirs_exist_ok=True, copy_function=_link)
            return own
        return None

    @contextmanager
    def writing(self, cell_id: str) -> Iterator[Path]:
        """A folder to fill; it becomes the cell when the block ends well, and vanishes when it does not."""
        cells = self.path / "cells"
        temporary = Path(tempfile.mkdtemp(prefix=f".{cell_id}-", dir=cells))
        try:
            yield temporary
            self._put(temporary, cells / cell_id)
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
            yield folder
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

    def _sweep(self) -> None:
        """Remove what killed runs left half-written. By age: the owner may still write, on this machine or another."""
        for left in (self.path / "cells").glob(".*-*"):
            with suppress(OSError):  # another run may be sweeping too
                old = FORGOTTEN if left.name.startswith(UNFINISHED) else ABANDONED
                if time.time() - left.stat().st_mtime > old:
                    shutil.rmtree(left)

    def forget(self, cell_id: str) -> None:
        """Remove a finished cell."""
        shutil.rmtree(self.path / "cells" / cell_id, ignore_errors=True)

    def abandon(self, cell_id: str) -> None:
        """Remove what there is of an unfinished cell."""
        shutil.rmtree(self.path / "cells" / f"{UNFINISHED}{cell_id}", ignore_errors=True)

    def table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        """Write one of the documented tables."""
        return write_table(self.path / f"{name}.csv", list(TABLES[name]), rows)

    def record(self, record: RunRecord) -> Path:
        """Write ``run.json``."""
        return write_json(self.path / "run.json", record.model_dump(mode="json"))


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
