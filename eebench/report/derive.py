"""Tables derived from the record: operating points joined with their timings, and the comparison over seeds.

Several seeds: ``x`` is the mean over seeds and ``x_std`` the sample standard deviation (n - 1). ``x_low``/``x_high``
are the record's own interval of that mean where it has one (headlines.csv), else the mean over seeds of each seed's own
bounds: uncertainty from the samples, not from training. One seed: ``x_std`` is empty and only the bounds are there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from eebench.measure import pareto_front
from eebench.report.frames import BACKBONE, STATIC, Record
from eebench.report.statics import static_points
from eebench.report.targets import target
from eebench.schema import static_label

__all__ = ["DEAD", "aggregate", "compare", "overlaps", "reached", "timed_points"]

DEAD = 0.05
"""Share of test samples that may stop at an exit that never learnt before a row counts as dead."""

_DEPLOYABLE = ("plain", "static", "dynamic", "fixed", "random")
_ORDER = {kind: i for i, kind in enumerate((*_DEPLOYABLE, "oracle"))}
_TIMES = ("mean_ms", "p50_ms", "p95_ms")
_SHORT = {"cpu": "cpu", "cuda": "gpu"}
NUMBERS = (
    "score", "drop", "drop_low", "drop_high", "over_fixed", "over_fixed_low", "over_fixed_high", "over_frontier",
    "over_frontier_low", "over_frontier_high", "gmacs", "gmacs_backbone", "gmacs_heads", "gmacs_gates",
    "speedup_layers", "speedup_macs", "speedup_macs_low", "speedup_macs_high", "speedup_cpu", "speedup_cpu_low",
    "speedup_cpu_high", "speedup_gpu", "speedup_gpu_low", "speedup_gpu_high", "cpu_mean_ms", "cpu_p50_ms",
    "cpu_p95_ms", "gpu_mean_ms", "gpu_p50_ms", "gpu_p95_ms", "mean_exit", "ece", "knob", "val_score", "val_gmacs",
    "val_drop", "val_drop_upper", "dead_share", "ece_low", "ece_high", "ece_floor", "crossfit_drop",
    "crossfit_speedup_macs",
)  # fmt: skip
_HEADLINES = ("drop", "speedup_macs", "over_frontier")
_SPREAD = ("drop", "over_fixed", "over_frontier", "speedup_macs", "speedup_cpu", "speedup_gpu", "knob")


def timed_points(record: Record) -> pd.DataFrame:
    """Operating points of every kind with batch-1 times of the same path joined; the plain backbone once a target.

    A fixed depth that was timed but has no speed-up of its own gets the ratio of the two recorded means, no interval,
    unless its speed-up was withheld.
    """
    plain = [record.plain.assign(target=name, met=True) for name in record.targets]
    told = record.points[record.points["kind"] != "static"]
    points = pd.concat([*plain, static_points(record), told], ignore_index=True)
    block = pd.to_numeric(points["knob"], errors="coerce")
    number = block.where(np.isfinite(block), 0).astype(int).astype(str)  # a rule's knob may be infinite
    kind = points["kind"]
    points["path"] = np.select(
        [kind == "plain", kind == "static", kind == "fixed", kind == "dynamic"],
        ["plain", "blocks_" + number, "fixed_" + number, points["target"]], "",
    )  # fmt: skip
    for device, short in _SHORT.items():
        times = record.single[record.single["device"] == device]
        names = {time: f"{short}_{time}" for time in _TIMES} | {"noisy": f"{short}_noisy"}
        times = times.rename(columns=names)[["method", "seed", "path", *names.values()]]
        of_static = times["method"] == STATIC
        times = times.assign(method=times["method"].where(~of_static, [_static(path) for path in times["path"]]))
        points = points.merge(times.drop_duplicates(["method", "seed", "path"]), "left", ["method", "seed", "path"])
        whole = times[(times["path"] == "plain") & (times["method"] == BACKBONE)].set_index("seed")
        ratio = points["seed"].map(whole[f"{short}_mean_ms"]) / points[f"{short}_mean_ms"]
        withheld = points[f"withheld_{short}"].fillna("") != ""
        points[f"speedup_{short}"] = points[f"speedup_{short}"].fillna(ratio.where(~withheld))
    points["dead_share"] = points["dead_share"].fillna(_dead_exit(record, points))
    return points


def _static(path: str) -> str:
    """The label of the static model behind a timed path; nothing for other paths."""
    blocks = path.removeprefix("blocks_")
    return static_label(int(blocks)) if blocks.isdigit() else ""


def _dead_exit(record: Record, points: pd.DataFrame) -> pd.Series:
    """1 for a fixed depth at an exit that never learnt, else 0."""
    exits = record.exits[(record.exits["split"] == "test") & ~record.exits["live"]]
    dead = set(zip(exits["method"], exits["seed"], exits["exit"], strict=True))
    rows = zip(points["kind"], points["method"], points["seed"], points["knob"], strict=True)
    return pd.Series([float(kind == "fixed" and tuple(key) in dead) for kind, *key in rows], points.index)


def aggregate(points: pd.DataFrame) -> pd.DataFrame:
    """One row a (target, method, kind): means over seeds, ``_std`` beside them, ``seeds``, ``met`` (how many did)."""
    keys = ["target", "method", "kind"]
    groups = points.groupby(keys, sort=False)
    numbers = points.reindex(columns=[*keys, *NUMBERS]).astype(dict.fromkeys(NUMBERS, float)).groupby(keys, sort=False)
    parts = [numbers.mean(), numbers.std(ddof=1).add_suffix("_std")]
    parts += [numbers[list(_SPREAD)].min().add_suffix("_min"), numbers[list(_SPREAD)].max().add_suffix("_max")]
    rest = {
        "seeds": groups["seed"].nunique(), "met": groups["met"].sum().astype(int),
        "knob_name": groups["knob_name"].first(),
    }  # fmt: skip
    for short in _SHORT.values():
        rest[f"{short}_noisy"] = groups[f"{short}_noisy"].agg(lambda flags: bool((flags == True).any()))  # noqa: E712
        rest[f"withheld_{short}"] = groups[f"withheld_{short}"].agg(_first_text)
    return pd.concat([*parts, pd.DataFrame(rest)], axis=1).copy().reset_index()


def _first_text(texts: pd.Series) -> str:
    return next((text for text in texts if isinstance(text, str) and text), "")


def _headlines(record: Record, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the record's own intervals of means over seeds in place of the mean bounds of single seeds.

    Those contain the choice of the knob, test samples and seeds, so that seeds on both sides say nothing more.
    """
    told = record.table("headlines")
    told = told[told["measure"].isin(_HEADLINES) & told["low"].notna() & told["high"].notna()] if len(told) else told
    if told.empty or table.empty:
        return table
    table = table.set_index(["target", "method", "kind"])
    for measure, rows in told.groupby("measure"):
        ends = rows.set_index(["target", "method", "kind"])[["low", "high"]].add_prefix(f"{measure}_")
        ends = ends[~ends.index.duplicated() & ends.index.isin(table.index)]
        table.loc[ends.index, ends.columns] = ends
        table.loc[ends.index, [f"{measure}_min", f"{measure}_max"]] = np.nan
    return table.copy().reset_index()


