"""Tables derived from the record: operating points joined with their timings, and the comparison over seeds.

Several seeds: ``x`` is the mean over seeds and ``x_std`` the sample standard deviation (n - 1). ``x_low``/``x_high``
are the mean over seeds of each seed's own bootstrap bounds: uncertainty from the test samples, not from
training. One seed: ``x_std`` is empty and only the bootstrap bounds are there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from eebench.report.frames import BACKBONE, Record
from eebench.schema import STATIC, TARGETS

__all__ = ["aggregate", "compare", "front", "overlaps", "timed_points"]

_DEPLOYABLE = ("plain", "static", "dynamic", "fixed", "random")
_ORDER = {kind: i for i, kind in enumerate((*_DEPLOYABLE, "oracle"))}
_TIMES = ("mean_ms", "p50_ms", "p95_ms")
_SHORT = {"cpu": "cpu", "cuda": "gpu"}
NUMBERS = (
    "score", "drop", "drop_low", "drop_high", "over_fixed", "over_fixed_low", "over_fixed_high",
    "gmacs", "gmacs_backbone", "gmacs_heads", "gmacs_gates",
    "speedup_layers", "speedup_macs", "speedup_cpu", "speedup_cpu_low", "speedup_cpu_high", "speedup_gpu",
    "speedup_gpu_low", "speedup_gpu_high", "cpu_mean_ms", "cpu_p50_ms", "cpu_p95_ms", "gpu_mean_ms", "gpu_p50_ms",
    "gpu_p95_ms", "mean_exit", "ece", "knob", "val_score", "val_gmacs",
)  # fmt: skip


def timed_points(record: Record) -> pd.DataFrame:
    """Operating points of every kind, the plain backbone once a target, with batch-1 times of the same path joined.

    A fixed depth that was timed but has no speed-up of its own gets the ratio of the two recorded means, no interval,
    unless its speed-up was withheld.
    """
    plain = pd.concat([record.plain.assign(target=target, met=True) for target in TARGETS])
    points = pd.concat([plain, record.points], ignore_index=True)
    block = pd.to_numeric(points["knob"], errors="coerce")
    fixed = "fixed_" + block.fillna(0).astype(int).astype(str)
    kind = points["kind"]
    points["path"] = np.select(
        [kind == "plain", kind == "fixed", kind == "dynamic"], ["plain", fixed, points["target"]]
    )
    for device, short in _SHORT.items():
        times = record.single[record.single["device"] == device]
        names = {time: f"{short}_{time}" for time in _TIMES} | {"noisy": f"{short}_noisy"}
        times = times.rename(columns=names)[["method", "seed", "path", *names.values()]]
        points = points.merge(times.drop_duplicates(["method", "seed", "path"]), "left", ["method", "seed", "path"])
        whole = times[(times["path"] == "plain") & (times["method"] == BACKBONE)].set_index("seed")
        ratio = points["seed"].map(whole[f"{short}_mean_ms"]) / points[f"{short}_mean_ms"]
        withheld = points[f"withheld_{short}"].fillna("") != ""
        points[f"speedup_{short}"] = points[f"speedup_{short}"].fillna(ratio.where(~withheld))
    return points


def aggregate(points: pd.DataFrame) -> pd.DataFrame:
    """One row a (target, method, kind): means over seeds, ``_std`` beside them, ``seeds``, ``met`` (how many did)."""
    keys = ["target", "method", "kind"]
    groups = points.groupby(keys, sort=False)
    numbers = list(NUMBERS)
    table = groups[numbers].mean().join(groups[numbers].std(ddof=1).add_suffix("_std"))
    spread = {
        name: groups[name].agg(["min", "max"]) for name in ("drop", "over_fixed", "speedup_cpu", "speedup_gpu", "knob")
    }
    for name, ends in spread.items():
        table[f"{name}_min"], table[f"{name}_max"] = ends["min"], ends["max"]
    table["seeds"] = groups["seed"].nunique()
    table["met"] = groups["met"].sum().astype(int)
    table["knob_name"] = groups["knob_name"].first()
    for short in _SHORT.values():
        table[f"{short}_noisy"] = groups[f"{short}_noisy"].agg(lambda flags: bool((flags == True).any()))  # noqa: E712
    return table.reset_index()


def compare(record: Record) -> pd.DataFrame:
    """The comparison table, all targets: plain first, then each method with its baselines, then the oracles.

    ``front_macs`` and ``front_cpu`` mark rows that no other deployable row of the same target beats on both score and
    that cost. ``unsure_drop``, ``unsure_over_fixed``, ``unsure_cpu``, ``unsure_gpu`` carry the '~' of :func:`overlaps`.
    """
    table = aggregate(timed_points(record))
    if table.empty:
        return table
    place = {BACKBONE: -2, STATIC: -1} | {method: i for i, method in enumerate(record.methods)}
    targets = {target: i for i, target in enumerate(TARGETS)}
    order = pd.DataFrame(
        {
            "target": table["target"].map(targets),
            "bound": table["kind"] == "oracle",
            "place": table["method"].map(place),
            "kind": table["kind"].map(_ORDER),
        }
    )
    table = table.loc[order.sort_values(["target", "bound", "place", "kind"]).index].reset_index(drop=True)
    table["label"] = table["method"].map(record.labels)
    table["unsure_drop"] = [row["kind"] != "plain" and overlaps(row, "drop", 0.0) for _, row in table.iterrows()]
    table["unsure_over_fixed"] = [overlaps(row, "over_fixed", 0.0) for _, row in table.iterrows()]
    for short in _SHORT.values():
        name = f"speedup_{short}"
        table[f"unsure_{short}"] = [row["kind"] != "plain" and overlaps(row, name, 1.0) for _, row in table.iterrows()]
    for name, cost in (("front_macs", "gmacs"), ("front_cpu", "cpu_mean_ms")):
        table[name] = False
        for _, rows in table[table["kind"].isin(_DEPLOYABLE)].groupby("target"):
            table.loc[rows.index, name] = front(rows[cost].to_numpy(float), rows["score"].to_numpy(float))
    return table


def overlaps(row: Any, name: str, null: float) -> bool:
    """Whether ``row[name]`` cannot be told from ``null``: its interval holds it, or the seeds lie on both sides."""
    inside = row[f"{name}_low"] <= null <= row[f"{name}_high"]
    return bool(inside or row[f"{name}_min"] < null < row[f"{name}_max"])


def front(cost: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Pareto front (N,) bool: no other point has at most this cost and at least this score, one of them strictly.

    Points with a missing cost or score are not on it and beat nobody.
    """
    slack = cost * (1 + 1e-9)  # the same cost summed in another order is the same cost
    cheaper = cost[None, :] <= slack[:, None]
    better = score[None, :] >= score[:, None]
    strictly = (slack[None, :] < cost[:, None]) | (score[None, :] > score[:, None])
    return ~(cheaper & better & strictly).any(1) & np.isfinite(cost) & np.isfinite(score)
