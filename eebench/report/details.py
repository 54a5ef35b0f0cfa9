"""The page's middle: exit by exit, every knob value, where the compute goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from eebench.report.blocks import Block, Cell, Column, Figure, Fold, Row, Section, Table, Text
from eebench.report.effort import sensitivity
from eebench.report.scene import Scene
from eebench.report.singles import training
from eebench.report.targets import target
from eebench.report.text import DASH, number, times
from eebench.schema import TABLES

__all__ = ["costs", "exits", "knobs"]

_KNOBS = 14  # rows of a threshold table; curves.csv has them all


def exits(scene: Scene, drawn: set[str]) -> Section:
    """Section 5: who stops where, how good each exit is, how long it takes."""
    blocks: list[Block] = []
    at = target(scene.main).title
    if "exit_shares" in drawn:
        caption = (
            f"Test samples that stop behind each block, {at}; dotted: the mean exit. {_mean_exits(scene)} The other"
            " targets are in shares.csv."
        )
        blocks.append(Figure("exit_shares", "Where samples stop", caption, "exit-shares", "exit shares", "shares"))
    if "exit_scores" in drawn:
        caption = "Line: the exit's score over all test samples."
        if scene.record.table("shares")["accuracy"].notna().any():
            caption += (
                f" Circles: accuracy over just the samples that stop there, {at}, larger for more of them (up to 3,"
                " 10, 30 %, above). Early circles high above the line mean that the rule sends easy samples out"
                " first; a low last circle is what the hard ones cost."
            )
        blocks.append(Figure("exit_scores", "How good each exit is", caption, "exit-scores", "exit scores", "exits"))
    for device, name in (("cpu", "CPU"), ("cuda", "GPU")):
        if f"exit_latency_{device}" in drawn:
            plain = scene.table.loc[
                scene.table["kind"] == "plain", f"{'cpu' if device == 'cpu' else 'gpu'}_mean_ms"
            ].mean()
            caption = (
                f"Mean milliseconds a sample on the {name} at batch 1 when everyone is forced to stop behind a block,"
                f" every exit before it asked. The plain backbone takes {scene.write.ms(plain)} ms: a line that ends"
                " above it shows what exits cost a sample that never uses them."
            )
            title = f"How long each exit takes, {name}"
            blocks.append(
                Figure(f"exit_latency_{device}", title, caption, f"exit-latency-{device}", "exit latency", "latency")
            )
    tables = [table for table in _exit_tables(scene) if table.rows]
    if tables:
        blocks.append(Fold("The numbers behind the plots", tables))
    return Section("exits", "Exit by exit", blocks or [Text("No method has a result.")])


def _mean_exits(scene: Scene) -> str:
    rows = scene.table[(scene.table["target"] == scene.main) & (scene.table["kind"] == "dynamic")].sort_values(
        "mean_exit"
    )
    if rows.empty:
        return ""
    first, last = rows.iloc[0], rows.iloc[-1]
    text = f"Mean exit {first['mean_exit']:.1f} ({first['label']})"
    text += f" to {last['mean_exit']:.1f} ({last['label']})" if len(rows) > 1 else ""
    return f"{text} of {scene.record.depth} blocks."


def _exit_tables(scene: Scene) -> list[Table]:
    rows = scene.record.exits
    rows = rows[(rows["split"] == "test") & rows["method"].isin(scene.record.methods)]
    shares = scene.record.table("shares")
    shares = shares[(shares["target"] == scene.main) & shares["method"].isin(scene.record.methods)]
    at = target(scene.main).title
    caption = f"Share of test samples that stop at each exit, %, {at}."
    tables = [_by_exit(scene, shares, "share", "exit-shares", caption, 100)]
    caption = f"Test {scene.write.score_name}, of each exit over all samples."
    tables.append(_by_exit(scene, rows, "score", "exit-scores", caption, 100))
    caption = f"Test accuracy of each exit over just the samples that stop there, %, {at}."
    tables.append(_by_exit(scene, shares, "accuracy", "exit-accuracy", caption, 100))
    caption = "Expected calibration error of each exit over all test samples, %."
    tables.append(_by_exit(scene, rows, "ece", "exit-ece", caption, 100))
    caption = "The same after each exit's own temperature, fitted on validation data, %."
    tables.append(_by_exit(scene, rows, "ece_calibrated", "exit-ece-calibrated", caption, 100))
    for device in scene.record.devices:
        times_ = scene.record.single[scene.record.single["device"] == device]
        block = pd.to_numeric(times_["path"].str.extract(r"^exit_(\d+)$", expand=False))
        forced = times_.assign(exit=block).dropna(subset=["exit"])
        caption = (
            f"Mean ms a sample, {'CPU' if device == 'cpu' else 'GPU'}, batch 1, everyone forced to stop at that exit."
        )
        tables.append(_by_exit(scene, forced, "mean_ms", f"exit-latency-{device}", caption, 1, scene.write.ms_digits))
    return tables


def _by_exit(
    scene: Scene, rows: pd.DataFrame, value: str, id: str, caption: str, scale: float, digits: int = 1
) -> Table:
    """Methods down, blocks across, mean over seeds."""
    if rows.empty or rows[value].isna().all():
        return Table(id, caption, [], [])
    wide = rows.pivot_table(value, "method", "exit", aggfunc="mean")
    body = [
        Row(
            [
                Cell(scene.record.labels[method]),
                *(Cell("" if math.isnan(v) else number(scale * v, digits), sort=v) for v in values),
            ]
        )
        for method in scene.record.methods
        if method in wide.index
        for values in [[float(v) for v in np.asarray(wide.loc[method])]]
    ]
    return Table(id, caption, [Column("Method", numeric=False), *(Column(f"{e:g}") for e in wide.columns)], body)


def knobs(scene: Scene) -> Section:
    """Section 6: knob values against what they give, a table a method."""
    curves = scene.record.curves
    val = curves[(curves["split"] == "val") & (curves["kind"] == "dynamic")].set_index(["method", "seed", "knob"])[
        "score"
    ]
    val = val[~val.index.duplicated()]
    folds: list[Block] = []
    for method in scene.record.methods:
        sweep = scene.record.test("dynamic")
        sweep = sweep[sweep["method"] == method]
        if len(sweep):
            label = scene.record.labels[method]
            name = str(sweep["knob_name"].iloc[0])
            folds.append(Fold(f"{label}: {name}", [_knob_table(scene, method, label, name, sweep, val)]))
    text = (
        "Every knob value was replayed on the recorded exits of both splits; ◆ marks the values that validation data"
        f" chose. Long sweeps are thinned to about {_KNOBS} rows evenly spaced in cost; tables/curves.csv has every"
        " value."
    )
    return Section("knobs", "Thresholds", [Text(text), *folds] if folds else [Text("No method has a result.")])


def _knob_table(scene: Scene, method: str, label: str, name: str, sweep: pd.DataFrame, val: pd.Series) -> Table:
    write = scene.write
    points = scene.record.points
    points = points[(points["method"] == method) & (points["kind"] == "dynamic")]
    chosen = {key: list(rows["target"]) for key, rows in points.groupby(["seed", "knob"])}
    plain = scene.record.plain.set_index("seed")["score"]
    seeds = sorted(sweep["seed"].unique())
    rows = []
    for seed in seeds:
        for _, row in _thin(sweep[sweep["seed"] == seed], chosen, max(8, _KNOBS // len(seeds))).iterrows():
            targets = [t for t in scene.record.targets if t in chosen.get((seed, row["knob"]), [])]
            mark = f"◆ {'; '.join(target(t).title for t in targets)}" if targets else ""
            change = row["score"] - plain.get(seed, math.nan)
            cells = [Cell(f"{row['knob']:.4g}", mark, row["knob"])]
            cells += [Cell(f"{seed}", sort=seed)] if len(seeds) > 1 else []
            before = val.get((method, seed, row["knob"]), math.nan)
            cells += [
                Cell(write.score(before), sort=100 * before),
                Cell(write.score(row["score"]), sort=100 * row["score"]),
            ]
            cells += [Cell(write.change(-change), sort=100 * change), _macs(scene, row["gmacs"])]
            cells += [Cell(times(row[n]), sort=row[n]) for n in ("speedup_macs", "speedup_layers")]
            cells += [Cell(number(row["mean_exit"]), sort=row["mean_exit"])]
            rows.append(Row(cells, "plain" if targets else "method"))
    about = TABLES["curves"]
    columns = [
        Column(name, about["knob"]),
        *([Column("Seed")] if len(seeds) > 1 else []),
        Column("Val. score", f"validation {write.score_name}"),
        Column("Test score", f"test {write.score_name}"),
        Column("Δ, pt", "test score minus the plain backbone's, in points"),
        Column(write.macs_unit, about["gmacs"]),
        Column("× MACs", about["speedup_macs"]),
        Column("× layers", about["speedup_layers"]),
        Column("Mean exit", about["mean_exit"]),
    ]
    safe = "".join(c if c.isalnum() else "-" for c in method)
    return Table(f"knobs-{safe}", f"{label}: what each {name} gives.", columns, rows)


def _thin(sweep: pd.DataFrame, chosen: Mapping[Any, Any], most: int) -> pd.DataFrame:
    """At most ``most`` rows evenly spaced in cost, plus the chosen ones, by knob."""
    sweep = sweep.sort_values("knob").reset_index(drop=True)
    if len(sweep) <= most:
        return sweep
    even = np.linspace(sweep["gmacs"].min(), sweep["gmacs"].max(), most)
    keep = {int(abs(sweep["gmacs"] - x).to_numpy().argmin()) for x in even}
    pairs = zip(sweep["seed"], sweep["knob"], strict=True)
    keep |= {i for i, pair in enumerate(pairs) if pair in chosen}
    return sweep.loc[sorted(keep | {0, len(sweep) - 1})]


def costs(scene: Scene, drawn: set[str]) -> Section:
    """Section 7: backbone, heads, gates."""
    if "cost_breakdown" not in drawn:
        return Section("costs", "Where the compute goes", [Text("No method has a result.")])
    dynamic = scene.table[scene.table["kind"] == "dynamic"]
    first = dynamic[dynamic["target"] == scene.main]
    extra = ((first["gmacs_heads"].fillna(0) + first["gmacs_gates"].fillna(0)) / first["gmacs"]).sort_values()
    caption = f"MACs a sample, {target(scene.main).title}: everything inference runs is charged."
    if len(extra):
        low, high = (f"{100 * extra.iloc[i]:.1f} % ({first.loc[extra.index[i], 'label']})" for i in (0, -1))
        caption += f" Heads and gates are {low}" + (f" to {high}" if len(extra) > 1 else "") + " of a method's MACs."
    params = {cell["method"]: cell.get("params_m") for cell in scene.record.run["cells"] if cell.get("params_m")}
    about = TABLES["operating_points"]
    columns = [Column("Method", numeric=False), Column("Target", numeric=False), Column(scene.write.macs_unit)]
    for part in ("backbone", "heads", "gates"):
        columns.append(Column(part.capitalize(), about[f"gmacs_{part}"].replace("gmacs", scene.write.macs_unit)))
    columns += [Column("Heads and gates, %", "of this row's MACs"), Column("Parameters, M", "of the whole model")]
    rows = []
    for _, row in scene.table[scene.table["kind"].isin(["plain", "dynamic"])].iterrows():
        if row["kind"] == "plain" and row["target"] != scene.main:
            continue
        size = params.get(row["method"], math.nan)
        at = DASH if row["kind"] == "plain" else target(row["target"]).title
        cells = [Cell(row["label"]), Cell(at)]
        cells += [_macs(scene, row[n]) for n in ("gmacs", "gmacs_backbone", "gmacs_heads", "gmacs_gates")]
        share = 100 * (1 - row["gmacs_backbone"] / row["gmacs"])
        cells += [Cell(number(share, 1), sort=share), Cell(number(size, 3), sort=size)]
        rows.append(Row(cells, "plain" if row["kind"] == "plain" else "method"))
    table = Table(
        "cost-table", f"{scene.write.macs_unit} a sample at every target, mean over test samples.", columns, rows
    )
    figure = Figure("cost_breakdown", "Backbone, heads and gates", caption, "cost-table", "cost table")
    blocks: list[Block] = [figure, Fold("The numbers behind the plot", [table])]
    return Section("costs", "Where the compute goes", [*blocks, *training(scene), *sensitivity(scene)])


def _macs(scene: Scene, gmacs: float) -> Cell:
    return Cell(scene.write.macs(gmacs), sort=gmacs * scene.write.macs_scale)
