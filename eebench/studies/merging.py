"""``eebench merge``: seeds or methods made apart become one run, its tables computed anew from the cells' traces.

Only what was measured by a clock or a meter is taken over: it cannot be computed. The clock of the first run's machine
counts; what was timed on another machine is withheld with that reason, so that no mean and no ranking mixes machines.
"""

from __future__ import annotations

import csv
import shlex
import shutil
import sys
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eebench.api import ExitRule
from eebench.errors import UserError
from eebench.exchange.scoring import Choosing, SeedCells, score_cells
from eebench.plugins.registry import Registry
from eebench.record import RunRecord
from eebench.runs.finished import task_of
from eebench.runs.spec import make_spec
from eebench.runs.store import Store
from eebench.schema import BACKBONE, STATIC, TABLES
from eebench.studies.joining import Joined, Source, join, machine_of

__all__ = ["merge"]

Row = dict[str, Any]
_CLOCKED = [f"{name}_{device}{end}" for device in ("cpu", "gpu") for name, end in
            (("speedup", ""), ("speedup", "_low"), ("speedup", "_high"), ("withheld", ""))]  # fmt: skip


def merge(runs: Sequence[str | Path], out: str | Path, registry: Registry | None = None) -> Path:
    """Make one run of several that differ in seeds or methods alone.

    Args:
        runs: run directories, the one whose clock counts first.
        out: directory of the new run; its parent is the results folder it belongs to.
        registry: where the runs' methods come from; the installed ones when not given.

    Returns:
        The new run directory.

    Raises:
        UserError: in one line, nothing being written: ``out`` is there already, a run cannot be read or is damaged, a
            method is not installed, or the runs do not fit together, with every conflict named.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"merge: {out} is there already; give the name of a new run directory")
    joined = join([Path(run) for run in runs])
    merging = _Merging(joined, registry or Registry.installed())
    merging.compute()
    there = out.parent.exists()
    try:
        return _write(merging, out)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        if not there:
            shutil.rmtree(out.parent, ignore_errors=True)
        raise


class _Merging:
    """The new run's tables."""

    def __init__(self, joined: Joined, registry: Registry) -> None:
        self.joined = joined
        self.spec = make_spec(**joined.spec)
        self.chosen = {one.label: one for one in registry.choose(",".join(self.spec.methods))}
        self.machine = machine_of(joined.sources[0].record)
        self.tables: dict[str, list[Row]] = {name: [] for name in TABLES}
        self.raw: dict[str, dict[str, np.ndarray]] = {}

    def compute(self) -> None:
        """Score every cell anew, choose, compare; then add what was measured."""
        first = self.joined.sources[0].record
        task = task_of(first)
        seeds = [self._cells(seed) for seed in self.joined.seeds]

        def rules(label: str) -> tuple[ExitRule, float | None]:
            chosen = self.chosen[label]
            return chosen.rule(task), chosen.pinned

        choosing = Choosing.of(self.spec.model_dump())
        self.tables |= score_cells(seeds, task, first.backbone.depth, rules, choosing)
        self._take_over()

    def _cells(self, seed: int) -> SeedCells:
        base = self.joined.done(BACKBONE, seed)
        assert base is not None, "a run without its backbone has no record"
        methods = [self.joined.done(label, seed) for label in self.spec.methods]
        return SeedCells(seed, base, self.joined.statics(seed), [cell for cell in methods if cell is not None])

    def _take_over(self) -> None:
        """What was measured, from the run that a cell comes from: training, other inputs, clocks, energy."""
        points = {_point(row): row for row in self.tables["operating_points"]}
        for source in self.joined.sources:
            cells = {key for key, (held, _) in self.joined.cells.items() if held is source}
            own = {(STATIC if label.startswith(f"{STATIC}[") else label, seed) for label, seed in cells}
            self.tables["training"] += _rows(source, "training", cells)
            for name in ("shift", "slowdown"):
                self.tables[name] += _rows(source, name, own)
            elsewhere = "" if machine_of(source.record) == self.machine else f"timed on {machine_of(source.record)}"
            for row in _rows(source, "operating_points", own):
                held = points.get(_point(row))
                if held is not None and _number(row["knob"]) == _number(held["knob"]):
                    held |= {name: _clocked(name, row, elsewhere) for name in _CLOCKED if name in row}
            if not elsewhere:
                for name in ("latency", "runtimes", "energy"):
                    self.tables[name] += _rows(source, name, own)
                self._take_raw(source, own)
        first = self.joined.sources[0]
        self.tables["samples"] = _rows(first, "samples")
        if (first.path / "samples.npz").exists():
            with np.load(first.path / "samples.npz", allow_pickle=False) as file:
                self.raw["samples"] = {name: file[name] for name in file.files}
        order = {key: number for number, key in enumerate(self.joined.cells)}
        self.tables["training"].sort(key=lambda row: order[row["method"], int(row["seed"])])

    def _take_raw(self, source: Source, own: set[tuple[str, int]]) -> None:
        for seed in self.joined.seeds:
            path = source.path / f"latency-s{seed}.npz"
            if not path.exists():
                continue
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files if (name.partition("|")[0], seed) in own}
            if arrays:
                self.raw.setdefault(path.stem, {}).update(arrays)

    def record(self, name: str) -> RunRecord:
        """The new run's record."""
        sources, first = self.joined.sources, self.joined.sources[0].record
        here = [source for source in sources if machine_of(source.record) == self.machine]
        words = [f"merged from {source.record.run} ({machine_of(source.record)})" for source in sources]
        words += [
            f"{source.record.run} was timed on another machine than {first.run}: its times and speed-ups are left out"
            for source in sources
            if source not in here
        ]
        for key in ("torch", "git_sha"):
            found = list(dict.fromkeys(str(source.record.environment.get(key)) for source in sources))
            words += [f"made with {key} {' and '.join(found)}"] if len(found) > 1 else []
        uncounted: dict[str, int] = {}
        for _, facts in self.joined.cells.values():
            for op, count in facts.uncounted.items():
                uncounted[op] = max(count, uncounted.get(op, 0))
        return first.model_copy(
            update={
                "run": name,
                "command": shlex.join(["eebench", *sys.argv[1:]]) if Path(sys.argv[0]).name == "eebench" else None,
                "spec": self.spec.model_dump(mode="json"),
                "spec_sha256": self.spec.sha256,
                "started": min(source.record.started for source in sources),
                "finished": max(source.record.finished for source in sources),
                "seconds": sum(source.record.seconds for source in sources),
                "macs": first.macs.model_copy(update={"uncounted": uncounted}),
                "timing": [facts for source in here for facts in source.record.timing],
                "cells": [facts for _, facts in self.joined.cells.values()],
                "notes": list(dict.fromkeys([*words, *(note for s in sources for note in s.record.notes)])),
            }
        )


