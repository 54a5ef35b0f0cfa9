"""How honest confidences are, and what else a run may have measured: prediction sets, energy."""

from __future__ import annotations

import math

import pandas as pd

from eebench.report.blocks import Block, Cell, Column, Figure, Fold, Row, Section, Table
from eebench.report.frames import BACKBONE
from eebench.report.pareto import Scene
from eebench.report.sections import TARGET_NAMES
from eebench.report.text import number, times
from eebench.report.verdicts import TARGET
from eebench.schema import TABLES

__all__ = ["calibration", "energy"]

_AT = TARGET_NAMES[TARGET]


def calibration(scene: Scene, drawn: set[str]) -> list[Section]:
    """Confidences as deployed: reliability diagrams and prediction sets, where the run has them."""
    blocks: list[Block] = []
    if "reliability" in drawn:
        blocks.append(
            Figure(
                "reliability",
                "Reliability of deployed predictions",
                f"Accuracy against confidence, {_AT}, 15 equal-width bins, larger for more test samples (up to 3, 10,"
                " 30 %, above); grey: the plain backbone. Below the diagonal a method is too sure of itself. ECE"
                " stands in the comparison table.",
                "reliability-table",
                "reliability table",
            )
        )
        blocks.append(Fold("The numbers behind the plot", [_reliability_table(scene)]))
    sets = scene.record.optional.get("conformal")
    if sets is not None:
        blocks.append(Fold("Conformal prediction sets", [_conformal_table(scene, sets)]))
    return [Section("calibration", "Calibration", blocks)] if blocks else []


def _reliability_table(scene: Scene) -> Table:
    bins = scene.record.optional["reliability"]
    bins = bins[bins["target"].isin([TARGET, "plain"])]
    low = bins.groupby("bin")["low"].first()
    rows = []
    for method in (BACKBONE, *scene.record.methods):
        mine = bins[bins["method"] == method]
        if mine.empty:
            continue
        total = mine.groupby("bin")["count"].sum()  # over seeds, whose bins differ in size
        right = mine.assign(right=mine["accuracy"] * mine["count"]).groupby("bin")["right"].sum() / total
        cells = [Cell(scene.record.labels[method])]
        for b in low.index:
            if b in total.index:
                cells.append(Cell(number(100 * right[b], 1), f"n {total[b]:.0f}", right[b]))
            else:
                cells.append(Cell("", sort=math.nan))
        rows.append(Row(cells, "plain" if method == BACKBONE else "method"))
    columns = [Column("Method", numeric=False), *(Column(f"from {100 * edge:.0f} %") for edge in low)]
    return Table(
        "reliability-table", f"Accuracy, %, by confidence bin, {_AT}; n: test samples, all seeds.", columns, rows
    )


def _conformal_table(scene: Scene, sets: pd.DataFrame) -> Table:
    rows_at = sets[sets["target"].isin([TARGET, "plain"])]
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
        f"Conformal prediction sets calibrated on validation data, {_AT}. Sets: {about['sets']}. The knob was chosen on"
        " the same validation data, so coverage holds up to that choice."
    )
    return Table("conformal", caption, columns, rows)


def energy(scene: Scene) -> list[Table]:
    """Joules a sample, measured, where the run has them."""
    measured = scene.record.optional.get("energy")
    if measured is None:
        return []
    means = measured.groupby(["batch_size", "method", "path"])["joules"].mean()
    place = {method: i for i, method in enumerate((BACKBONE, *scene.record.methods))}
    rows = []
    found = means.reset_index().to_dict("records")
    for row in sorted(found, key=lambda row: (row["batch_size"], place.get(row["method"], len(place)))):
        plain = means.get((row["batch_size"], BACKBONE, "plain"), math.nan)
        path = TARGET_NAMES.get(row["path"], row["path"])
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
