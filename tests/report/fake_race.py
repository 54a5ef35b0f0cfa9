"""Races put together by hand: rows with just the numbers that a test is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from eebench.report.frames import NEEDED, Record
from eebench.report.ranking import Race, clock_of
from tests.report.fake_record import run_json

NAN = float("nan")
ROW: dict[str, Any] = {
    "target": "drop_1", "kind": "dynamic", "method": "pabee", "met": 3, "seeds": 3, "knob_name": "patience",
    "knob": 4.0, "knob_min": 4.0, "knob_max": 4.0, "score": 0.944, "score_std": 0.01, "drop": 0.006, "drop_low": -0.002,
    "drop_high": 0.014, "unsure_drop": True, "on_target": True, "dead": False, "dead_share": 0.0, "tier": NAN,
    "speedup_layers": 2.4, "speedup_macs": 2.2, "speedup_macs_low": 2.1, "speedup_macs_high": 2.3,
    "speedup_cpu": 2.0, "speedup_cpu_low": 1.9, "speedup_cpu_high": 2.1, "speedup_gpu": NAN, "speedup_gpu_low": NAN,
    "speedup_gpu_high": NAN, "withheld_cpu": "", "withheld_gpu": "", "over_frontier": NAN,
    "over_frontier_low": NAN, "over_frontier_high": NAN, "unsure_over_frontier": False,
    "gmacs": 0.005, "mean_exit": 5.0,
}  # fmt: skip
PLAIN = ROW | {
    "kind": "plain", "method": "backbone", "label": "plain backbone", "score": 0.95, "drop": 0.0, "drop_low": 0.0,
    "drop_high": 0.0, "speedup_macs": 1.0, "speedup_cpu": 1.0, "speedup_cpu_low": NAN, "speedup_cpu_high": NAN,
    "knob": NAN, "knob_min": NAN, "knob_max": NAN,
}  # fmt: skip


def rule(method: str, speed: float, drop: float = 0.006, half: float = 0.008, **more: Any) -> dict[str, Any]:
    """A deciding row: its speed-up ± 5 %, its loss ± ``half``."""
    return ROW | {
        "method": method, "speedup_cpu": speed, "speedup_cpu_low": 0.95 * speed, "speedup_cpu_high": 1.05 * speed,
        "drop": drop, "drop_low": drop - half, "drop_high": drop + half, "score": 0.95 - drop,
        "unsure_drop": abs(drop) <= half, "on_target": drop - half <= 0.01,
    } | more  # fmt: skip


def fixed(method: str, block: int, speed: float, drop: float = 0.006, **more: Any) -> dict[str, Any]:
    """Everyone stops at one block."""
    who = {"kind": "fixed", "knob_name": "block", "knob": block, "knob_min": block, "knob_max": block}
    return rule(method, speed, drop, **(who | more))


def static(blocks: int, speed: float, drop: float = 0.006, **more: Any) -> dict[str, Any]:
    """A smaller model."""
    which = {"kind": "static", "knob_name": "blocks", "knob": blocks, "knob_min": blocks, "knob_max": blocks}
    return rule(f"static[blocks={blocks}]", speed, drop, **(which | more))


def race(
    *rows: dict[str, Any],
    seeds: tuple[int, ...] = (0, 1, 2),
    speeds: dict[str, list[float]] | None = None,
    budget: str = "standard",
    n_test: int = 5000,
    plain: float = 0.95,
    majority: float = 0.2,
    live: bool = True,
    pairs: list[tuple[str, str, float, float]] = (),  # type: ignore[assignment]
    noisy: float = 0.0,
    metric: str = "accuracy",
) -> Race:
    """A race of these rows and the plain backbone; ``speeds`` gives a method's speed-up seed by seed."""
    whole = [PLAIN | {"target": rows[0]["target"] if rows else "drop_1"}, *rows]
    methods = list(dict.fromkeys(row["method"] for row in rows if row["kind"] != "static"))
    statics = list(dict.fromkeys(row["method"] for row in rows if row["kind"] == "static"))
    run = run_json("race", methods, list(seeds), False, False, False, statics, budget)
    run["data"] |= {"n_test": n_test, "n_val": 1000}
    run["data"]["task"]["metric"] = metric
    curves = [
        {"method": "backbone", "seed": s, "split": split, "kind": "plain", "score": plain, "gmacs": 0.012}
        for s in seeds
        for split in ("val", "test")
    ]
    curves += [
        {"method": m, "seed": s, "split": "test", "kind": "static", "score": plain, "gmacs": 0.001 * i}
        for i, m in enumerate(statics)
        for s in seeds
    ]
    exits = [
        {"method": "backbone", "seed": s, "split": "test", "exit": 12, "live": live, "majority": majority}
        for s in seeds
    ]
    latency = [
        {"method": "backbone", "seed": 0, "device": "cpu", "scenario": "single", "batch_size": 1, "path": f"p{i}",
         "mean_ms": 2.0, "basis": "wall", "runtime": "eager", "noisy": i < 100 * noisy}
        for i in range(100)
    ]  # fmt: skip
    table = pd.DataFrame([row | {"label": row.get("label", "")} for row in whole])
    points = [
        row | {"seed": s, "speedup_cpu": (speeds or {}).get(row["method"], [row["speedup_cpu"]] * len(seeds))[i]}
        for row in whole
        for i, s in enumerate(seeds)
    ]
    tables = {
        "curves": pd.DataFrame(curves, columns=[*NEEDED["curves"]]),
        "exits": pd.DataFrame(exits, columns=[*NEEDED["exits"], "live", "majority"]).astype({"live": bool}),
        "operating_points": pd.DataFrame(points),
        "latency": pd.DataFrame(latency).astype({"noisy": bool}),
    }
    if pairs:
        tables["pairs"] = pd.DataFrame(
            [{"target": whole[0]["target"], "method_a": a, "method_b": b, "difference": d, "p_holm": p}
             for a, b, d, p in pairs]
        )  # fmt: skip
    record = Record(Path("race"), run, tables)
    table["label"] = [record.labels.get(method, method) for method in table["method"]]
    table["dead"] = table["dead"].astype(bool)
    if not rows:
        table = table.iloc[:0]
    return Race(record, table, pd.DataFrame(points, index=range(len(points))), clock_of(table) if rows else "macs")
