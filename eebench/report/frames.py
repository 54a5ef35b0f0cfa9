"""Read a run directory: run.json and its tables, checked against the schema. Nothing else of a run is looked at."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from eebench.errors import UserError
from eebench.schema import BACKBONE, SCHEMA_VERSION, STATIC, TABLES, TARGETS

__all__ = ["BACKBONE", "REQUIRED", "Record", "load"]

_OWN = {BACKBONE: "plain backbone", STATIC: "smaller static models"}
REQUIRED = ("curves", "exits", "operating_points", "latency")
"""Tables a report cannot do without; the schema's others are shown where a run has them."""

_TEXT = {"method", "split", "kind", "knob_name", "metric", "target", "device", "scenario", "path", "name", "sets",
    "choose", "measure", "method_a", "method_b", "withheld_cpu", "withheld_gpu", "basis",
}  # fmt: skip
_FLAGS = {"met", "noisy", "live", "reused", "contaminated"}
_NEEDED = ("run", "command", "spec", "spec_sha256", "environment", "data", "backbone", "macs", "cells")


@dataclass(frozen=True)
class Record:
    """A run as its directory tells it: ``run`` is run.json, the frames are the tables of :mod:`eebench.schema`."""

    path: Path
    run: dict[str, Any]
    curves: pd.DataFrame
    exits: pd.DataFrame
    points: pd.DataFrame
    latency: pd.DataFrame
    optional: dict[str, pd.DataFrame] = field(default_factory=dict)

    @cached_property
    def methods(self) -> list[str]:
        """Methods that have operating points, in the order they were asked for."""
        measured = set(self.points["method"])
        asked = [cell["method"] for cell in self.run["cells"]]
        return [
            m for m in dict.fromkeys([*asked, *self.points["method"]]) if m in measured and m not in (BACKBONE, STATIC)
        ]

    @cached_property
    def labels(self) -> dict[str, str]:
        """Display name by method: its card's title with the options as typed; the plain name where titles collide."""
        labels = {cell["method"]: _label(cell) for cell in self.run["cells"]}
        labels |= {m: m for m in self.methods if m not in labels}
        shared = {label for label in labels.values() if list(labels.values()).count(label) > 1}
        return {m: m if label in shared else label for m, label in labels.items()} | _OWN

    @cached_property
    def cells(self) -> list[dict[str, Any]]:
        """The methods' cells, without the plain backbone's."""
        names = (BACKBONE, f"{STATIC}[")
        return [cell for cell in self.run["cells"] if not cell["method"].startswith(names)]

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds that were asked for."""
        return list(self.run["spec"].get("seeds") or sorted({cell["seed"] for cell in self.run["cells"]}))

    @cached_property
    def depth(self) -> int:
        """Blocks of the backbone."""
        return int(self.run["backbone"]["depth"])

    @cached_property
    def metric(self) -> str:
        """The task's metric by its name in the schema."""
        return str(self.run["data"]["task"]["metric"])

    @cached_property
    def plain(self) -> pd.DataFrame:
        """The plain backbone's test rows, one a seed, with a target-independent ``drop`` of 0."""
        rows = self.curves[(self.curves["kind"] == "plain") & (self.curves["split"] == "test")]
        return rows.assign(drop=0.0, drop_low=0.0, drop_high=0.0)

    @cached_property
    def single(self) -> pd.DataFrame:
        """Latency rows of the batch-1 scenario, the one that the speed-ups come from."""
        return self.latency[(self.latency["scenario"] == "single") & (self.latency["batch_size"] == 1)]

    @cached_property
    def devices(self) -> list[str]:
        """``cpu`` and/or ``cuda``, whichever was timed at batch 1."""
        return [d for d in ("cpu", "cuda") if (self.single["device"] == d).any()]

    def test(self, kind: str) -> pd.DataFrame:
        """Test rows of the curves of one kind."""
        return self.curves[(self.curves["kind"] == kind) & (self.curves["split"] == "test")]


def load(run_dir: Path) -> Record:
    """Read ``run_dir``.

    Raises:
        UserError: the directory, run.json or a table is missing, damaged or of another schema version.
    """
    run_dir = Path(run_dir)
    run = _run_json(run_dir)
    there = [name for name in TABLES if name in REQUIRED or (run_dir / f"{name}.csv").is_file()]
    tables = {name: _table(run_dir / f"{name}.csv", tuple(TABLES[name])) for name in there}
    optional = {name: table for name, table in tables.items() if name not in REQUIRED and len(table)}
    tables["exits"] = _with_shares(tables["exits"], optional.get("shares"))
    return Record(
        run_dir, run, tables["curves"], tables["exits"], tables["operating_points"], tables["latency"], optional
    )


def _with_shares(exits: pd.DataFrame, shares: pd.DataFrame | None) -> pd.DataFrame:
    """Exits with a column ``share_<target>`` and ``accuracy_<target>`` for every operating point."""
    if shares is None:
        empty = [f"{name}_{target}" for target in TARGETS for name in ("share", "accuracy")]
        return exits.assign(**dict.fromkeys(empty, float("nan")))
    keys = ["method", "seed", "split", "exit"]
    wide = shares.pivot_table(index=keys, columns="target", values=["share", "accuracy"], dropna=False)
    wide.columns = ["_".join(map(str, column)) for column in wide.columns]
    return exits.merge(wide.reset_index(), "left", keys)


def _label(cell: dict[str, Any]) -> str:
    """``LGViT [blocks=4+8]``: the title on the method's card, and the options it was asked for with."""
    name, bracket, options = cell["method"].partition("[")
    title = (cell.get("card") or {}).get("title") or name
    return f"{title} {bracket}{options}".strip()


def _run_json(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "run.json"
    if not path.is_file():
        raise UserError(f"{run_dir} is no run directory: it has no run.json")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(run, dict):
        raise UserError(f"{path} is no run record: it holds no JSON object")
    version = run.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UserError(f"{path} has schema_version {version}; this eebench reads {SCHEMA_VERSION}")
    lacking = [key for key in _NEEDED if key not in run]
    if lacking:
        raise UserError(f"{path} lacks {', '.join(lacking)}")
    return run


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """One table with at least these columns; text stays text, flags become booleans, the rest numbers."""
    if not path.is_file():
        raise UserError(f"{path.parent} is an incomplete run directory: it has no {path.name}")
    kinds = dict.fromkeys(_TEXT | _FLAGS, str)
    try:
        frame = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as error:  # pandas' own parser errors are ValueErrors
        raise UserError(f"{path} cannot be read: {error}") from error
    lacking = [name for name in columns if name not in frame]
    if lacking:
        raise UserError(f"{path} lacks the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}")
    for name in columns:
        if name in _FLAGS:
            frame[name] = frame[name].str.lower().isin(["true", "1"])
        elif name not in _TEXT:
            try:
                frame[name] = pd.to_numeric(frame[name])
            except ValueError as error:
                raise UserError(f"{path}, column {name}: {error}") from error
    return frame
