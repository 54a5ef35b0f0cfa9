"""What of a results folder can be removed because it can be made again. Records and their tables always stay."""

from __future__ import annotations

import shutil
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eebench.errors import UserError
from eebench.leases import Leases
from eebench.manifest import CLEANED
from eebench.record import CellFacts, RunRecord, read_record
from eebench.runs.begun import UNFINISHED, begun_cell
from eebench.runs.probed import PROBES
from eebench.runs.store import LEASES
from eebench.runs.sweeping import ASIDE, STAGE
from eebench.schema import BACKBONE, STATIC

__all__ = ["Found", "Thing", "Wanted", "find", "remove"]

FRESH = 3600.0  # seconds: what was touched so lately may be being written, here or on another machine


@dataclass(frozen=True)
class Wanted:
    """What is to go beside stale cells and leftovers."""

    weights: Literal["none", "losing", "all"] = "none"
    unfinished: bool = False


@dataclass(frozen=True)
class Thing:
    """A file or a folder that can go."""

    path: Path
    why: str
    bytes: int  # of it alone, links to elsewhere included


@dataclass(frozen=True)
class Found:
    """What can go, and how much room that frees: a file that also stands elsewhere frees none."""

    things: list[Thing]
    bytes: int


def find(results: Path, wanted: Wanted, runs: Sequence[Path] | None = None) -> Found:
    """What can be removed. Nothing that a process may be writing is among it.

    Args:
        results: folder of run directories.
        wanted: what else than stale cells and leftovers.
        runs: only these run directories.
    """
    folders = runs if runs is not None else sorted(path.parent for path in results.glob("*/cells"))
    things: list[Thing] = []
    for folder in folders:
        for path, why in _of_run(folder, wanted):
            things.append(Thing(path, why, sum(size for _, size, _ in _files(path))))
    return Found(things, _freed([thing.path for thing in things]))


def remove(found: Found) -> int:
    """Remove what was found; returns the bytes freed."""
    for thing in found.things:
        if thing.path.is_dir():
            shutil.rmtree(thing.path, ignore_errors=True)
        else:  # weights: the cell says that they are gone on purpose, else it would count as damaged
            (thing.path.parent / CLEANED).touch()
            thing.path.unlink(missing_ok=True)
    return found.bytes


def _of_run(folder: Path, wanted: Wanted) -> Iterator[tuple[Path, str]]:
    yield from _leftovers(folder)
    if wanted.unfinished:
        for left in sorted((folder / "cells").glob(f"{UNFINISHED}*")):
            if not _in_use(left):
                yield left, "begun and not finished"
    cells = sorted((folder / "cells").glob("[!.]*"))
    if not (folder / "run.json").exists():
        if wanted.unfinished:
            yield from ((cell, "of a run that was not finished") for cell in cells if not _fresh(cell))
        return
    try:
        record = read_record(folder)
    except UserError:
        return  # what a record that cannot be read names nobody knows
    named = {cell.id: cell for cell in record.cells if cell.status == "done" and cell.id is not None}
    written = (folder / "run.json").stat().st_mtime
    for cell in cells:
        if cell.name not in named and cell.stat().st_mtime < written and not _fresh(cell):
            yield cell, "no record names it: made by other code, or for other settings"
    yield from _probed(folder, named)
    if wanted.weights != "none":
        keep = _winners(folder, record) if wanted.weights == "losing" else set()
        for name, facts in named.items():
            weights = folder / "cells" / name / "weights.safetensors"
            if weights.exists() and not _kept(facts, keep):
                yield weights, f"weights of {facts.label} seed {facts.seed}"


def _probed(folder: Path, named: Container[str]) -> Iterator[tuple[Path, str]]:
    for traces in (kept for probe in PROBES for kept in sorted((folder / probe).glob("*"))):
        if traces.name.rpartition("-")[0] not in named and not _fresh(traces):
            yield traces, "traces of a cell that no record names"


def _leftovers(folder: Path) -> Iterator[tuple[Path, str]]:
    for left in [*folder.glob(f"{STAGE}*"), *(folder / "cells").glob("[.]*-*")]:
        if not left.name.startswith(UNFINISHED) and not _fresh(left):
            yield left, "half written by a process that was killed"
    for left in sorted((folder / ASIDE).glob("*")):
        yield left, "damaged, and set aside"


def _winners(folder: Path, record: RunRecord) -> set[str]:
    """Labels whose weights stay: the plain backbone's, and of what the report names best or tied with it."""
    from eebench.report import read_answer
    from eebench.report.frames import load

    found, names = read_answer(folder), load(folder).labels
    best = found["best"]["method"] if found["best"] else BACKBONE
    return {BACKBONE, best, *(method for method, name in names.items() if name in found["tied"])}


def _kept(cell: CellFacts, keep: set[str]) -> bool:
    return cell.label in keep or (STATIC in keep and cell.label.startswith(f"{STATIC}["))


def _in_use(folder: Path) -> bool:
    """Whether a process is making this cell, for whichever run of these results."""
    return Leases(folder.parents[2] / LEASES).holder(begun_cell(folder)) is not None


def _fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < FRESH
    except OSError:
        return True


def _files(path: Path) -> list[tuple[tuple[int, int], int, int]]:
    """Every file below a path: which it is, its size, in how many places it stands."""
    found = []
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file() and not file.is_symlink():
            about = file.stat()
            found.append(((about.st_dev, about.st_ino), about.st_size, about.st_nlink))
    return found


def _freed(paths: Sequence[Path]) -> int:
    """Bytes of files all of whose places are among those that go."""
    places: dict[tuple[int, int], int] = {}
    about: dict[tuple[int, int], tuple[int, int]] = {}
    for path in paths:
        for which, size, links in _files(path):
            places[which] = places.get(which, 0) + 1
            about[which] = size, links
    return sum(size for which, (size, links) in about.items() if places[which] >= links)
