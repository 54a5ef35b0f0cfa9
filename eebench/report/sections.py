"""The page's beginning: what each method bought, and the comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from eebench.report.blocks import Block, Cell, Column, Fold, Row, Section, Table, Terms, Text, Verdicts
from eebench.report.frames import BACKBONE
from eebench.report.measures import measure
from eebench.report.pareto import Scene
from eebench.report.text import DASH, METRICS, TILDE, Writer, number, one_line, times
from eebench.report.verdicts import TARGET, knob, verdicts
from eebench.schema import TABLES, TARGETS

__all__ = ["TARGET_NAMES", "comparison", "simple_table", "value_cell", "verdict"]

TARGET_NAMES = {
    "drop_1": "at most 1 point lost",
    "macs_75": "at most 75 % of the MACs",
    "macs_50": "at most 50 % of the MACs",
    "macs_25": "at most 25 % of the MACs",
}
_POINT = 0.01
_ROLES = {
    "plain": "plain",
    "static": "plain",
    "dynamic": "method",
    "fixed": "baseline",
    "random": "baseline",
    "oracle": "bound",
}
_PREFIX = {"fixed": "fixed depth, ", "random": "random exits, ", "oracle": "oracle, "}
_POINTS = TABLES["operating_points"]


def simple_table(id: str, caption: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table from plain values; a column is numeric where its first row holds a number."""
    numeric = [bool(rows) and isinstance(value, int | float) for value in (rows[0] if rows else names)]
    cells = [[Cell(value if isinstance(value, str) else one_line(value)) for value in row] for row in rows]
    columns = [Column(name, numeric=flag) for name, flag in zip(names, numeric, strict=True)]
    return Table(id, caption, columns, [Row(row) for row in cells])


def verdict(scene: Scene) -> Section:
    """Section 1: a line a method."""
    run, write, record = scene.record.run, scene.write, scene.record
    items = verdicts(record, scene.table, write)
    blocks: list[Block] = [Text(_setting(scene)), *_warnings(scene)]
    if any(v.remarks for v in items):
        blocks.append(
            Text(
                "Measured speed-up over the plain backbone, dynamic inference at batch 1, at the knob that validation"
                f" data chose for: {TARGETS[TARGET]}. {_uncertainty(scene)}"
            )
        )
    blocks.append(Verdicts(items))
    if not items:
        blocks.append(Text(f"Run {run['run']} holds no method.", "note"))
    return Section("verdict", "What each method bought", blocks)


def _setting(scene: Scene) -> str:
    run, write = scene.record.run, scene.write
    data, backbone = run["data"], run["backbone"]
    plain = scene.points("plain", "backbone")
    weights = one_line(backbone.get("weights"))
    text = f"{backbone['name']} ({scene.record.depth} blocks, weights: {weights}) on {data['name']}"
    text += f", {data['n_test']:,} test samples, budget {run['spec'].get('budget')}."
    if len(plain):
        row = plain.iloc[0]
        score = f"{write.score(row['score'])}{write.spread(row, 'score', write.score)}"
        unit = " %" if write.metric == "accuracy" else " (×100)"
        text += f" The plain backbone: {score}{unit} test {METRICS.get(write.metric, write.metric)}"
        text += f" at {write.gmacs(row['gmacs'])} GMACs"
        text += f" and {write.ms(row['cpu_mean_ms'])} ms on CPU" if math.isfinite(row["cpu_mean_ms"]) else ""
        text += f", {write.ms(row['gpu_mean_ms'])} ms on GPU" if math.isfinite(row["gpu_mean_ms"]) else ""
        text += "."
    return f"{text} {_training(scene)}".rstrip()


def _training(scene: Scene) -> str:
    """How long the backbone was trained, and the methods after it: what they gain on it may be further training."""
    epochs: dict[bool, set[int]] = {True: set(), False: set()}
    for cell in scene.record.run["cells"]:
        if cell.get("phases"):
            epochs[cell["method"] == BACKBONE].add(sum(p["epochs"] for p in cell["phases"]))
    if not epochs[True] or not epochs[False]:
        return ""
    more = " or ".join(map(str, sorted(epochs[False])))
    return (
        f"It was trained for {max(epochs[True])} epochs, and each method went on from there for {more}. What one that"
        " trains the backbone gains on it may be further training; its own last exit tells."
    )


