"""Read a run directory: run.json and its tables. The one reader of the report; nothing else of a run is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from eebench.errors import UserError
from eebench.files import read_json
from eebench.manifest import check_run
from eebench.report.columns import ADDED, FLAGS, NEEDED, OPTIONAL, TEXT
from eebench.report.older import upgrade
from eebench.report.targets import in_order, main_target
from eebench.schema import BACKBONE, EAGER, STATIC

__all__ = ["BACKBONE", "NEEDED", "READS", "STATIC", "Record", "load"]

READS = (2, 3)
"""Schema versions that can be read."""

_RUN = ("run", "command", "spec", "spec_sha256", "environment", "data", "backbone", "macs", "cells")


@dataclass(frozen=True)
class Record:
    """A run as its directory tells it: ``run`` is run.json, the frames are its tables by name."""

    path: Path
    run: dict[str, Any]
    tables: dict[str, pd.DataFrame] = field(repr=False)

    @property
    def curves(self) -> pd.DataFrame:
        """Every knob value, fixed exit and model, on both splits."""
        return self.tables["curves"]

    @property
    def exits(self) -> pd.DataFrame:
        """Every exit on both splits."""
        return self.tables["exits"]

    @property
    def points(self) -> pd.DataFrame:
        """Operating points."""
        return self.tables["operating_points"]

    @property
    def latency(self) -> pd.DataFrame:
        """Every path timed in eager PyTorch; what other runtimes do is a table of its own, ``runtimes``."""
        table = self.tables["latency"]
        return table[table["runtime"] == EAGER]

    def table(self, name: str) -> pd.DataFrame:
        """An optional table; empty, with its columns, where the run has none."""
        return self.tables.get(name, pd.DataFrame(columns=list(OPTIONAL[name])))

    @cached_property
    def methods(self) -> list[str]:
        """Early-exit methods that have operating points, in the order they were asked for."""
        points = self.points
        measured = set(points.loc[points["kind"] == "dynamic", "method"])
        asked = [cell["method"] for cell in self.run["cells"]]
        return [m for m in dict.fromkeys([*asked, *points["method"]]) if m in measured]

    @property
    def statics(self) -> list[str]:
        """The label of smaller models of the same architecture, each trained alone, where the run has them."""
        return [STATIC] if (self.curves["kind"] == "static").any() else []

    @cached_property
    def labels(self) -> dict[str, str]:
        """Display name by method: its card's title with the options as typed; the plain name where titles collide."""
        labels = {cell["method"]: _label(cell) for cell in self.run["cells"]}
        labels |= {m: m for m in self.methods if m not in labels}
        shared = {label for label in labels.values() if list(labels.values()).count(label) > 1}
        labels = {m: m if label in shared else label for m, label in labels.items()}
        own = {m: _static_label(m) for m in labels if m.startswith(f"{STATIC}[")}
        return labels | own | {BACKBONE: "plain backbone", STATIC: "static model"}

    @cached_property
    def cells(self) -> list[dict[str, Any]]:
        """The methods' cells, without the plain backbone's and the static models'."""
        names = (BACKBONE, f"{STATIC}[")
        return [cell for cell in self.run["cells"] if not cell["method"].startswith(names)]

    @cached_property
    def unfinished(self) -> str:
        """``3 of 8 cells are made`` where some are not; nothing for a finished run."""
        cells = self.run["cells"]
        missing = sum(cell["status"] == "missing" for cell in cells)
        return f"{len(cells) - missing} of {len(cells)} cells are made" if missing else ""

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds that were asked for; of an unfinished run those that have a plain backbone."""
        asked = list(self.run["spec"].get("seeds") or sorted({cell["seed"] for cell in self.run["cells"]}))
        return [seed for seed in asked if seed in set(self.plain["seed"])] if self.unfinished else asked

    @cached_property
    def targets(self) -> list[str]:
        """Names of the targets, in the report's order."""
        return in_order(self.points["target"])

    @cached_property
    def main(self) -> str:
        """The target that a report opens with."""
        return main_target(self.targets)

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
        return self.test("plain").assign(drop=0.0, drop_low=0.0, drop_high=0.0)

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

    def val(self, kind: str) -> pd.DataFrame:
        """Validation rows of the curves of one kind."""
        return self.curves[(self.curves["kind"] == kind) & (self.curves["split"] == "val")]


def load(run_dir: Path) -> Record:
    """Read ``run_dir``.

    Raises:
        UserError: the directory, run.json or a table is missing, damaged, edited or of another schema version.
    """
    run_dir = Path(run_dir)
    run = _run_json(run_dir)
    check_run(run_dir)
    tables = {name: _table(run_dir / f"{name}.csv", columns) for name, columns in NEEDED.items()}
    there = {name: columns for name, columns in OPTIONAL.items() if (run_dir / f"{name}.csv").is_file()}
    tables |= {name: _table(run_dir / f"{name}.csv", columns) for name, columns in there.items()}
    if "split" in tables.get("shares", ()):  # a report is about test data
        tables["shares"] = tables["shares"][tables["shares"]["split"] == "test"]
    if run["schema_version"] == 2:
        tables = upgrade(tables)
    for name, added in ADDED.items():
        table = tables[name]
        tables[name] = table.assign(**{column: value for column, value in added.items() if column not in table})
    return Record(run_dir, run, {name: table for name, table in tables.items() if name in NEEDED or len(table)})


def _label(cell: dict[str, Any]) -> str:
    """``LGViT [blocks=4+8]``: the title on the method's card, and the options it was asked for with."""
    name, bracket, options = cell["method"].partition("[")
    title = (cell.get("card") or {}).get("title") or name
    return f"{title} {bracket}{options}".strip()


def _static_label(method: str) -> str:
    """``static model, 3 blocks`` for the cell ``static[blocks=3]``."""
    blocks = method.partition("=")[2].rstrip("]")
    return f"static model, {blocks} block{'' if blocks == '1' else 's'}"


def _run_json(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "run.json"
    if not path.is_file():
        raise UserError(f"{run_dir} is no run directory: it has no run.json")
    run = read_json(path)
    if not isinstance(run, dict):
        raise UserError(f"{path} is no run record: it holds no JSON object")
    version = run.get("schema_version")
    if version not in READS:
        raise UserError(f"{path} has schema_version {version}; this eebench reads {' and '.join(map(str, READS))}")
    lacking = [key for key in _RUN if key not in run]
    if lacking:
        raise UserError(f"{path} lacks {', '.join(lacking)}")
    return run


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """One table with at least these columns; text stays text, flags become booleans, the rest numbers."""
    if not path.is_file():
        raise UserError(f"{path.parent} is an incomplete run directory: it has no {path.name}")
    kinds = dict.fromkeys(TEXT | FLAGS, str)
    try:
        frame = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as error:  # pandas' own parser errors are ValueErrors
        raise UserError(f"{path} cannot be read: {error}") from error
    lacking = [name for name in columns if name not in frame]
    if lacking:
        raise UserError(f"{path} lacks the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}")
    for name in (*columns, *(column for column in ADDED.get(path.stem, ()) if column in frame)):
        if name in FLAGS:
            frame[name] = frame[name].str.lower().isin(["true", "1"])
        elif name.startswith("withheld"):
            frame[name] = frame[name].fillna("")
        elif name not in TEXT:
            try:
                frame[name] = pd.to_numeric(frame[name])
            except ValueError as error:
                raise UserError(f"{path}, column {name}: {error}") from error
    return frame
