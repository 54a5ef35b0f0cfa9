"""Speed-ups by runtime, and each side in its best one. Only where a run was timed in others than eager PyTorch."""

from __future__ import annotations

import math

import pandas as pd

from eebench.report.blocks import Block, Cell, Column, Fold, Row, Section, Table, Text
from eebench.report.frames import BACKBONE, STATIC
from eebench.report.scene import Scene
from eebench.report.targets import target
from eebench.report.text import DASH, listed, number, times
from eebench.schema import BEST, RUNTIMES, TABLES, static_path

__all__ = ["runtimes"]

TITLES = {"eager": "eager PyTorch", "compile": "torch.compile", "onnxruntime": "ONNX Runtime"}


def runtimes(scene: Scene) -> list[Section]:
    """The section, where a run asked for ``--runtimes``."""
    every = scene.record.table("runtimes")
    if every.empty:
        return []
    rows = every[_at_main(scene, every)]
    named = [name for name in RUNTIMES if (every["runtime"] == name).any()]
    blocks: list[Block] = [Text(_headline(scene, rows)), _table(scene, rows, named)]
    reasons = _reasons(scene, rows)
    blocks += [Fold("What is not shown, and why", [reasons])] if reasons.rows else []
    return [Section("runtimes", "In other runtimes", blocks)]


def _at_main(scene: Scene, rows: pd.DataFrame) -> pd.Series:
    """Rows of the main target: methods at their operating points, the static model that was chosen for it."""
    points = scene.record.points
    static = points[(points["kind"] == "static") & (points["target"] == scene.main)]
    chosen = {(row.seed, static_path(int(row.knob))) for row in static.itertuples() if math.isfinite(row.knob)}  # type: ignore[arg-type]
    pairs = list(zip(rows["seed"], rows["path"], strict=True))
    mine = rows["method"].isin(scene.record.methods) & (rows["path"] == scene.main)
    return mine | ((rows["method"] == STATIC) & pd.Series([pair in chosen for pair in pairs], index=rows.index))


def _headline(scene: Scene, rows: pd.DataFrame) -> str:
    """The fastest method, each side in its best runtime, and what the same was in eager PyTorch alone."""
    table = scene.table
    met = table[(table["target"] == scene.main) & (table["kind"] == "dynamic") & table["met"].astype(bool)]
    ours = rows[rows["method"].isin(met["method"]) & (rows["runtime"] == BEST)]
    means = ours.groupby("method")["speedup"].mean().dropna()
    title = target(scene.main).title
    if means.empty:
        return f"No method that kept to {title} has a speed-up to show with each side in its best runtime."
    method = str(means.idxmax())
    best = ours[ours["method"] == method]
    low, high = best["speedup_low"].mean(), best["speedup_high"].mean()
    interval = f" [{number(low)}, {number(high)}]" if math.isfinite(low) and math.isfinite(high) else ""
    eager = rows[(rows["method"] == method) & (rows["runtime"] == "eager")]["speedup"].mean()
    said = f"; with both in eager PyTorch it is {times(eager)}" if math.isfinite(eager) else ""
    return (
        f"Fastest with {title}, each side in its best runtime: {scene.record.labels[method]}, {times(means[method])}"
        f"{interval}, in {_where(best, 'ran_in')} against the plain backbone in {_where(best, 'against')}{said}."
    )


def _table(scene: Scene, rows: pd.DataFrame, named: list[str]) -> Table:
    about = TABLES["runtimes"]
    columns = [Column("Method", numeric=False)]
    columns += [Column(f"× {TITLES[name]}", about["speedup"], first="descending") for name in named]
    columns.append(Column("× best against best", about["runtime"], first="descending"))
    body = [_plain(scene, rows, named)]
    there = [m for m in (STATIC, *scene.record.methods) if (rows["method"] == m).any()]
    body += [_row(scene, method, rows[rows["method"] == method], named) for method in there]
    caption = (
        f"Times faster than the plain backbone in the same runtime, which is one graph there and made by the same tool,"
        f" {target(scene.main).title}; CPU, batch 1, same samples and rounds. Below each: mean ms a sample."
        " Last column: the method in its best runtime against the plain backbone in its own best one, which is what"
        " early exit adds to a deployment that is fast already."
    )
    return Table("runtimes", caption, columns, body)


def _plain(scene: Scene, rows: pd.DataFrame, named: list[str]) -> Row:
    """What the plain backbone takes."""
    cells = [Cell(scene.record.labels[BACKBONE])]
    for name in (*named, BEST):
        ms = rows.loc[rows["runtime"] == name, "plain_ms"].mean()
        cells.append(Cell(times(1.0) if math.isfinite(ms) else DASH, _ms(scene, ms), sort=1.0))
    return Row(cells, "plain")


def _row(scene: Scene, method: str, rows: pd.DataFrame, named: list[str]) -> Row:
    cells = [Cell(scene.record.labels[method])]
    for name in named:
        here = rows[rows["runtime"] == name]
        value = float(here["speedup"].mean())
        cells.append(Cell(times(value), _ms(scene, here["mean_ms"].mean()), sort=value))
    best = rows[rows["runtime"] == BEST]
    value = float(best["speedup"].mean())
    small = f"{_where(best, 'ran_in')} against {_where(best, 'against')}" if math.isfinite(value) else ""
    cells.append(Cell(times(value), small, sort=value))
    return Row(cells, "baseline" if method == STATIC else "method")


def _reasons(scene: Scene, rows: pd.DataFrame) -> Table:
    """Speed-ups that are missing, each with its reason."""
    held = rows[rows["withheld"] != ""].drop_duplicates(["method", "runtime", "withheld"])
    names = {**TITLES, BEST: "best against best"}
    body = [
        Row([Cell(scene.record.labels[row.method]), Cell(names[row.runtime]), Cell(row.withheld)])  # type: ignore[arg-type, index]
        for row in held.itertuples()
    ]
    columns = [Column(name, numeric=False) for name in ("Method", "Runtime", "Why no speed-up is shown")]
    return Table("runtimes-withheld", "Timed or tried, and not shown.", columns, body)


def _where(rows: pd.DataFrame, column: str) -> str:
    """Titles of the runtimes in a column; several where seeds differ."""
    return listed([TITLES[name] for name in dict.fromkeys(rows[column])])


def _ms(scene: Scene, value: float) -> str:
    return f"{scene.write.ms(value)} ms" if math.isfinite(value) else ""
