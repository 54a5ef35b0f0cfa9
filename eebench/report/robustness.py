"""What becomes of operating points when the data change: corruptions, and noise made to keep samples inside."""

from __future__ import annotations

import math

import pandas as pd

from eebench.report.blocks import Block, Cell, Column, Fold, Row, Section, Table, Text
from eebench.report.frames import BACKBONE
from eebench.report.scene import Scene
from eebench.report.targets import target
from eebench.report.text import DASH, number, signed, times
from eebench.schema import TABLES

__all__ = ["robustness"]


def robustness(scene: Scene) -> list[Section]:
    """The section, where a run asked for ``--shift`` or ``--slowdown``."""
    blocks: list[Block] = [*_shift(scene), *_slowdown(scene)]
    return [Section("robustness", "When the data change", blocks)] if blocks else []


def _shift(scene: Scene) -> list[Block]:
    """Every method under all corruptions together, and corruption by corruption."""
    rows = scene.record.table("shift")
    rows = rows[rows["target"].isin([scene.main, "plain"]) & (rows["corruption"] != "none")]
    if rows.empty:
        return []
    about = TABLES["shift"]
    columns = [
        Column("Method", numeric=False),
        Column("Target held, %", f"share of corruptions, severities and seeds; {about['held']}", first="descending"),
        Column("Score drift, pt", about["score_drift"], first="descending"),
        Column("Δ score, pt", f"minus {about['drop']}", first="descending"),
        Column("MACs drift, %", about["gmacs_drift"]),
        Column("Coverage, %", about["coverage"], first="descending"),
    ]
    body = [_under(scene, method, rows[rows["method"] == method]) for method in _order(scene, rows)]
    kinds = rows["corruption"].nunique()
    many = f"{kinds} corruption{'s' if kinds > 1 else ''} of the test split"
    caption = f"Under {many}, mean over severities and seeds, {target(scene.main).title}."
    told = Text("Knobs were chosen on validation data as they are, and stay where they were.")
    return [told, Table("shift", caption, columns, body), Fold("Corruption by corruption", [_by_kind(scene, rows)])]


def _under(scene: Scene, method: str, rows: pd.DataFrame) -> Row:
    plain = method == BACKBONE
    held = rows["held"].map({"True": 1.0, "False": 0.0}).mean() if not plain else math.nan
    drift, drop, cost, cover = (rows[n].mean() for n in ("score_drift", "drop", "gmacs_drift", "coverage"))
    cells = [Cell(scene.record.labels.get(method, method)), Cell(number(100 * held, 0), sort=held)]
    cells += [Cell(signed(100 * drift), sort=drift), Cell(DASH if plain else signed(-100 * drop), sort=-drop)]
    cells += [Cell(signed(100 * cost), sort=cost), Cell(number(100 * cover, 1), sort=cover)]
    return Row(cells, "plain" if plain else "method")


def _by_kind(scene: Scene, rows: pd.DataFrame) -> Table:
    """Score under each corruption."""
    means = rows.groupby(["method", "corruption"])["score"].mean().unstack()
    body = []
    for method in _order(scene, rows):
        values = [float(means.loc[method, kind]) for kind in means.columns]  # type: ignore[arg-type]
        cells = [Cell(scene.write.score(value), sort=100 * value) for value in values]
        label = scene.record.labels.get(method, method)
        body.append(Row([Cell(label), *cells], "plain" if method == BACKBONE else "method"))
    columns = [Column("Method", numeric=False), *(Column(str(kind), first="descending") for kind in means.columns)]
    caption = f"Test {scene.write.score_name}, mean over severities and seeds, {target(scene.main).title}."
    return Table("shift-score", caption, columns, body)


def _slowdown(scene: Scene) -> list[Block]:
    """How far samples can be pushed back, beside what noise of the same size does."""
    rows = scene.record.table("slowdown")
    rows = rows[(rows["target"] == scene.main) & rows["method"].isin(scene.record.methods)]
    if rows.empty:
        return []
    about = TABLES["slowdown"]
    columns = [Column("Method", numeric=False)]
    whens = {"": "as they are", "_noise": "random noise", "_attacked": "attacked"}
    shown = [("mean_exit", "Mean exit"), ("speedup_macs", "× MACs"), ("score", "Score, ×100")]
    for name, title in shown:
        columns += [Column(f"{title}, {when}", about[f"{name}{end}"]) for end, when in whens.items()]
    body = []
    for method in _order(scene, rows):
        mine = rows[rows["method"] == method].mean(numeric_only=True)
        cells = [Cell(scene.record.labels[method])]
        for name, write in (("mean_exit", number), ("speedup_macs", times), ("score", scene.write.score)):
            cells += [Cell(write(float(mine[f"{name}{end}"])), sort=float(mine[f"{name}{end}"])) for end in whens]
        body.append(Row(cells))
    radius, count = rows["radius"].max(), rows["samples"].max()
    caption = (
        f"Noise made to push samples to late exits, no pixel changed by more than {100 * radius:.2g} % of full"
        f" brightness, {count:g} test images, {target(scene.main).title}."
    )
    return [Table("slowdown", caption, columns, body)]


def _order(scene: Scene, rows: pd.DataFrame) -> list[str]:
    """Methods of a table in the report's order, the plain backbone first."""
    there = list(dict.fromkeys(rows["method"]))
    first = [m for m in (BACKBONE, *scene.record.methods) if m in there]
    return [*first, *(m for m in there if m not in first)]
