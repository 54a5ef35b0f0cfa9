"""``eebench doctor``: is a run as it was written, and what would the same command make again? Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eebench.errors import UserError
from eebench.manifest import MANIFEST, faults_of_cell, faults_of_run, is_record_only
from eebench.record import RunRecord, read_record
from eebench.runs.begun import UNFINISHED, begun_cell
from eebench.runs.probed import PROBES, cell_of, probed, words_for
from eebench.runs.sweeping import ASIDE

__all__ = ["CellHealth", "Health", "examine"]

State = Literal["whole", "record only", "unverified", "damaged", "missing"]


@dataclass(frozen=True)
class CellHealth:
    """How one cell is."""

    id: str
    label: str  # as the record has it; the id where no record is
    state: State
    fault: str | None = None


@dataclass(frozen=True)
class Health:
    """How a run is."""

    run: str
    record: State
    fault: str | None = None  # of the record
    cells: list[CellHealth] = field(default_factory=list)
    traces: list[CellHealth] = field(default_factory=list)  # of other inputs, as --shift and --slowdown keep them
    failed: list[str] = field(default_factory=list)  # cells that failed and that the same command tries again
    unfinished: list[str] = field(default_factory=list)  # cells that were cut short and are gone on with
    set_aside: list[str] = field(default_factory=list)  # damaged cells that were made again

    @property
    def again(self) -> list[str]:
        """What the same command would make again because of damage; ``record`` for the tables and run.json."""
        cells = [cell.label for cell in (*self.cells, *self.traces) if cell.state in ("damaged", "missing")]
        return [*cells, *(["record"] if self.record in ("damaged", "missing") or cells else [])]

    @property
    def well(self) -> bool:
        """Whether there is nothing to mend."""
        return not self.again


def examine(run: Path) -> Health:
    """Compare a run with its manifests.

    Args:
        run: a run directory, finished or not.

    Raises:
        UserError: no run directory.
    """
    if not ((run / "run.json").exists() or (run / "cells").is_dir()):
        raise UserError(f"no run at {run}: it has neither run.json nor cells")
    state, fault, record = _record(run)
    left = [begun_cell(path) for path in sorted((run / "cells").glob(f"{UNFINISHED}*"))]
    return Health(
        str(run),
        state,
        fault,
        list(_cells(run, record)),
        list(_traces(run, record)),
        [] if record is None else [f"{c.label} seed {c.seed}" for c in record.cells if c.status == "failed"],
        left,
        sorted(path.name for path in (run / ASIDE).glob("*")),
    )


def _record(run: Path) -> tuple[State, str | None, RunRecord | None]:
    if not (run / "run.json").exists():
        return "missing", "run.json is missing: the run was cut short", None
    try:
        record = read_record(run)
    except UserError as error:
        return "damaged", str(error), None
    faults = faults_of_run(run)
    if faults is None:
        return "unverified", "an older eebench wrote no checksums", record
    return ("damaged", "; ".join(faults), record) if faults else ("whole", None, record)


def _cells(run: Path, record: RunRecord | None) -> Iterator[CellHealth]:
    """Cells of the record, then those that it does not know."""
    known = [] if record is None else [cell for cell in record.cells if cell.id is not None]
    checksums = {} if record is None else record.checksums
    for cell in known:
        assert cell.id is not None
        yield _cell(run, cell.id, f"{cell.label} seed {cell.seed}", checksums, old=record is not None and not checksums)
    for folder in sorted((run / "cells").glob("[!.]*")):
        if folder.name not in {cell.id for cell in known}:
            yield _cell(run, folder.name, folder.name, {}, old=False)


def _traces(run: Path, record: RunRecord | None) -> Iterator[CellHealth]:
    """Traces of other inputs: those there are, and those that the record knows of a model that has others."""
    labels = {} if record is None else {cell.id: f"{cell.label} seed {cell.seed}" for cell in record.cells}
    checksums = {} if record is None else record.checksums
    there = probed(run)
    models = {unit.rpartition("/")[0] for unit in there}
    known = [name.removesuffix(f"/{MANIFEST}") for name in checksums if name.startswith(PROBES)]
    for unit in sorted({*there, *(unit for unit in known if unit.rpartition("/")[0] in models)}):
        label = words_for(unit, labels.get(cell_of(unit), cell_of(unit)))
        if unit not in there:
            yield CellHealth(unit, label, "missing", "its folder is missing")
            continue
        faults = faults_of_cell(run / unit, unit, checksums.get(f"{unit}/{MANIFEST}"))
        yield CellHealth(unit, label, "damaged" if faults else "whole", "; ".join(faults) or None)


def _cell(run: Path, cell: str, label: str, checksums: dict[str, str], *, old: bool) -> CellHealth:
    folder = run / "cells" / cell
    if not folder.exists():
        return CellHealth(cell, label, "missing", "its folder is missing")
    if old and not (folder / MANIFEST).exists():
        return CellHealth(cell, label, "unverified", "an older eebench wrote no checksums")
    faults = faults_of_cell(folder, cell, checksums.get(f"cells/{cell}/{MANIFEST}"))
    if faults:
        return CellHealth(cell, label, "damaged", "; ".join(faults))
    return CellHealth(cell, label, "record only" if is_record_only(folder) else "whole")