def _write(merging: _Merging, out: Path) -> Path:
    store = Store(out.parent, out.name)
    for source, facts in merging.joined.cells.values():
        if facts.status == "done":
            assert facts.id is not None
            shutil.copytree(source.path / "cells" / facts.id, store.path / "cells" / facts.id)
    for source in merging.joined.sources:
        for log in source.path.glob("failed-*.log"):
            shutil.copy2(log, store.path / log.name)
    store.publish(merging.tables, merging.raw, merging.record(out.name))
    return store.path


def _rows(source: Source, table: str, own: Container[tuple[str, int]] | None = None) -> list[Row]:
    """Rows of a table as they are written, so that nothing is rounded twice; empty cells are None.

    Args:
        source: the run.
        table: its name.
        own: only rows of these methods and seeds.
    """
    path = source.path / f"{table}.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[Row] = [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]
    return [row for row in rows if own is None or (row["method"], int(row["seed"])) in own]


def _point(row: Row) -> tuple[str, int, str, str]:
    return row["method"], int(row["seed"]), row["kind"], row["target"]


def _number(value: Any) -> str:
    """As tables have it: nine significant digits."""
    return "" if value in (None, "") else f"{float(value):.9g}"


def _clocked(name: str, row: Row, elsewhere: str) -> Any:
    """A value of the clock; of another machine's the reason why it is not shown, where there was one."""
    if not elsewhere:
        return row[name]
    timed = row.get(f"speedup_{name[9:12]}") or row.get(f"withheld_{name[9:12]}")
    return elsewhere if name.startswith("withheld") and timed else None