def _uncertainty(scene: Scene) -> str:
    """What ± and brackets mean here; wrong words would sell test-set noise as training noise."""
    if scene.write.several:
        return (
            f"Values are means over the seeds {one_line(scene.record.seeds)}, ± the standard deviation over seeds;"
            " brackets are 95 % bootstrap intervals over test samples within a seed, averaged"
            " over seeds. A ~ marks a change whose interval holds zero, a speed-up whose interval holds one, or seeds"
            " that disagree on the sign."
        )
    return (
        "One seed: how much another training run would differ is unknown. Brackets are 95 % bootstrap intervals over"
        " test samples only. A ~ marks a change whose interval holds zero, or a speed-up whose"
        " interval holds one."
    )


def _warnings(scene: Scene) -> list[Text]:
    run = scene.record.run
    notes = [f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in map(one_line, run.get("notes") or [])]
    if len(scene.record.seeds) < 3:
        notes.append("Fewer than three seeds: enough to look at, too few to publish.")
    for status in ("failed", "skipped"):
        cells = [c for c in scene.record.cells if c["status"] == status]
        if cells:
            names = ", ".join(dict.fromkeys(scene.record.labels[c["method"]] for c in cells))
            notes.append(f"{len(cells)} cell{'s' if len(cells) > 1 else ''} {status}: {names}.")
    notes += _resolution(scene)
    noisy = int(scene.record.latency["noisy"].sum())
    if noisy:
        notes.append(f"{noisy} of {len(scene.record.latency)} timings {'was' if noisy == 1 else 'were'} noisy.")
    return [Text(" ".join(notes), "note")] if notes else []


def _resolution(scene: Scene) -> list[str]:
    """Whether validation data can tell a point of score: its chance, from the test intervals and the two sizes."""
    data, points = scene.record.run["data"], scene.record.points
    at = points[(points["target"] == TARGET) & (points["kind"] == "dynamic")]
    half = (at["drop_high"] - at["drop_low"]).median() / 2
    if not (data.get("n_val") and data.get("n_test") and math.isfinite(half)):
        return []
    chance = half * math.sqrt(data["n_test"] / data["n_val"])
    if chance <= _POINT:
        return []
    note = f"Knobs were chosen on {data['n_val']:,} validation samples, where a difference of {100 * chance:.1f} points"
    return [f"{note} is chance: more than the point aimed at may be lost on test data."]


def comparison(scene: Scene) -> Section:
    """Section 2: a table a target, and one number a method."""
    blocks: list[Block] = [
        Text(
            "Knobs were chosen on validation data, numbers are from test data, Δ is against the plain backbone of the"
            " same seed. Over fixed depth: what deciding per sample is worth, the score above that of everyone stopping"
            " at a fixed depth of the same trained model at the same MACs. ±, brackets and ~ as above. ★ beside GMACs,"
            " or beside the CPU speed-up, marks rows on the"
            " Pareto front of score against that cost: no other deployable row of the table is as good at less. †"
            " marks targets that no knob value met on validation data in every seed; the nearest one is shown."
            " Oracles are bounds that nobody can deploy, and stand apart."
        )
    ]
    blocks += [comparison_rows(scene, target) for target in TARGETS if (scene.table["target"] == target).any()]
    summary = scene.record.optional.get("summary")
    if summary is not None:
        blocks += _summary(scene, summary)
    return Section("comparison", "Comparison", blocks)


def comparison_rows(scene: Scene, target: str) -> Table:
    """The comparison at one target."""
    write, table = scene.write, scene.table[scene.table["target"] == target]
    devices = [short for short in ("cpu", "gpu") if table[f"{short}_mean_ms"].notna().any()]
    calibrated = bool(table["ece"].notna().any())
    columns = [
        Column("Method", numeric=False),
        Column("Knob", _POINTS["knob"], numeric=False),
        Column(f"Score ({write.score_name})", _POINTS["score"]),
        Column("Δ score, pt", "this row's test score minus the plain backbone's, same seed, in points (×100)"),
        Column("Over fixed depth, pt", _POINTS["over_fixed"]),
        Column("GMACs", _POINTS["gmacs"]),
        Column("× layers", _POINTS["speedup_layers"]),
        Column("× MACs", _POINTS["speedup_macs"]),
    ]
    for short in devices:
        columns.append(Column(f"× {short.upper()}", _POINTS[f"speedup_{short}"]))
        columns += [Column(f"{short.upper()} {q}, ms", f"{q[1:]}th percentile, batch 1") for q in ("p50", "p95")]
    columns.append(Column("Mean exit", _POINTS["mean_exit"]))
    columns += [Column("ECE, %", _POINTS["ece"])] if calibrated else []
    columns += [Column("Seeds", "seeds that finished")] if write.several else []
    rows = [_comparison_row(scene, row, devices, calibrated=calibrated) for _, row in table.iterrows()]
    caption = f"{TARGET_NAMES[target][0].upper()}{TARGET_NAMES[target][1:]}: {TARGETS[target]}."
    return Table(f"comparison-{target}", caption, columns, rows, choice=TARGET_NAMES[target])


