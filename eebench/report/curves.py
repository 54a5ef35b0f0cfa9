"""The page's plots of all methods: score against cost, and speed as claimed against speed as measured."""

from __future__ import annotations

import math

import pandas as pd

from eebench.report.blocks import Block, Cell, Column, Figure, Fold, Row, Section, Table, Text
from eebench.report.calibration import energy
from eebench.report.frames import BACKBONE
from eebench.report.pareto import COSTS, FEW, REACH, Scene
from eebench.report.sections import TARGET_NAMES, simple_table, value_cell
from eebench.report.text import number, one_line, times
from eebench.report.verdicts import TARGET
from eebench.schema import TABLES

__all__ = ["claims", "tradeoffs"]


def tradeoffs(scene: Scene, drawn: set[str]) -> Section:
    """Section 3: score against MACs and milliseconds."""
    blocks: list[Block] = []
    for cost, (column, _, axis) in COSTS.items():
        if f"pareto_{cost}" not in drawn:
            continue
        how = "Lines sweep the knob over its whole range (one line a seed)."
        dashed = "fixed depth, every exit of the same model"
        if cost != "macs":
            how = "Markers are the operating points that were timed, joined by a line; between them nothing was timed."
            dashed = "the fixed depths that a target chose, timed with no other head running"
        how += f" Dashed: {dashed}." if len(scene.series) <= FEW else ""
        caption = (
            f"{how} The large marker is the point for {TARGET_NAMES[TARGET]}, whiskers are its 95 % intervals; scores"
            f" more than {REACH:.0f} points below the plain backbone are cut off. {_numbers(scene, column, cost)}"
        )
        title = f"Test score against {axis}"
        table, name = f"comparison-{TARGET}", "comparison table"
        blocks.append(Figure(f"pareto_{cost}", title, caption, table, name))
        grey = ", the other methods in grey" if len(scene.series) > 1 else ""
        caption = f"The same down to the cheapest operating point, a panel a method{grey}."
        caption += f" Dashed: {dashed}."
        if cost == "macs":
            caption += " A curve worth having lies above its own dashed and its dotted (random exits) line."
        blocks.append(
            Figure(f"pareto_{cost}_methods", f"{title}, method by method", caption, "knobs", "threshold table")
        )
    if not blocks:
        blocks.append(Text("No method has a result to draw."))
    return Section("tradeoffs", "Score against cost", blocks)


def _numbers(scene: Scene, column: str, cost: str) -> str:
    """The caption's numbers: the plain backbone, then the cheapest methods at the first target."""
    write = scene.write.gmacs if cost == "macs" else scene.write.ms
    unit = "GMACs" if cost == "macs" else "ms"
    rows = scene.table[(scene.table["target"] == TARGET) & scene.table["kind"].isin(["plain", "dynamic"])]
    dynamic = rows[rows["kind"] == "dynamic"].dropna(subset=[column]).sort_values(column)
    shown = pd.concat([rows[rows["kind"] == "plain"], dynamic.head(3)])
    parts = [
        f"{row['label']} {scene.write.score(row['score'])} at {write(row[column])} {unit}"
        for _, row in shown.iterrows()
    ]
    rest = "; the cheapest three of them named" if len(dynamic) > 3 else ""
    return f"With {TARGET_NAMES[TARGET]}: {', '.join(parts)}{rest}."


def claims(scene: Scene, drawn: set[str]) -> Section:
    """Section 4: what layer counting claims, what the clock says, and what the papers say."""
    dynamic = scene.table[scene.table["kind"] == "dynamic"]
    blocks: list[Block] = []
    if "claimed" in drawn:
        caption = (
            "Every operating point. Papers mostly report blocks / mean exit block, which makes heads, gates and the"
            f" work of stopping free; on the diagonal that is what one gets. {_kept(dynamic)}"
        )
        blocks.append(
            Figure(
                "claimed",
                "Speed-up claimed by layer count against speed-up measured",
                caption,
                "claimed-table",
                "four speed-ups",
            )
        )
        names = ["Method", "Target", "× layers", "× MACs", "× CPU", "× GPU", "CPU / layers"]
        rows = [
            Row(
                [
                    Cell(row["label"]),
                    Cell(TARGET_NAMES[row["target"]]),
                    *(value_cell(row, f"speedup_{n}", times) for n in ("layers", "macs", "cpu", "gpu")),
                    Cell(
                        number(row["speedup_cpu"] / row["speedup_layers"]),
                        sort=row["speedup_cpu"] / row["speedup_layers"],
                    ),
                ]
            )
            for _, row in dynamic.iterrows()
        ]
        if dynamic["speedup_gpu"].isna().all():
            rows = [Row([*row.cells[:5], row.cells[6]]) for row in rows]
            names.remove("× GPU")
        columns = [Column(name, numeric=i > 1) for i, name in enumerate(names)]
        blocks.append(
            Fold(
                "The numbers behind the plot",
                [Table("claimed-table", "Four speed-ups of every operating point.", columns, rows)],
            )
        )
    blocks += [*_scenarios(scene), *energy(scene), *_published(scene)]
    return Section("claims", "Claimed against measured", blocks or [Text("No method has a result to compare.")])


def _kept(dynamic: pd.DataFrame) -> str:
    """How much of the claimed gain in speed is left, in words."""
    parts = []
    for name, words in (("macs", "MACs"), ("cpu", "the CPU clock"), ("gpu", "the GPU clock")):
        ratio = (dynamic[f"speedup_{name}"] / dynamic["speedup_layers"]).dropna()
        if len(ratio):
            parts.append(f"{100 * ratio.median():.0f} % by {words}")
    return f"Of the claimed speed-up, the median point keeps {', '.join(parts)}." if parts else ""


def _scenarios(scene: Scene) -> list[Block]:
    """Batches: rows that leave as they finish, and batches that wait for their hardest row."""
    latency = scene.record.latency
    if not (latency["scenario"] != "single").any():
        return []
    keys = ["device", "batch_size", "scenario", "method", "path"]
    means = latency[latency["path"].isin(["plain", TARGET])].groupby(keys)["mean_ms"].mean()
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
    names = ["Method", "Device", "Scenario", "Batch size", "ms a sample", "× plain, same batch"]
    columns = [
        Column(name, TABLES["latency"]["scenario"] if name == "Scenario" else "", i > 2) for i, name in enumerate(names)
    ]
    caption = f"Time a sample in batches, with {TARGET_NAMES[TARGET]}. {TABLES['latency']['scenario']}."
    return [Table("scenarios", caption, columns, rows)]


def _published(scene: Scene) -> list[Block]:
    """The cards' claims, as they stand there."""
    claims = [
        (scene.record.labels[cell["method"]], claim)
        for cell in {cell["method"]: cell for cell in scene.record.cells}.values()
        for claim in (cell.get("card") or {}).get("claims") or []
        if isinstance(claim, dict)
    ]
    if not claims:
        return []
    keys = list(dict.fromkeys(key for _, claim in claims for key in claim))
    rows = [[label, *(one_line(claim.get(key)) for key in keys)] for label, claim in claims]
    names = ["Method", *(str(key).replace("_", " ") for key in keys)]
    caption = "Published numbers, from the method cards: other data, backbones and recipes, so context, no comparison."
    return [Fold("What the papers report", [simple_table("published", caption, names, rows)])]
