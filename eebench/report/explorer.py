"""The data behind the interactive part: everything validation data could choose, with what it gives on test data."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd

from eebench.measure import pareto_front
from eebench.report.comparison import direction
from eebench.report.frames import BACKBONE
from eebench.report.scene import Scene
from eebench.report.targets import target
from eebench.report.text import METRICS

__all__ = ["explorer_json"]

_COLUMNS = {"knob": "knob", "val": "score_val", "valCost": "gmacs_val", "score": "score", "cost": "gmacs",
            "exit": "mean_exit", "ece": "ece"}  # fmt: skip


def explorer_json(scene: Scene) -> str:
    """One JSON object; safe inside a page's ``script`` element."""
    write, record = scene.write, scene.record
    plain = _plain(scene)
    data = {
        "metric": METRICS.get(write.metric, write.metric),
        "unit": write.unit,
        "digits": write.point_digits,
        "costUnit": write.macs_unit,
        "costScale": write.macs_scale,
        "costDigits": write.macs_digits,
        "msDigits": write.ms_digits,
        "depth": record.depth,
        "clock": scene.clock,
        "plain": plain,
        "methods": [_method(scene, name, "dynamic") for name in record.methods],
        "statics": [_method(scene, name, "static") for name in record.statics],
        "targets": {name: target(name).title for name in record.targets},
        "main": scene.main,
        "margin": bool((record.points["choose"] == "upper").any()),
    }
    text = json.dumps(_short(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _plain(scene: Scene) -> dict[str, Any]:
    val = scene.record.val("plain").set_index("seed")
    test = scene.record.plain.set_index("seed")
    points = scene.points("plain", BACKBONE)
    return {
        "seeds": [
            {"seed": int(s), "val": val["score"].get(s), "valCost": val["gmacs"].get(s), "score": test["score"][s],
             "cost": test["gmacs"][s]}
            for s in test.index
        ],
        "ms": {short: points[f"{short}_mean_ms"].iloc[0] for short in ("cpu", "gpu")} if len(points) else {},
    }  # fmt: skip


def _method(scene: Scene, method: str, kind: str) -> dict[str, Any]:
    keys = ["seed", "knob"]
    columns = ["score", "gmacs", "mean_exit", "ece"]
    val = scene.record.val(kind)
    val = val[val["method"] == method].drop_duplicates(keys)[[*keys, "score", "gmacs"]]
    test = scene.record.test(kind)
    test = test[test["method"] == method].drop_duplicates(keys)[[*keys, *columns]]
    rows = test.merge(val, on=keys, suffixes=("", "_val"))
    look = scene.series.get(method)
    names = scene.record.test(kind)
    knobs = list(names.loc[names["method"] == method, "knob_name"].head(1))
    return {
        "id": method,
        "label": scene.record.labels[method],
        "colour": look.colour if look else None,
        "marker": look.marker if look else "s",
        "dash": look.strokes if look else "",
        "knob": str(knobs[0]) if knobs else "",
        "higher": direction(scene, method) if kind == "dynamic" else "",
        "seeds": [_sweep(int(str(seed)), mine) for seed, mine in rows.groupby("seed")],
        "timed": _timed(scene, method, kind),
        "shares": _shares(scene, method),
    }


def _sweep(seed: int, rows: pd.DataFrame) -> dict[str, Any]:
    """One seed's knobs that validation data could ever choose: its front, from cheap to dear."""
    front = pareto_front(rows["gmacs_val"].to_numpy(float), rows["score_val"].to_numpy(float))
    rows = rows[front].sort_values("gmacs_val", kind="stable")
    return {"seed": seed} | {name: rows[column].tolist() for name, column in _COLUMNS.items()}


def _timed(scene: Scene, method: str, kind: str) -> dict[str, list[dict[str, Any]]]:
    """Operating points by device, a list a seed: what a budget in milliseconds can choose from."""
    rows = scene.seeds[(scene.seeds["method"] == method) & (scene.seeds["kind"] == kind)]
    found: dict[str, list[dict[str, Any]]] = {}
    for short in ("cpu", "gpu"):
        timed = rows.dropna(subset=[f"{short}_mean_ms"]).drop_duplicates(["seed", "knob", f"{short}_mean_ms"])
        if timed.empty:
            continue
        found[short] = [
            {"seed": int(row["seed"]), "target": row["target"], "knob": row["knob"], "val": row["val_score"],
             "score": row["score"], "ms": row[f"{short}_mean_ms"], "speed": row[f"speedup_{short}"],
             "cost": row["gmacs"], "exit": row["mean_exit"]}
            for row in timed.to_dict("records")
        ]  # fmt: skip
    return found


def _shares(scene: Scene, method: str) -> dict[str, list[list[float]]]:
    """Block and share of the samples that stop there, mean over seeds, by target."""
    rows = scene.record.table("shares")
    rows = rows[rows["method"] == method]
    return {
        str(name): [[float(block), float(share)] for block, share in mine.groupby("exit")["share"].mean().items()]  # type: ignore[arg-type]
        for name, mine in rows.groupby("target")
    }


def _short(value: Any) -> Any:
    """Numbers to six significant digits, none that JSON has no word for."""
    if isinstance(value, dict):
        return {key: _short(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_short(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        value = float(f"{value:.6g}")
        return int(value) if value == int(value) and abs(value) < 1e15 else value
    return value
