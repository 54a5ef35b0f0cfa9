"""The page's plots of all methods: score against cost, and speed as claimed against speed as measured."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from eebench.report.blocks import Block, Cell, Column, Figure, Fold, Row, Section, Table, Text
from eebench.report.calibration import energy
from eebench.report.comparison import value_cell
from eebench.report.first import overview_figure
from eebench.report.frames import BACKBONE
from eebench.report.scene import COSTS, Scene
from eebench.report.singles import simple_table
from eebench.report.targets import target
from eebench.report.text import METRICS, number, one_line, times
from eebench.schema import TABLES

__all__ = ["claims", "tradeoffs"]

_DEVICES = {"cpu": "cpu", "gpu": "cuda"}


def tradeoffs(scene: Scene, drawn: set[str]) -> Section:
    """Score against MACs and milliseconds, all methods and one by one."""
    blocks: list[Block] = []
    for cost in COSTS:
        if cost != scene.clock and f"overview_{cost}" in drawn:
            blocks.append(overview_figure(scene, cost))
    for cost, (_, _, axis) in COSTS.items():
        if f"methods_{cost}" not in drawn:
            continue
        grey = ", the other methods in grey" if len(scene.series) > 1 else ""
        if cost == "macs":
            caption = (
                f"A panel a method, down to the cheapest operating point{grey}; a line a seed. A curve worth having"
                " lies above its own dashed (fixed depth) and its dotted (random exits) line."
            )
            table, name, csv = "knobs", "threshold tables", "curves"
        else:
            caption = (
                f"A panel a method: operating points that were timed{grey}. Dashed: its fixed depths, where every seed"
                " timed that block."
            )
            table, name, csv = f"times-{cost}", "table of times", "latency"
        axis = "MACs" if cost == "macs" else axis
        blocks.append(Figure(f"methods_{cost}", f"Test score against {axis}, by method", caption, table, name, csv))
        if cost != "macs":
            blocks.append(Fold("The times behind the plot", [_times(scene, cost)]))
    if not blocks:
        blocks.append(Text("No method has a result to draw."))
    return Section("tradeoffs", "Score against cost", blocks)


def _times(scene: Scene, cost: str) -> Table:
    """Milliseconds of every operating point and fixed depth that was timed."""
    column, speedup, axis = COSTS[cost]
    rows = []
    timed = scene.table[scene.table["kind"].isin(["plain", "static", "dynamic", "fixed"])].dropna(subset=[column])
    for _, row in timed.drop_duplicates(["method", "kind", column]).iterrows():
        what = {"dynamic": target(row["target"]).title, "fixed": "fixed depth"}.get(row["kind"], "no exits")
        cells = [Cell(row["label"]), Cell(what), value_cell(row, column, scene.write.ms)]
        cells += [value_cell(row, column.replace("mean", q), scene.write.ms) for q in ("p50", "p95")]
        score = Cell(scene.write.score(row["score"]), sort=100 * row["score"])
        rows.append(
            Row([*cells, value_cell(row, speedup, times), score], "plain" if row["kind"] == "plain" else "method")
        )
    columns = [Column("Method", numeric=False), Column("At", numeric=False), Column("Mean, ms")]
    columns += [Column("p50, ms"), Column("p95, ms"), Column("× plain", first="descending")]
    columns.append(Column(f"Score ({scene.write.score_name})", first="descending"))
    return Table(f"times-{cost}", f"{axis}, mean over seeds.", columns, rows)


def claims(scene: Scene, drawn: set[str]) -> Section:
    """What layer counting claims, what the clock says, and what the papers say."""
    dynamic = scene.table[scene.table["kind"] == "dynamic"]
    blocks: list[Block] = []
    if "claimed" in drawn:
        caption = (
            f"With {target(scene.main).title}. Papers mostly report blocks / mean exit block, which makes heads, gates"
            f" and the work of stopping free. {_kept(dynamic)}"
        )
        title = "Speed-up: claimed by layer count, counted in MACs, measured"
        blocks.append(Figure("claimed", title, caption, "claimed-table", "four speed-ups"))
        blocks.append(Fold("The numbers behind the plot", [_claimed_table(scene, dynamic)]))
    blocks += [*_scenarios(scene), *energy(scene), *_published(scene)]
    return Section("claims", "Claimed against measured", blocks or [Text("No method has a result to compare.")])


def _claimed_table(scene: Scene, dynamic: pd.DataFrame) -> Table:
    shown = [n for n in ("layers", "macs", "cpu", "gpu") if dynamic[f"speedup_{n}"].notna().any()]
    heads = {"layers": "× layers", "macs": "× MACs", "cpu": "× CPU", "gpu": "× GPU"}
    about = TABLES["operating_points"]
    columns = [Column("Method", numeric=False), Column("Target", numeric=False)]
    columns += [Column(heads[n], about[f"speedup_{n}"], first="descending") for n in shown]
    kept = scene.clock if scene.clock != "macs" else "macs"
    columns.append(Column(f"{heads[kept]} / layers", "how much of the claim is left", first="descending"))
    rows = []
    for _, row in dynamic.iterrows():
        ratio = row[f"speedup_{kept}"] / row["speedup_layers"]
        cells = [Cell(row["label"]), Cell(target(row["target"]).title)]
        cells += [value_cell(row, f"speedup_{n}", times) for n in shown]
        rows.append(Row([*cells, Cell(number(ratio), sort=ratio)]))
    return Table("claimed-table", "Speed-ups of every operating point.", columns, rows)


def _kept(dynamic: pd.DataFrame) -> str:
    """How much of the claimed gain in speed is left, in words."""
    parts = []
    for name, words in (("macs", "by MACs"), ("cpu", "by the CPU clock"), ("gpu", "by the GPU clock")):
        ratio = (dynamic[f"speedup_{name}"] / dynamic["speedup_layers"]).dropna()
        if len(ratio):
            parts.append(f"{100 * ratio.median():.0f} % {words}")
    return f"Over all targets the median point keeps {', '.join(parts)}." if parts else ""


def _scenarios(scene: Scene) -> list[Block]:
    """Batches: rows that leave as they finish, and batches that wait for their hardest row."""
    latency = scene.record.latency
    if not (latency["scenario"] != "single").any():
        return []
    keys = ["device", "batch_size", "scenario", "method", "path"]
    means = latency[latency["path"].isin(["plain", scene.main])].groupby(keys)["mean_ms"].mean()
    place = {method: i for i, method in enumerate(scene.record.methods)}
    timed = [row for row in means.reset_index().to_dict("records") if row["method"] in place]
    timed.sort(key=lambda row: (row["device"], row["batch_size"], row["scenario"], place[row["method"]]))
    rows = []
    for row in timed:
        # The plain backbone has nobody to wait for: one time a batch size serves both scenarios.
        scenario = "batch" if row["scenario"] == "wait" else row["scenario"]
        ms = row["mean_ms"]
        plain = means.get((row["device"], row["batch_size"], scenario, BACKBONE, "plain"), math.nan)
        cells = [Cell(scene.record.labels[row["method"]]), Cell(row["device"]), Cell(row["scenario"])]
        cells += [Cell(f"{row['batch_size']:g}", sort=row["batch_size"])]
        rows.append(Row([*cells, Cell(scene.write.ms(ms), sort=ms), Cell(times(plain / ms), sort=plain / ms)]))
    columns = [
        Column("Method", numeric=False),
        Column("Device", numeric=False),
        Column("Scenario", TABLES["latency"]["scenario"], numeric=False),
        Column("Batch size"),
        Column("ms a sample"),
        Column("× plain, same batch", first="descending"),
    ]
    caption = f"Time a sample in batches, {target(scene.main).title}. {TABLES['latency']['scenario']}."
    return [Fold("In batches", [Table("scenarios", caption, columns, rows)])]


def _published(scene: Scene) -> list[Block]:
    """The cards' claims; scores in the unit of the rest of the report, whatever the paper's."""
    claims = [
        (scene.record.labels[cell["method"]], claim)
        for cell in {cell["method"]: cell for cell in scene.record.cells}.values()
        for claim in _listed((cell.get("card") or {}).get("claims"))
        if isinstance(claim, dict)
    ]
    if not claims:
        return []
    keys = list(dict.fromkeys(key for _, claim in claims for key in claim))
    rows = [[label, *(_claim(key, claim) for key in keys)] for label, claim in claims]
    heads = {"score": "score, ×100", "baseline": "baseline, ×100"}
    names = ["Method", *(heads.get(key, str(key).replace("_", " ")) for key in keys)]
    caption = "Published numbers, from the method cards: other data, backbones and recipes, so context, no comparison."
    return [Fold("What the papers report", [simple_table("published", caption, names, rows)])]


def _listed(value: Any) -> list[Any]:
    """A card is a stranger's: whatever is no list has no items."""
    return value if isinstance(value, list) else []


def _claim(key: str, claim: dict[str, Any]) -> str:
    value = claim.get(key)
    if key == "metric":
        return METRICS.get(str(value), one_line(value))
    if key in ("score", "baseline") and isinstance(value, int | float):
        scores = [float(claim[k]) for k in ("score", "baseline") if isinstance(claim.get(k), int | float)]
        shares = max(map(abs, scores)) <= 1  # printed as 0.885 in one paper, as 88.5 in another
        return f"{100 * value if shares else value:.4g}"
    return one_line(value)
