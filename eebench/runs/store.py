"""Where runs live: ``results/<run>/`` with its tables, and finished cells that are written whole or not at all."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from eebench.errors import UserError
from eebench.schema import SCHEMA_VERSION, TABLES

__all__ = ["Store", "read_json", "write_json", "write_table"]

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

    def record(self, values: Mapping[str, Any]) -> Path:
        """Write ``run.json``."""
        return write_json(self.path / "run.json", {"schema_version": SCHEMA_VERSION, **values})


def write_table(path: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a CSV atomically: floats to 9 significant digits, None and NaN as empty cells.

    Raises:
        KeyError: a row with a column that is not documented.
    """
    with _whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            unknown = row.keys() - set(columns)
            if unknown:
                raise KeyError(f"{path.name} has no column {', '.join(sorted(unknown))}")
            writer.writerow([_cell(row.get(column)) for column in columns])
    return path


def write_json(path: Path, values: Any) -> Path:
    """Write JSON atomically; NaN and infinities become null."""
    with _whole(path) as temporary:
        temporary.write_text(json.dumps(_plain(values), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def read_json(path: Path) -> Any:
    """Read JSON, or say in one line what is wrong with it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable JSON: {error}") from None


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    return str(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
