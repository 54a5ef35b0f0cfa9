"""What lies in a results folder: runs and studies, how far they are, and how much room they take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from eebench.errors import UserError
from eebench.record import RunRecord, read_record
from eebench.runs.begun import UNFINISHED
from eebench.schema import BACKBONE, STATIC
from eebench.studies.record import STUDY, read_study_record

__all__ = ["ListedRun", "ListedStudy", "Shelf", "look", "room"]

State = Literal["finished", "failed", "unfinished", "damaged"]


@dataclass(frozen=True)
class ListedRun:
    """One run directory."""

    run: str
    state: State  # failed: finished, but some of its cells failed; damaged: its record cannot be read
    backbone: str | None  # of the record, as are the next four
    dataset: str | None
    budget: str | None
    methods: list[str]
    seeds: list[int]
    done: int  # cells
    failed: int
    skipped: int
    unfinished: int  # cells begun and not finished
    finished: str | None  # when
    bytes: int  # on disk, what it shares with other runs included
    reason: str = ""  # why its record cannot be read


@dataclass(frozen=True)
class ListedStudy:
    """One study's folder."""

    study: str
    runs: list[str]
    done: int  # runs that have a record
    reason: str = ""  # why its record cannot be read


@dataclass(frozen=True)
class Shelf:
    """A results folder."""

    path: Path
    runs: list[ListedRun]
    studies: list[ListedStudy]
    bytes: int  # what it takes on disk; what runs share counts once

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"path": str(self.path)}


def look(results: Path) -> Shelf:
    """Look at everything in a results folder; nothing is computed, no cell is opened.

    Raises:
        UserError: no such folder.
    """
    if not results.is_dir():
        raise UserError(f"no results folder {results}")
    folders = sorted(path for path in results.iterdir() if path.is_dir() and not path.name.startswith("."))
    runs = [_run(path) for path in folders if (path / "run.json").exists() or (path / "cells").is_dir()]
    studies = [_study(path) for path in folders if (path / STUDY).exists()]
    return Shelf(results, runs, studies, room([results]))


def room(paths: Iterable[Path]) -> int:
    """Bytes of all files below some folders, a file that stands in several places counted once."""
    seen: dict[tuple[int, int], int] = {}
    for path in paths:
        for file in [path] if path.is_file() else path.rglob("*"):
            try:
                about = file.lstat()
            except OSError:  # a run beside this one has just moved it
                continue
            if file.is_file() and not file.is_symlink():
                seen[about.st_dev, about.st_ino] = about.st_size
    return sum(seen.values())


def _run(path: Path) -> ListedRun:
    cells = path / "cells"
    begun = sum(1 for _ in cells.glob(f"{UNFINISHED}*")) if cells.is_dir() else 0
    here = sum(1 for one in cells.glob("[!.]*/cell.json")) if cells.is_dir() else 0
    size = room([path])
    record, reason = None, ""
    if (path / "run.json").exists():
        try:
            record = read_record(path)
        except UserError as error:
            reason = str(error)
    if record is None:
        state: State = "damaged" if reason else "unfinished"
        return ListedRun(path.name, state, None, None, None, [], [], here, 0, 0, begun, None, size, reason)
    count = {status: sum(cell.status == status for cell in record.cells) for status in ("done", "failed", "skipped")}
    state = "failed" if count["failed"] else "finished"
    spec = record.spec
    return ListedRun(
        path.name, state, spec["backbone"], spec["dataset"], spec["budget"], _methods(record), list(spec["seeds"]),
        count["done"], count["failed"], count["skipped"], begun, record.finished, size,
    )  # fmt: skip


def _methods(record: RunRecord) -> list[str]:
    labels = dict.fromkeys(cell.label for cell in record.cells)
    return [label for label in labels if label != BACKBONE and not label.startswith(f"{STATIC}[")]


def _study(path: Path) -> ListedStudy:
    try:
        record = read_study_record(path)
    except UserError as error:
        return ListedStudy(path.name, [], 0, str(error))
    done = sum(run.run is not None and (path.parent / run.run / "run.json").exists() for run in record.runs)
    return ListedStudy(path.name, [run.title for run in record.runs], done)