def _comparison_row(scene: Scene, row: pd.Series, devices: list[str], *, calibrated: bool) -> Row:
    write, kind = scene.write, row["kind"]
    unmet = "" if row["met"] == row["seeds"] else " †"
    name = row["knob_name"] if isinstance(row["knob_name"], str) else ""
    chosen = f"{name} {knob(row)}"
    knob_cell = Cell(chosen, sort=row["knob"]) if len(chosen) <= 16 else Cell(name, knob(row), row["knob"])
    cells = [
        Cell(f"{_PREFIX.get(kind, '')}{row['label']}{unmet}"),
        knob_cell if math.isfinite(row["knob"]) else Cell(DASH, sort=math.nan),
        value_cell(row, "score", write.score, write.spread(row, "score", write.score)),
    ]
    if kind == "plain":
        cells.append(Cell(DASH, sort=0.0))
    else:
        tilde = TILDE if row["unsure_drop"] else ""
        change = f"{tilde}{write.change(row['drop'])}{write.spread(row, 'drop', write.score)}"
        cells.append(Cell(change, write.interval(row, "drop", write.change, flip=True), -100 * row["drop"]))
    cells.append(_over_fixed(write, row))
    star = " ★" if row["front_macs"] else ""
    cells.append(Cell(f"{write.gmacs(row['gmacs'])}{star}", sort=row["gmacs"]))
    cells += [value_cell(row, name, times) for name in ("speedup_layers", "speedup_macs")]
    for short in devices:
        cells += _device_cells(scene, row, short)
    cells.append(Cell(number(row["mean_exit"]), sort=row["mean_exit"]))
    cells += [Cell(number(100 * row["ece"], 1), sort=row["ece"])] if calibrated else []
    cells += [Cell(f"{row['seeds']} of {len(scene.record.seeds)}", sort=row["seeds"])] if write.several else []
    return Row(cells, _ROLES[kind])


def _over_fixed(write: Writer, row: pd.Series) -> Cell:
    value = row["over_fixed"]
    if not math.isfinite(value):
        return Cell(DASH, sort=math.nan)
    tilde = TILDE if row["unsure_over_fixed"] else ""
    text = f"{tilde}{write.gain(value)}{write.spread(row, 'over_fixed', write.score)}"
    return Cell(text, write.interval(row, "over_fixed", write.gain), value)


def _device_cells(scene: Scene, row: pd.Series, short: str) -> list[Cell]:
    name, write = f"speedup_{short}", scene.write
    value = row[name]
    text = times(value)
    if row["kind"] != "plain" and math.isfinite(value):
        tilde = TILDE if row[f"unsure_{short}"] else ""
        text = f"{tilde}{number(value)}{write.spread(row, name, number)}×"
    text += " ★" if short == "cpu" and row["front_cpu"] else ""
    small = "" if row["kind"] == "plain" else write.interval(row, name, number)
    return [
        Cell(text, small, value),
        *(Cell(write.ms(row[f"{short}_{q}_ms"]), sort=row[f"{short}_{q}_ms"]) for q in ("p50", "p95")),
    ]


def value_cell(row: pd.Series, name: str, write: Any, more: str = "") -> Cell:
    """A cell that shows ``row[name]`` as ``write`` puts it, and sorts by it."""
    return Cell(f"{write(row[name])}{more}", sort=row[name])


def _summary(scene: Scene, summary: pd.DataFrame) -> list[Block]:
    """One number a method: methods down, measures across, and what each one means."""
    names = list(dict.fromkeys(summary["name"]))
    stats = summary.groupby(["method", "name"])["value"].agg(["mean", "std", "count", "size"])
    groups = {
        "summary": ("Single numbers per method", [n for n in names if not measure(n).anytime]),
        "anytime": ("Overthinking and anytime behaviour", [n for n in names if measure(n).anytime]),
    }
    about = "test data" + (", mean ± standard deviation over seeds" if scene.write.several else "")
    tables: list[Block] = [
        Table(name, f"{title}, {about}.", *_summary_rows(scene, stats, chosen))
        for name, (title, chosen) in groups.items()
        if chosen
    ]
    meant = [(found.title, found.text) for found in map(measure, names) if found.text]
    return [*tables, Fold("What these numbers mean", [Terms(meant)])] if tables else []


def _summary_rows(scene: Scene, stats: pd.DataFrame, names: list[str]) -> tuple[list[Column], list[Row]]:
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
