"""How honest confidences are, and what else a run may have measured: prediction sets, energy."""

from __future__ import annotations

import math

import pandas as pd

from eebench.report.blocks import Block, Cell, Column, Figure, Fold, Row, Section, Table
from eebench.report.frames import BACKBONE
from eebench.report.panels import pooled
from eebench.report.scene import Scene
from eebench.report.targets import target
from eebench.report.text import number, times
from eebench.schema import TABLES

__all__ = ["calibration", "energy"]


def calibration(scene: Scene, drawn: set[str]) -> list[Section]:
    """Confidences as deployed: reliability diagrams and prediction sets, where the run has them."""
    blocks: list[Block] = []
    if "reliability" in drawn:
        blocks.append(
            Figure(
                "reliability",
                "Reliability of deployed predictions",
                f"Accuracy against confidence, {target(scene.main).title}, 15 equal-width bins, larger for more test"
                " samples (up to 3, 10, 30 %, above); grey: the plain backbone. Below the diagonal a method is too sure"
                " of itself. ECE is a column of the comparison table.",
                "reliability-table",
                "reliability table",
                "reliability",
            )
        )
        blocks.append(Fold("The numbers behind the plot", [_reliability_table(scene)]))
    sets = scene.record.table("conformal")
    if len(sets):
        blocks.append(Fold("Conformal prediction sets", [_conformal_table(scene, sets)]))
    return [Section("calibration", "Calibration", blocks)] if blocks else []


def _reliability_table(scene: Scene) -> Table:
    bins = scene.record.table("reliability")
    bins = bins[bins["target"].isin([scene.main, "plain"])]
    low = bins.groupby("bin")["low"].first()
    found = pooled(bins).set_index(["method", "bin"])
    rows = []
    for method in (BACKBONE, *scene.record.methods):
        if method not in found.index.get_level_values(0):
            continue
        mine = found.loc[method]
        cells = [Cell(scene.record.labels[method])]
        for b in low.index:
            if b in mine.index:
                right, count = (float(mine.loc[b, name]) for name in ("accuracy", "count"))
                cells.append(Cell(number(100 * right, 1), f"n {count:.0f}", 100 * right))
            else:
                cells.append(Cell("", sort=math.nan))
        rows.append(Row(cells, "plain" if method == BACKBONE else "method"))
    columns = [Column("Method", numeric=False), *(Column(f"from {100 * edge:.0f} %") for edge in low)]
    caption = f"Accuracy, %, by confidence bin, {target(scene.main).title}; n: test samples, all seeds."
    return Table("reliability-table", caption, columns, rows)


def _conformal_table(scene: Scene, sets: pd.DataFrame) -> Table:
    rows_at = sets[sets["target"].isin([scene.main, "plain"])]
    means = rows_at.groupby(["method", "sets", "alpha"], as_index=False)[["coverage", "size"]].mean()
    place = {method: i for i, method in enumerate((BACKBONE, *scene.record.methods))}
    means = means[means["method"].isin(place)].sort_values(["method", "sets", "alpha"])
    rows = []
    for row in sorted(means.to_dict("records"), key=lambda row: place[row["method"]]):
        cells = [Cell(scene.record.labels[row["method"]]), Cell(row["sets"])]
        cells += [Cell(f"{100 * (1 - row['alpha']):g} %", sort=1 - row["alpha"])]
        cells += [Cell(number(100 * row["coverage"], 1), sort=row["coverage"])]
        cells += [Cell(number(row["size"]), sort=row["size"])]
        rows.append(Row(cells, "plain" if row["method"] == BACKBONE else "method"))
    about = TABLES["conformal"]
    names = [("Method", ""), ("Sets", about["sets"]), ("Asked for", "1 - alpha"), ("Coverage, %", about["coverage"])]
    columns = [Column(n, text, i > 1) for i, (n, text) in enumerate([*names, ("Mean size", about["size"])])]
    caption = (
        f"Conformal prediction sets calibrated on validation data, {target(scene.main).title}. Sets: {about['sets']}."
        " The knob was chosen on the same validation data, so coverage holds up to that choice."
    )
    return Table("conformal", caption, columns, rows)


def energy(scene: Scene) -> list[Table]:
    """Joules a sample, measured, where the run has them."""
    measured = scene.record.table("energy")
    if measured.empty:
        return []
    means = measured.groupby(["batch_size", "method", "path"])["joules"].mean()
    place = {method: i for i, method in enumerate((BACKBONE, *scene.record.methods))}
    rows = []
    found = means.reset_index().to_dict("records")
    for row in sorted(found, key=lambda row: (row["batch_size"], place.get(row["method"], len(place)))):
        plain = means.get((row["batch_size"], BACKBONE, "plain"), math.nan)
        path = target(row["path"]).title
        cells = [Cell(scene.record.labels.get(row["method"], row["method"])), Cell(path)]
        cells += [Cell(f"{row['batch_size']:g}", sort=row["batch_size"])]
        cells += [Cell(f"{row['joules']:.4g}", sort=row["joules"])]
        cells += [Cell(times(plain / row["joules"]), sort=plain / row["joules"])]
        rows.append(Row(cells, "plain" if row["method"] == BACKBONE else "method"))
    about = TABLES["energy"]
    columns = [
        Column("Method", numeric=False),
        Column("At", about["path"], numeric=False),
        Column("Batch size", about["batch_size"]),
        Column("Joules a sample", about["joules"]),
        Column("× less than plain", "plain backbone's joules at that batch size / this row's"),
    ]
    return [Table("energy", f"Energy, measured: {about['joules']}.", columns, rows)]
