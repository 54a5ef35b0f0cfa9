"""Where runs live: ``results/<run>/`` with its tables, and finished cells that are written whole or not at all."""

from __future__ import annotations

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

ABANDONED = 24 * 3600.0  # seconds: writing a trained cell takes minutes; what is older belongs to a run that was killed


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
            target = cells / cell_id
            if target.exists():
                shutil.rmtree(target)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed runs left half-written. By age: the owner may still write, on this machine or another."""
        for left in (self.path / "cells").glob(".*-*"):
            with suppress(OSError):  # another run may be sweeping too
                if time.time() - left.stat().st_mtime > ABANDONED:
                    shutil.rmtree(left)

    def forget(self, cell_id: str) -> None:
        """Remove a finished cell (``--force``)."""
        shutil.rmtree(self.path / "cells" / cell_id, ignore_errors=True)

    def table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        """Write one of the documented tables."""
        return write_table(self.path / f"{name}.csv", list(TABLES[name]), rows)

    def record(self, record: RunRecord) -> Path:
        """Write ``run.json``."""
        return write_json(self.path / "run.json", record.model_dump(mode="json"))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
