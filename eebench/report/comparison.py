"""The comparison: a table a target, twelve rows of it to begin with, and who can be told from whom."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from eebench.report.blocks import Block, Cell, Column, Fold, Row, Section, Table, Text
from eebench.report.ranking import CLOCKS, Race
from eebench.report.scene import Scene
from eebench.report.singles import single_numbers
from eebench.report.targets import target
from eebench.report.text import DASH, knob, number, times
from eebench.schema import TABLES

__all__ = ["comparison", "direction", "target_table", "value_cell"]

_PREFIX = {"fixed": "fixed depth", "random": "random exits", "oracle": "oracle, "}
_POINTS = TABLES["operating_points"]
_SHORT = {"cpu": "CPU", "gpu": "GPU"}


def comparison(scene: Scene) -> Section:
    """The section: how to read it, a table a target, pairs and tiers, one number a method."""
    seeds = ", ± the standard deviation over seeds" if scene.write.several else ""
    text = (
        "Knobs were chosen on validation data, numbers are from test data. Δ is against the plain backbone of the same"
        f" seed{seeds}; brackets are 95 % intervals. Grey with n.s.: not told apart from no change. Rows are in the"
        f" order of {_order(scene)}; those that missed the target on test data, or on validation data in some seed (†),"
        " stand below. ★ marks the Pareto front of score against that cost."
    )
    blocks: list[Block] = [Text(text)]
    blocks += [target_table(scene, name) for name in scene.record.targets]
    blocks += _told_apart(scene)
    blocks += single_numbers(scene)
    return Section("comparison", "Comparison", blocks)


def _order(scene: Scene) -> str:
    clock = "speed-up by MACs" if scene.clock == "macs" else f"measured speed-up ({CLOCKS[scene.clock]})"
    kinds = {target(name).kind for name in scene.record.targets}
    return clock if kinds <= {"drop"} else f"{clock}, or of score where the target limits a cost"


def target_table(scene: Scene, name: str) -> Table:
    """The comparison at one target."""
    race, wanted = scene.race(name), target(name)
    columns = _columns(scene, race)
    largest = {c: float(race.rows[f"speedup_{c}"].max()) for c in ("layers", "macs", "cpu", "gpu")}
    rows = []
    plain = race.rows[race.rows["kind"] == "plain"]
    for _, row in plain.iterrows():
        rows.append(Row(_cells(scene, race, row, largest), "plain"))
    for row in race.shown():
        below = not race.ranks(row)
        rows.append(Row(_cells(scene, race, row, largest), "method", below))
        if row["kind"] == "dynamic":
            others = race.rows[(race.rows["method"] == row["method"]) & race.rows["kind"].isin(["fixed", "random"])]
            rows += [Row(_cells(scene, race, other, largest), "baseline", below) for _, other in others.iterrows()]
    for _, row in race.rows[race.rows["kind"] == "oracle"].iterrows():
        rows.append(Row(_cells(scene, race, row, largest), "bound"))
    caption = f"{wanted.title[0].upper()}{wanted.title[1:]}: {wanted.meaning}."
    return Table(f"comparison-{name}", caption, columns, rows, choice=wanted.title)


def _columns(scene: Scene, race: Race) -> list[Column]:
    write, rows = scene.write, race.rows
    down = "descending"
    clocks = [c for c in ("gpu", "cpu") if rows[f"{c}_mean_ms"].notna().any() or rows[f"speedup_{c}"].notna().any()]
    columns = [
        Column("Method", numeric=False),
        Column("Knob", "the value chosen on validation data; below it, what a higher value does", numeric=False),
        Column(f"Score ({write.score_name})", _POINTS["score"], first=down),
        Column("Δ score, pt", "test score minus the plain backbone's, same seed, in points (×100)", first=down),
    ]
    columns += [Column(f"× {_SHORT[c]}", _POINTS[f"speedup_{c}"], first=down) for c in clocks]
    columns += [
        Column("× MACs", _POINTS["speedup_macs"], first=down),
        Column("× layers", _POINTS["speedup_layers"], first=down),
        Column(write.macs_unit, _macs_help(write.macs_unit)),
        Column("Mean exit", _POINTS["mean_exit"]),
    ]
    if rows["tier"].notna().any():
        about = "1 is best; nobody inside a tier is told apart by paired, Holm-corrected tests"
        columns.append(Column("Tier", about))
    if rows["over_frontier"].notna().any():
        about = _POINTS.get("over_frontier", "score above that of static models and fixed depths at the same MACs")
        columns.append(Column("Over frontier, pt", about, first=down, extra=True))
    columns.append(Column("Over fixed depth, pt", _POINTS["over_fixed"], first=down, extra=True))
    for c in clocks:
        columns += [
            Column(f"{_SHORT[c]} {q}, ms", f"{q[1:]}th percentile, batch 1", extra=True) for q in ("p50", "p95")
        ]
    if rows["crossfit_drop"].notna().any():
        columns.append(Column("Cross-fitted Δ, pt", _POINTS["crossfit_drop"], first=down, extra=True))
        columns.append(Column("Cross-fitted × MACs", _POINTS["crossfit_speedup_macs"], first=down, extra=True))
    if rows["ece"].notna().any():
        about = f"{_POINTS['ece']}; below it: the interval without what chance adds, and what chance alone shows"
        columns.append(Column("ECE, %", about if rows["ece_floor"].notna().any() else _POINTS["ece"], extra=True))
    if write.several:
        columns.append(Column("Seeds", "seeds that finished", extra=True))
    return columns


def _macs_help(unit: str) -> str:
    return _POINTS["gmacs"] if unit == "GMACs" else _POINTS["gmacs"].replace("10^9", "10^6")


def _cells(scene: Scene, race: Race, row: pd.Series, largest: dict[str, float]) -> list[Cell]:
    write, rows = scene.write, race.rows
    cells = [_name(scene, row), _knob(scene, row)]
    cells.append(Cell(f"{write.score(row['score'])}{write.spread(row, 'score', write.score)}", sort=100 * row["score"]))
    cells.append(_difference(scene, row, "drop", -1))
    clocks = [c for c in ("gpu", "cpu") if rows[f"{c}_mean_ms"].notna().any() or rows[f"speedup_{c}"].notna().any()]
    cells += [_speed(scene, row, c, largest) for c in clocks]
    cells.append(_speed(scene, row, "macs", largest))
    cells.append(_bar(times(row["speedup_layers"]), row["speedup_layers"], largest["layers"]))
    cells.append(Cell(write.macs(row["gmacs"]), sort=row["gmacs"] * write.macs_scale))
    cells.append(Cell(number(row["mean_exit"]), sort=row["mean_exit"]))
    if rows["tier"].notna().any():
        cells.append(Cell(number(row["tier"], 0), sort=row["tier"]))
    if rows["over_frontier"].notna().any():
        cells.append(_difference(scene, row, "over_frontier", 1))
    cells.append(_difference(scene, row, "over_fixed", 1))
    for c in clocks:
        cells += [Cell(write.ms(row[f"{c}_{q}_ms"]), sort=row[f"{c}_{q}_ms"]) for q in ("p50", "p95")]
    if rows["crossfit_drop"].notna().any():
        drop, speed = row["crossfit_drop"], row["crossfit_speedup_macs"]
        cells += [Cell(write.change(drop), sort=-100 * drop), Cell(times(speed), sort=speed)]
    if rows["ece"].notna().any():
        cells.append(_ece(row))
    if write.several:
        cells.append(Cell(f"{row['seeds']} of {len(scene.record.seeds)}", sort=float(row["seeds"])))
    return cells


def _ece(row: pd.Series) -> Cell:
    """The calibration error, its interval, and what a calibrated model would show."""
    low, high, chance = (100 * row[f"ece_{end}"] for end in ("low", "high", "floor"))
    small = f"[{low:.1f}, {high:.1f}], chance {chance:.1f}" if math.isfinite(chance + low + high) else ""
    return Cell(number(100 * row["ece"], 1), small, 100 * row["ece"])


def _name(scene: Scene, row: pd.Series) -> Cell:
    marks = " †" if row["met"] < row["seeds"] else ""
    kind, small = row["kind"], ""
    if row["dead"] and kind != "oracle":
        small = f"{100 * row['dead_share']:.0f} % stop at exits that never learnt"
    if kind in ("fixed", "random"):
        best = scene.race(row["target"]).best("fixed") if kind == "fixed" else None
        label = f"{_PREFIX[kind]} of {row['label']}" if best is not None and best.name == row.name else _PREFIX[kind]
        return Cell(f"{label}{marks}", small)
    prefix = _PREFIX.get(kind, "")
    return Cell(f"{prefix}{row['label']}{marks}", small)


def _knob(scene: Scene, row: pd.Series) -> Cell:
    if row["kind"] in ("plain", "oracle") or not math.isfinite(row["knob"]):
        return Cell(DASH, sort=math.nan)
    name = row["knob_name"] if isinstance(row["knob_name"], str) else ""
    small = direction(scene, row["method"]) if row["kind"] == "dynamic" else ""
    return Cell(f"{name} {knob(row)}", small, row["knob"])


def direction(scene: Scene, method: str) -> str:
    """What a higher knob does, as the sweep shows it: ``higher: stops later``."""
    sweep = scene.record.test("dynamic")
    sweep = sweep[(sweep["method"] == method) & np.isfinite(sweep["knob"])]
    slopes = [
        np.sign(np.corrcoef(mine["knob"].rank(), mine["mean_exit"].rank())[0, 1])
        for _, mine in sweep.groupby("seed")
        if mine["knob"].nunique() > 1 and mine["mean_exit"].nunique() > 1
    ]
    if not slopes or len(set(slopes)) > 1:
        return ""
    return "higher: stops later" if slopes[0] > 0 else "higher: stops earlier"


def _difference(scene: Scene, row: pd.Series, name: str, sign: int) -> Cell:
    """A difference of scores in points with its interval; grey and n.s. where it may be none."""
    write, value = scene.write, row[name]
    if row["kind"] == "plain" or not math.isfinite(value):
        return Cell(DASH, sort=0.0 if row["kind"] == "plain" and name == "drop" else math.nan)
    show: Callable[[float], str] = write.change if sign < 0 else write.gain
    interval = write.interval(row, name, show, flip=sign < 0)
    unsure = bool(row[f"unsure_{name}"])
    small = f"n.s. {interval}".rstrip() if unsure else interval
    return Cell(f"{show(value)}{write.spread(row, name, write.score)}", small, 100 * sign * value, muted=unsure)


def _speed(scene: Scene, row: pd.Series, clock: str, largest: dict[str, float]) -> Cell:
    name, write = f"speedup_{clock}", scene.write
    value = row[name]
    if not math.isfinite(value):
        withheld = row[f"withheld_{clock}"] if clock in _SHORT else ""
        return Cell("withheld", withheld, math.nan, muted=True) if withheld else Cell(DASH, sort=math.nan)
    star = " ★" if row[f"front_{clock}"] else ""
    text = times(value)
    unsure = bool(row[f"unsure_{clock}"])
    small = ""
    if row["kind"] != "plain":
        text = f"{number(value)}{write.spread(row, name, number)}×"
        interval = write.interval(row, name, number)
        small = f"n.s. {interval}".rstrip() if unsure else interval
    return _bar(f"{text}{star}", value, largest[clock], small, muted=unsure)


def _bar(text: str, value: float, largest: float, small: str = "", *, muted: bool = False) -> Cell:
    share = value / largest if math.isfinite(value) and largest > 0 else None
    return Cell(text, small, value, muted=muted, bar=share)


def value_cell(row: Any, name: str, write: Any, more: str = "") -> Cell:
    """A cell that shows ``row[name]`` as ``write`` puts it, and sorts by it."""
    return Cell(f"{write(row[name])}{more}", sort=row[name])


def _told_apart(scene: Scene) -> list[Block]:
    """Tiers and pairs, where the record has them."""
    blocks: list[Block] = []
    tiers = scene.record.table("tiers")
    tiers = tiers[tiers["target"] == scene.main]
    labels = scene.record.labels
    title = target(scene.main).title
    if len(tiers):
        rows = [
            Row([Cell(f"{tier:g}", sort=float(str(tier))), Cell(", ".join(labels.get(m, m) for m in mine["method"]))])
            for tier, mine in tiers.sort_values(["tier", "mean_rank"]).groupby("tier")
        ]
        caption = f"Tiers by score, {title}: nobody inside a tier can be called better."
        blocks.append(Table("tiers", caption, [Column("Tier"), Column("Methods", numeric=False)], rows))
    pairs = scene.record.table("pairs")
    pairs = pairs[pairs["target"] == scene.main]
    if len(pairs):
        blocks.append(Fold("Every pair, with its corrected p", [_pairs(scene, pairs, title)]))
    return blocks


def _pairs(scene: Scene, pairs: pd.DataFrame, title: str) -> Table:
    write, labels = scene.write, scene.record.labels
    rows = []
    for row in pairs.sort_values(["p_holm", "p"]).to_dict("records"):
        unsure = not row["p_holm"] < 0.05
        interval = f"[{write.gain(row['low'])}, {write.gain(row['high'])}]"
        cells = [Cell(labels.get(row[name], row[name])) for name in ("method_a", "method_b")]
        small = f"n.s. {interval}" if unsure else interval
        cells.append(Cell(write.gain(row["difference"]), small, 100 * row["difference"], muted=unsure))
        cells += [Cell(f"{row[name]:.3g}", sort=row[name]) for name in ("p", "p_holm")]
        rows.append(Row(cells))
    columns = [
        Column("A", numeric=False),
        Column("B", numeric=False),
        Column("A − B, pt", "difference of test scores, paired over samples and seeds", first="descending"),
        Column("p", "of no difference"),
        Column("p, corrected", "Holm's correction over all pairs at this target"),
    ]
    return Table("pairs", f"Every pair, {title}.", columns, rows)
