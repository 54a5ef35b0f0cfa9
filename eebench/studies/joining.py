"""Which runs can become one, what of each counts, and what stands in the way, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eebench.errors import UserError, shown
from eebench.manifest import check_cell, check_run
from eebench.record import CellFacts, RunRecord, read_record
from eebench.runs.cell import Cell
from eebench.schema import BACKBONE, STATIC

__all__ = ["Joined", "Source", "join", "machine_of"]

FREE = frozenset("methods seeds data_dir device threads".split())
"""What runs that become one may differ in: what is joined, and where it was made."""


@dataclass(frozen=True)
class Source:
    """One of the runs."""

    path: Path
    record: RunRecord

    @property
    def name(self) -> str:
        """How it is called in a message."""
        return shown(self.path)

    def cell(self, facts: CellFacts) -> Cell:
        """A finished cell of it."""
        assert facts.id is not None
        folder = self.path / "cells" / facts.id
        return Cell(facts.id, facts.label, facts.seed, folder, facts.seconds or 0.0, facts.reused)


@dataclass(frozen=True)
class Joined:
    """Runs that fit together.

    Attributes:
        sources: the runs; the first one's machine is that of the whole.
        spec: settings of the whole.
        cells: what became of each cell and in which run, in the order of a run's record.
    """

    sources: list[Source]
    spec: dict[str, Any]
    cells: dict[tuple[str, int], tuple[Source, CellFacts]]

    @property
    def seeds(self) -> list[int]:
        """Training seeds."""
        return list(self.spec["seeds"])

    def done(self, label: str, seed: int) -> Cell | None:
        """A finished cell."""
        found = self.cells.get((label, seed))
        return found[0].cell(found[1]) if found is not None and found[1].status == "done" else None

    def statics(self, seed: int) -> dict[int, Cell]:
        """Finished static models of a seed, by their number of blocks."""
        labels = [label for label, number in self.cells if number == seed and label.startswith(f"{STATIC}[")]
        cells = {int(label.partition("=")[2].rstrip("]")): self.done(label, seed) for label in labels}
        return {blocks: cell for blocks, cell in sorted(cells.items()) if cell is not None}


def join(paths: Sequence[Path]) -> Joined:
    """See whether runs can become one.

    Raises:
        UserError: in one line: fewer than two, one twice, one that cannot be read or is damaged, and every conflict:
            rules, settings, versions or data that differ, cells that were made twice with different results or that
            none of the runs has.
    """
    if len(paths) < 2:
        raise UserError("merge joins two runs or more")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("merge: a run is named twice")
    sources = [Source(path, read_record(path)) for path in paths]
    for source in sources:
        check_run(source.path)
    first = sources[0]
    conflicts = [f"{what} in {first.name} and {other.name}" for other in sources[1:] for what in _differ(first, other)]
    if conflicts:
        raise UserError(f"these runs cannot be merged: {'; '.join(conflicts)}")
    spec = first.record.spec | {
        "methods": list(dict.fromkeys(name for source in sources for name in source.record.spec["methods"])),
        "seeds": sorted({seed for source in sources for seed in source.record.spec["seeds"]}),
    }
    return Joined(sources, spec, _cells(sources, spec))


def machine_of(record: RunRecord) -> str:
    """Processor, and GPU where there was one: clocks of different ones are never set against each other."""
    gpu = (record.environment.get("gpu") or {}).get("name")
    return " and ".join(str(name) for name in (record.environment.get("cpu"), gpu) if name)


def _differ(first: Source, other: Source) -> Iterator[str]:
    """What keeps two runs apart."""
    a, b = first.record, other.record
    if a.protocol_version != b.protocol_version:
        yield f"protocol {a.protocol_version} and {b.protocol_version}"
    for name in sorted((a.spec.keys() | b.spec.keys()) - FREE):
        if a.spec.get(name) != b.spec.get(name):
            yield f"{name} {a.spec.get(name)} and {b.spec.get(name)}"
    if a.spec.get("search") is not None:
        yield "a search, which chose for its own run alone,"
    if a.imported is not None or b.imported is not None:
        yield "imported predictions (eebench import --beside joins them)"
    if any(name.startswith("ms_") for name in a.spec.get("targets") or ()):
        yield "targets in milliseconds, which one clock must answer for all,"
    for name in ("split_sha256", "content_sha256"):
        if getattr(a.data, name) != getattr(b.data, name):
            yield "another split" if name == "split_sha256" else "other data"
    if a.backbone.weights_sha256 != b.backbone.weights_sha256:
        yield "other starting weights"
    if a.environment.get("eebench") != b.environment.get("eebench"):
        yield f"eebench {a.environment.get('eebench')} and {b.environment.get('eebench')}"


def _cells(sources: Sequence[Source], spec: dict[str, Any]) -> dict[tuple[str, int], tuple[Source, CellFacts]]:
    """Each cell from the run that has it; a finished one before a failed one."""
    found: dict[tuple[str, int], tuple[Source, CellFacts]] = {}
    conflicts: list[str] = []
    for source in sources:
        for facts in source.record.cells:
            key = facts.label, facts.seed
            if key not in found:
                found[key] = source, facts
                continue
            held, known = found[key]
            if facts.status == "done" and known.status != "done":
                found[key] = source, facts
            elif facts.status == known.status == "done" and not _same(held, known, source, facts):
                conflicts.append(
                    f"{facts.label} seed {facts.seed} is another model in {held.name} than in {source.name}"
                )
    statics = dict.fromkeys(label for label, _ in found if label.startswith(f"{STATIC}["))
    order = [(label, seed) for seed in spec["seeds"] for label in (BACKBONE, *statics, *spec["methods"])]
    conflicts += [f"none of them has {label} seed {seed}" for label, seed in order if (label, seed) not in found]
    if conflicts:
        raise UserError(f"these runs cannot be merged: {'; '.join(conflicts)}")
    for source, facts in found.values():
        if facts.status == "done":
            _check(source, facts)
    return {key: found[key] for key in order}


def _same(held: Source, known: CellFacts, source: Source, facts: CellFacts) -> bool:
    """Whether a cell that two runs have is the same: of the same making, and with the same answers."""
    if known.id != facts.id:
        return False
    for one, two in ((held, known), (source, facts)):
        _check(one, two)
    a, b = (source.cell(one).trace("test") for source, one in ((held, known), (source, facts)))
    return np.array_equal(a.prediction, b.prediction) and np.array_equal(a.confidence, b.confidence, equal_nan=True)


def _check(source: Source, facts: CellFacts) -> None:
    cell = source.cell(facts)
    check_cell(cell.path, cell.id, source.record.checksums)
    lacking = [name for name in ("trace-val.npz", "trace-test.npz") if not (cell.path / name).exists()]
    if lacking:
        raise UserError(
            f"{shown(cell.path)} has no {lacking[0]}; tables are computed anew from the traces of all cells"
        )
