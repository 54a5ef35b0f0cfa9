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
from eebench.report.older import upgrade
from eebench.report.targets import in_order, main_target
from eebench.schema import BACKBONE, STATIC

__all__ = ["BACKBONE", "NEEDED", "READS", "STATIC", "Record", "load"]

READS = (2, 3)
"""Schema versions that can be read."""

NEEDED: dict[str, tuple[str, ...]] = {
    "curves": (
        "method", "seed", "split", "kind", "knob_name", "knob", "score", "mean_exit", "gmacs", "gmacs_backbone",
        "gmacs_heads", "gmacs_gates", "speedup_layers", "speedup_macs", "ece",
    ),
    "exits": ("method", "seed", "split", "exit", "score", "gmacs", "ece", "ece_calibrated"),
    "operating_points": (
        "method", "seed", "kind", "target", "met", "knob_name", "knob", "val_score", "val_gmacs", "score", "drop",
        "drop_low", "drop_high", "over_fixed", "over_fixed_low", "over_fixed_high", "mean_exit", "gmacs",
        "gmacs_backbone", "gmacs_heads", "gmacs_gates", "speedup_layers", "speedup_macs", "speedup_cpu",
        "speedup_cpu_low", "speedup_cpu_high", "speedup_gpu", "speedup_gpu_low", "speedup_gpu_high", "ece",
    ),
    "latency": (
        "method", "seed", "device", "scenario", "batch_size", "path", "mean_ms", "p50_ms", "p95_ms", "iqr_ms", "noisy",
    ),
}  # fmt: skip
"""Tables and columns a report cannot do without, in every version."""

_OPTIONAL: dict[str, tuple[str, ...]] = {
    "shares": ("method", "seed", "target", "exit", "share", "accuracy"),
    "pairs": ("target", "method_a", "method_b", "difference", "low", "high", "p", "p_holm"),
    "tiers": ("target", "method", "tier", "mean_rank"),
    "training": ("method", "seed", "seconds", "epochs", "passes"),
    "shift": (
        "method",
        "seed",
        "target",
        "corruption",
        "severity",
        "score",
        "score_drift",
        "drop",
        "held",
        "gmacs_drift",
        "coverage",
    ),
    "slowdown": (
        "method",
        "seed",
        "target",
        "radius",
        "samples",
        "mean_exit",
        "mean_exit_noise",
        "mean_exit_attacked",
        "speedup_macs",
        "speedup_macs_noise",
        "speedup_macs_attacked",
        "score",
        "score_noise",
        "score_attacked",
    ),
    "search": (
        "method",
        "seed",
        "trial",
        "lr",
        "backbone_lr_scale",
        "options",
        "value",
        "seconds",
        "chosen",
        "reason",
    ),
    "headlines": ("target", "method", "kind", "measure", "value", "low", "high", "seeds"),
    "energy": ("method", "seed", "path", "batch_size", "joules"),
    "summary": ("method", "seed", "name", "value"),
    "reliability": ("method", "seed", "target", "bin", "low", "high", "count", "confidence", "accuracy"),
    "conformal": ("method", "seed", "target", "sets", "alpha", "coverage", "size"),
    "samples": (
        "method",
        "seed",
        "target",
        "stops",
        "sample",
        "exit",
        "correct",
        "truth",
        "answer",
        "confidence",
        "text",
        "tile",
    ),
}
_ADDED: dict[str, dict[str, Any]] = {  # what version 3 brought, and what stands for it where a record has none
    "operating_points": {
        "choose": "naive", "dead_share": 0.0, "withheld_cpu": "", "withheld_gpu": "",
        **dict.fromkeys(
            ("val_drop", "val_drop_upper", "over_frontier", "over_frontier_low", "over_frontier_high",
             "speedup_macs_low", "speedup_macs_high"), float("nan")),
    },
    "exits": {"live": True, "majority": float("nan")},
    "latency": {"basis": "wall", "contaminated": False},
}  # fmt: skip
_TEXT = {
    "method", "split", "kind", "knob_name", "metric", "target", "device", "scenario", "path", "name", "sets", "choose",
    "method_a", "method_b", "withheld_cpu", "withheld_gpu", "measure", "basis", "stops", "correct", "truth", "answer",
    "text", "options", "reason", "corruption", "held",
}  # fmt: skip
_FLAGS = {"met", "noisy", "live", "contaminated", "chosen"}
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
        """Every timed path."""
        return self.tables["latency"]

    def table(self, name: str) -> pd.DataFrame:
        """An optional table; empty, with its columns, where the run has none."""
        return self.tables.get(name, pd.DataFrame(columns=list(_OPTIONAL[name])))

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
    there = {name: columns for name, columns in _OPTIONAL.items() if (run_dir / f"{name}.csv").is_file()}
    tables |= {name: _table(run_dir / f"{name}.csv", columns) for name, columns in there.items()}
    if "split" in tables.get("shares", ()):  # a report is about test data
        tables["shares"] = tables["shares"][tables["shares"]["split"] == "test"]
    if run["schema_version"] == 2:
        tables = upgrade(tables)
    for name, added in _ADDED.items():
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
    kinds = dict.fromkeys(_TEXT | _FLAGS, str)
    try:
        frame = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as error:  # pandas' own parser errors are ValueErrors
        raise UserError(f"{path} cannot be read: {error}") from error
    lacking = [name for name in columns if name not in frame]
    if lacking:
        raise UserError(f"{path} lacks the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}")
    for name in (*columns, *(column for column in _ADDED.get(path.stem, ()) if column in frame)):
        if name in _FLAGS:
            frame[name] = frame[name].str.lower().isin(["true", "1"])
        elif name.startswith("withheld_"):
            frame[name] = frame[name].fillna("")
        elif name not in _TEXT:
            try:
                frame[name] = pd.to_numeric(frame[name])
            except ValueError as error:
                raise UserError(f"{path}, column {name}: {error}") from error
    return frame