def compare(record: Record) -> pd.DataFrame:
    """The comparison table, all targets: plain, static models, each method with its baselines, then the oracles.

    ``front_macs``, ``front_cpu`` and ``front_gpu`` mark rows that no other deployable row of the same target beats on
    both score and that cost. ``unsure_x`` says that x cannot be told from no change (:func:`overlaps`). ``dead``: more
    than :data:`DEAD` of the test samples stop at exits that never learnt. ``on_target``: validation data met the
    target in every seed, and the test interval holds it (:func:`reached`). ``tier``: the group of methods that it
    cannot be told from, 1 the best; empty where the record compares nobody.
    """
    table = _headlines(record, aggregate(timed_points(record)))
    if table.empty:
        return table
    statics = table.loc[table["kind"] == "static"].sort_values("gmacs", kind="stable")["method"].unique()
    place = {m: i for i, m in enumerate((BACKBONE, *statics, *record.methods))}
    targets = {name: i for i, name in enumerate(record.targets)}
    order = pd.DataFrame(
        {
            "target": table["target"].map(targets),
            "bound": table["kind"] == "oracle",
            "place": table["method"].map(place),
            "kind": table["kind"].map(_ORDER),
        }
    )
    table = table.loc[order.sort_values(["target", "bound", "place", "kind"]).index].reset_index(drop=True)
    return pd.concat([table, _judged(record, table)], axis=1)


