"""One number a method: methods down, measures across, and what each one means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from eebench.report.blocks import Block, Cell, Column, Fold, Row, Table, Terms
from eebench.report.frames import BACKBONE, STATIC
from eebench.report.measures import measure
from eebench.report.scene import Scene
from eebench.report.text import DASH, one_line
from eebench.schema import TABLES

__all__ = ["simple_table", "single_numbers", "training"]


def simple_table(id: str, caption: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table from plain values; a column is numeric where its first row holds a number."""
    numeric = [bool(rows) and isinstance(value, int | float) for value in (rows[0] if rows else names)]
    cells = [[Cell(value if isinstance(value, str) else one_line(value)) for value in row] for row in rows]
    columns = [Column(name, numeric=flag) for name, flag in zip(names, numeric, strict=True)]
    return Table(id, caption, columns, [Row(row) for row in cells])


def single_numbers(scene: Scene) -> list[Block]:
    """The tables of summary.csv, folded: a number without its curve is what a reader asks for last."""
    summary = scene.record.table("summary")
    names = list(dict.fromkeys(summary["name"]))
    if "overthinking_destructive" in names and "hindsight_improvability" in names:
        names.remove("hindsight_improvability")  # the same share under another name
    stats = summary.groupby(["method", "name"])["value"].agg(["mean", "std", "count", "size"])
    groups = {
        "summary": ("Single numbers per method", [n for n in names if not measure(n).anytime]),
        "anytime": ("Overthinking and anytime behaviour", [n for n in names if measure(n).anytime]),
    }
    about = "test data" + (", mean ± standard deviation over seeds" if scene.write.several else "")
    blocks: list[Block] = []
    for name, (title, chosen) in groups.items():
        if chosen:
            meant = [(found.title, found.text) for found in map(measure, chosen) if found.text]
            table = Table(name, f"{title}, {about}.", *_rows(scene, stats, chosen))
            blocks.append(Fold(title, [table, Terms(meant)]))
    return blocks


def _rows(scene: Scene, stats: pd.DataFrame, names: list[str]) -> tuple[list[Column], list[Row]]:
    measures = [measure(name) for name in names]
    rows = []
    for method in scene.record.methods:
        cells = [Cell(scene.record.labels[method])]
        for name, about in zip(names, measures, strict=True):
            if (method, name) not in stats.index:
                cells.append(Cell(DASH, sort=math.nan))
                continue
            mean, std, count, size = (float(value) for value in np.asarray(stats.loc[(method, name)]))
            spread = f" ± {about.write(std).lstrip('+')}" if math.isfinite(std) else ""
            defined = f"{count:.0f} of {size:.0f} seeds" if 0 < count < size else ""
            cells.append(Cell(f"{about.write(mean)}{spread}", defined, mean))
        rows.append(Row(cells))
    return [Column("Method", numeric=False), *(Column(about.title, about.text) for about in measures)], rows


def training(scene: Scene) -> list[Table]:
    """What it took to train each method, and the memory its inference needs, where the record has it."""
    rows = scene.record.table("training")
    if rows.empty:
        return []
    about = TABLES["training"]
    shown = {
        "seconds": ("Training, s", "wall-clock seconds of training, tracing and counting, mean over seeds", 0),
        "epochs": ("Epochs", "passes over the training data in all phases", 1),
        "passes": ("Samples seen", "training samples seen in all phases", 0),
        "train_tmacs": ("Training, TMACs", about.get("train_tmacs", ""), 2),
        "peak_mb": ("Peak while trained, MB", about.get("peak_mb", ""), 0),
        "infer_mb": ("Inference, MB", about.get("infer_mb", ""), 1),
        "params_m": ("Parameters, M", "10^6 parameters at inference", 3),
    }
    kept = [name for name in shown if name in rows and rows[name].notna().any()]
    means = rows.groupby("method")[kept].mean()
    static = sorted((m for m in means.index if m.startswith(f"{STATIC}[")), key=lambda m: int(m[len(STATIC) + 8 : -1]))
    order = [m for m in (BACKBONE, *static, *scene.record.methods) if m in means.index]
    body = []
    for method in order:
        cells = [Cell(scene.record.labels[method])]
        for name in kept:
            value = float(means[name][method])
            text = f"{value:,.{shown[name][2]}f}" if math.isfinite(value) else DASH
            cells.append(Cell(text, sort=value))
        body.append(Row(cells, "plain" if method == BACKBONE else "method"))
    columns = [Column("Method", numeric=False), *(Column(shown[name][0], shown[name][1]) for name in kept)]
    return [Table("training-cost", f"What training took, mean over seeds.{_peaks(rows)}", columns, body)]


def _peaks(rows: pd.DataFrame) -> str:
    """What the peaks are peaks of, where the record has them."""
    kinds = sorted(set(rows["peak_kind"].dropna())) if "peak_kind" in rows else []
    return f" Peak memory is {' and '.join(kinds)} memory." if kinds else ""
