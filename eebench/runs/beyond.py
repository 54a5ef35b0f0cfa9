"""What is asked of a seed's models beyond the test split: ``--shift`` and ``--slowdown``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eebench.progress import Reporter
from eebench.runs.probes import HasCells, subjects
from eebench.runs.score import Row
from eebench.runs.shift import shift_rows, shifts
from eebench.runs.slowdown import slowdown_rows

if TYPE_CHECKING:
    from eebench.runs.prepare import Prepared

__all__ = ["beyond_rows"]


def beyond_rows(
    prepared: Prepared, models: Sequence[HasCells], folder: Path, reporter: Reporter
) -> dict[str, list[Row]]:
    """Rows of shift.csv and slowdown.csv, as far as they were asked for.

    Args:
        prepared: the run.
        models: of one seed, the plain backbone first.
        folder: of the run, where traces are kept.
        reporter: hears how it goes.
    """
    rows: dict[str, list[Row]] = {}
    if prepared.spec.shift:
        rows["shift"] = shift_rows(subjects(prepared, models), shifts(prepared.data), folder, reporter)
    if prepared.spec.slowdown:
        rows["slowdown"] = slowdown_rows(subjects(prepared, models), folder, reporter)
    return rows