def _judged(record: Record, table: pd.DataFrame) -> pd.DataFrame:
    """The columns that judge a row, beside ``table``."""
    rows = [row for _, row in table.iterrows()]
    other = (table["kind"] != "plain").to_numpy()
    found: dict[str, Any] = {"label": table["method"].map(record.labels)}
    for name in ("drop", "over_fixed", "over_frontier"):
        found[f"unsure_{name}"] = other & np.array([overlaps(row, name, 0.0) for row in rows])
    for short in ("macs", *_SHORT.values()):
        found[f"unsure_{short}"] = other & np.array([overlaps(row, f"speedup_{short}", 1.0) for row in rows])
    found["dead"] = dead = table["dead_share"].fillna(0) > DEAD
    plain = table[table["kind"] == "plain"].set_index("target")
    found["on_target"] = [reached(row, plain) for row in rows]
    tiers = record.table("tiers").set_index(["target", "method"])["tier"]
    tiers = tiers[~tiers.index.duplicated()]
    ranked = table["kind"].isin(["plain", "static", "dynamic"])
    keys = zip(table["target"], table["method"], ranked, strict=True)
    found["tier"] = [tiers.get((name, method), np.nan) if shown else np.nan for name, method, shown in keys]
    for name, cost in (("front_macs", "gmacs"), ("front_cpu", "cpu_mean_ms"), ("front_gpu", "gpu_mean_ms")):
        marks = pd.Series(False, table.index)
        able = table["kind"].isin(_DEPLOYABLE) & ~dead & table[cost].notna() & table["score"].notna()
        for _, group in table[able].groupby("target"):
            # Nine digits: the same cost summed in another order is the same cost.
            costs = np.array([float(f"{value:.9g}") for value in group[cost]])
            marks[group.index] = pareto_front(costs, group["score"].to_numpy(float))
        found[name] = marks
    return pd.DataFrame(found, index=table.index)


def overlaps(row: Any, name: str, null: float) -> bool:
    """Whether ``row[name]`` cannot be told from ``null``: its interval holds it, or the seeds lie on both sides."""
    inside = row[f"{name}_low"] <= null <= row[f"{name}_high"]
    return bool(inside or row[f"{name}_min"] < null < row[f"{name}_max"])


def reached(row: Any, plain: pd.DataFrame) -> bool:
    """Whether a row kept its target: on validation data in every seed, on test data within its 95 % interval.

    Args:
        row: of the aggregated table.
        plain: the plain backbone's rows by target, for its milliseconds.
    """
    wanted = target(row["target"])
    if row["kind"] == "plain":
        return wanted.kind in ("drop", "other")
    if row["met"] < row["seeds"]:
        return False
    if wanted.kind == "drop":
        best = row["drop_low"] if np.isfinite(row["drop_low"]) else row["drop"]
        return bool(best <= wanted.amount / 100 + 1e-9)
    if wanted.kind == "macs":
        best = row["speedup_macs_high"] if np.isfinite(row["speedup_macs_high"]) else row["speedup_macs"] * 1.02
        return bool(best >= 100 / wanted.amount * (1 - 1e-9))
    if wanted.kind == "ms":
        for short in ("gpu", "cpu"):
            fastest = row[f"speedup_{short}_high"]
            if np.isfinite(fastest):
                return bool(plain.loc[row["target"], f"{short}_mean_ms"] / fastest <= wanted.amount)
        return False
    return True
