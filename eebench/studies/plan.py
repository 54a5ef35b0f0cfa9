"""What a study would do: every run checked before the first begins, and which of them are finished already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eebench.errors import UserError
from eebench.manifest import faults_of_cell, faults_of_run
from eebench.plugins.registry import Registry
from eebench.record import read_record
from eebench.runs.fingerprint import method_sha256
from eebench.runs.mistaken import refuse_texts
from eebench.runs.prepare import Prepared, prepare
from eebench.schema import BACKBONE, static_label
from eebench.studies.expand import Entry

__all__ = ["Planned", "plan_study", "prepared_entry"]


@dataclass(frozen=True)
class Planned:
    """One run of a study, checked."""

    entry: Entry
    run: str  # name of its folder
    finished: bool

    @property
    def title(self) -> str:
        """Its name for people: what tells it from the others; of a study with one run, the name of its folder."""
        return self.entry.title if self.entry.apart else self.run


def plan_study(entries: Sequence[Entry], registry: Registry, results: Path) -> list[Planned]:
    """Check every run of a study, as a single run is checked before it begins; nothing is started.

    Raises:
        UserError: what is wrong with one of them, in one line that names it.
    """
    found: list[Planned] = []
    for entry in entries:
        prepared = prepared_entry(entry, registry)
        name = prepared.spec.run_name
        twin = next((one for one in found if one.run == name), None)
        if twin is not None:
            raise UserError(f"two runs of the study are the same: {twin.entry.title} and {entry.title}")
        found.append(Planned(entry, name, _finished(prepared, results / name)))
    return found


def prepared_entry(entry: Entry, registry: Registry) -> Prepared:
    """A run of a study with everything it needs.

    Raises:
        UserError: what is wrong with it, in one line that names it.
    """
    try:
        refuse_texts(entry.spec.dataset)
        return prepare(entry.spec, registry)
    except UserError as error:
        raise UserError(f"{entry.title}: {error}") from None


def _finished(prepared: Prepared, run: Path) -> bool:
    """Whether a run's record is of this very spec, nothing in it failed, and its cells are what would be made now."""
    if not (run / "run.json").exists() or faults_of_run(run):
        return False
    try:
        record = read_record(run)
    except UserError:  # damaged, or of an older eebench: run again
        return False
    if record.spec_sha256 != prepared.spec.sha256 or any(cell.status == "failed" for cell in record.cells):
        return False
    made = {cell.id for cell in record.cells if cell.status == "done"}
    if any(cell is None or faults_of_cell(run / "cells" / cell, cell) for cell in made):
        return False
    return prepared.spec.search is not None or made == set(_cells(prepared))


def _cells(prepared: Prepared) -> Iterator[str]:
    """Ids of the cells that a run without a search makes or reuses."""
    spec = prepared.spec
    for seed in spec.seeds:
        yield prepared.cell_id(BACKBONE, seed, "")
        for blocks in spec.static_blocks(prepared.depth):
            yield prepared.cell_id(static_label(blocks), seed, "")
        for chosen in prepared.methods:
            if chosen.label not in prepared.skips:
                yield prepared.cell_id(chosen.trained, seed, method_sha256(type(chosen.method)))
