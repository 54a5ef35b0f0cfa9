"""The run that imported models are put beside: its cells taken over, its own rules and timings kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from eebench.api import ExitRule
from eebench.errors import UserError
from eebench.exchange.card import Card
from eebench.exchange.cells import Model, same_samples
from eebench.exchange.scoring import SeedCells, seeds_of
from eebench.manifest import check_cell, check_run
from eebench.plugins.registry import Registry
from eebench.record import CellFacts, ImportFacts, RunRecord, read_record
from eebench.runs.cell import Cell
from eebench.runs.imported import rule_of
from eebench.schema import BACKBONE, STATIC

__all__ = ["KEPT", "Neighbour", "add_clock", "finished_cells"]

KEPT = ("training", "search", "latency", "energy")
"""Tables that are taken over as they are."""

CLOSE = 0.01  # declared and counted cost of the same plain backbone may differ so much: a norm counted or not
KEY = ["method", "seed", "kind", "target"]


def finished_cells(run: Path, record: RunRecord, labels: Sequence[str] | None = None) -> list[Cell]:
    """Finished cells whose arrays are there, in the order of the record.

    Raises:
        UserError: arrays of one are missing, as in a record that was committed without them, or record or cells are
            not as they were written.
    """
    check_run(run)
    cells = []
    for facts in record.cells:
        if facts.status != "done" or facts.id is None or (labels is not None and facts.label not in labels):
            continue
        path = run / "cells" / facts.id
        check_cell(path, facts.id, record.checksums)
        for name in ("trace-val.npz", "trace-test.npz", "costs-val.npz", "costs-test.npz"):
            if not (path / name).is_file():
                raise UserError(f"{path} has no {name}; run the benchmark here first")
        cells.append(Cell(facts.id, facts.label, facts.seed, path, facts.seconds or 0.0, facts.reused))
    return cells


@dataclass(frozen=True)
class Neighbour:
    """A finished run with its arrays."""

    path: Path
    record_: RunRecord
    cells: list[Cell]
    rules: dict[str, tuple[ExitRule, float | None]]

    @classmethod
    def open(cls, path: Path, registry: Registry | None) -> Neighbour:
        """Read a run that others can be put beside.

        Raises:
            UserError: no run, arrays that are not there, a method that is not installed.
        """
        record = read_record(path)
        cells = finished_cells(path, record)
        labels = [cell.label for cell in cells if cell.label != BACKBONE and not cell.label.startswith(f"{STATIC}[")]
        return cls(path, record, cells, {label: rule_of(record, label, registry) for label in dict.fromkeys(labels)})

    @property
    def targets(self) -> list[str]:
        """What the run's knobs were chosen for, but for milliseconds."""
        return [name for name in self.record_.spec["targets"] if not name.startswith("ms_")]

    def check(self, card: Card, models: Sequence[Model]) -> None:
        """Refuse what cannot be compared.

        Raises:
            UserError: another task, depth, set of samples or plain backbone, or a label that the run has already.
        """
        record = self.record_
        task, mine = record.data.task, card.task
        for name in ("kind", "classes", "metric"):
            if getattr(task, name) != getattr(mine, name):
                raise UserError(
                    f"--beside: {name} is {getattr(task, name)} in the run, {getattr(mine, name)} in the card"
                )
        if record.backbone.depth != card.backbone.depth:
            raise UserError(
                f"--beside: the run's backbone has {record.backbone.depth} blocks, the card's {card.backbone.depth}"
            )
        counted = 1e9 * record.backbone.gmacs
        if abs(card.backbone.macs / counted - 1) > CLOSE:
            raise UserError(
                f"--beside: the card says {card.backbone.macs:.4g} MACs for the plain backbone, the run counted"
                f" {counted:.4g}: another network, or another way of counting"
            )
        has = {cell.label for cell in self.cells}
        for model in models:
            if model.card.method in has:
                raise UserError(f"--beside: the run has a '{model.card.method}' already; name it otherwise in the card")
            for split in ("val", "test"):
                if not same_samples(self.cells[0].trace(split), getattr(model, split).trace):
                    raise UserError(f"--beside: the {split} samples of {model.card.method} are not the run's")

    def seeds(self, folder: Path) -> dict[int, SeedCells]:
        """The run's cells, linked into another run's folder of cells."""
        taken = []
        for cell in self.cells:
            target = folder / cell.id
            shutil.copytree(cell.path, target, copy_function=_link)
            taken.append(replace(cell, path=target, reused=True))
        return {one.seed: one for one in seeds_of(taken)}

    def add_timings(self, tables: dict[str, list[dict[str, Any]]]) -> None:
        """Take over what arrays do not hold: the clock's tables, and its columns of operating points."""
        for name in KEPT:
            path = self.path / f"{name}.csv"
            if path.is_file():
                tables[name] = pd.read_csv(path).to_dict("records")  # type: ignore[assignment]
        add_clock(tables["operating_points"], self.path)

    def record(
        self,
        spec: Mapping[str, Any],
        digest: str,
        name: str,
        imported: ImportFacts,
        cells: Sequence[CellFacts],
        notes: Sequence[str],
    ) -> RunRecord:
        """The joint run's record: the run's own, with more cells."""
        own = self.record_
        joint = {**own.spec, "methods": spec["methods"], "seeds": spec["seeds"], "targets": spec["targets"]}
        said = [*own.notes, *notes, f"beside run {own.run}, whose numbers are eebench's own"]
        changed = {"run": name, "spec": joint, "spec_sha256": digest, "cells": [*own.cells, *cells], "notes": said}
        return own.model_copy(update={**changed, "imported": imported})


def add_clock(rows: Sequence[dict[str, Any]], run: Path) -> None:
    """Give operating points the measured speed-ups that a run has for the same knobs."""
    points = pd.read_csv(run / "operating_points.csv")
    timed = [name for name in map(str, points) if name.startswith(("speedup_cpu", "speedup_gpu", "withheld_"))]
    own: list[dict[str, Any]] = points.to_dict("records")  # type: ignore[assignment]
    known = {tuple(row[k] for k in KEY): row for row in own}
    for row in rows:
        found = known.get(tuple(row[k] for k in KEY))
        if found is not None and _same(found["knob"], row["knob"]):
            row |= {column: found[column] for column in timed if not pd.isna(found[column])}


def _same(knob: Any, other: Any) -> bool:
    return (pd.isna(knob) and other is None) or (other is not None and abs(float(knob) - float(other)) < 1e-6)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
