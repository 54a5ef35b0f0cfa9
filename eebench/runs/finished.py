"""A finished run from Python: its tables and its cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eebench.api import Task
from eebench.errors import UserError, did_you_mean
from eebench.manifest import check_cell, check_run
from eebench.record import RunRecord, read_record
from eebench.runs.cell import Cell
from eebench.schema import TABLES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["finished_cell", "read", "task_of"]


def read(run: str | Path) -> dict[str, pd.DataFrame]:
    """The tables of a finished run by name (see ``eebench.schema.TABLES``); nothing is computed.

    ``.attrs["path"]`` of each is the run directory, ``.attrs["failed"]`` the methods that failed, with their reasons.

    Raises:
        UserError: no run directory, or one that is not as it was written.
    """
    import pandas as pd

    path = Path(run)
    record = read_record(path)
    check_run(path)
    failed = {c.label: c.reason for c in record.cells if c.status == "failed"}
    frames = {name: pd.read_csv(path / f"{name}.csv") for name in TABLES if (path / f"{name}.csv").exists()}
    for frame in frames.values():
        frame.attrs |= {"path": str(path), "failed": failed}
    return frames


def finished_cell(run: Path, method: str, seed: int | None) -> tuple[RunRecord, Cell]:
    """The run's record, and the cell of a method that finished in it.

    Raises:
        UserError: no such method or seed, or the record or the cell is not as it was written.
    """
    record = read_record(run)
    check_run(run)
    labels = {cell.label for cell in record.cells if cell.status == "done"}
    if method not in labels:
        raise UserError(f"the run has no finished method '{method}'{did_you_mean(method, labels)}")
    cells = record.done(method)
    wanted = next(iter(cells)) if seed is None else seed
    if wanted not in cells:
        raise UserError(f"'{method}' was run with seeds {sorted(cells)}, not {wanted}")
    found = cells[wanted]
    assert found.id is not None
    folder = run / "cells" / found.id
    check_cell(folder, found.id, record.checksums)
    return record, Cell(found.id, method, wanted, folder, found.seconds or 0.0, found.reused)


def task_of(record: RunRecord) -> Task:
    """The task a run was about."""
    task = record.data.task
    return Task(task.kind, task.classes, task.metric, tuple(task.labels))
