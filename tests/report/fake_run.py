"""A run directory that looks like a real one: simulated samples, real replay, columns straight from the schema.

Each sample has a difficulty; exit e is right when its skill, blurred, exceeds it, and its confidence follows. Every
number in the tables (shares, scores, costs, speed-ups) is then computed from those samples, so they agree.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eebench.schema import TABLES, TARGETS
from tests.report.fake_record import BLOCK, DEPTH, GPU_MS, LABELS, MS, PLAIN, N, run_json


def _measure(right: np.ndarray, confidence: np.ndarray, regression: bool) -> dict[str, Any]:
    """Quality columns from per-sample correctness; regression fills only what applies."""
    if regression:
        return {"score": 0.9 * right.mean(), "metric": "pearson_spearman"}
    gap = abs(right.mean() - confidence.mean())
    return {
        "score": right.mean(), "metric": "accuracy", "accuracy": right.mean(), "ece": gap + 0.01,
        "ece_mass": gap + 0.012, "nll": 0.1 + 2 * gap, "brier": 0.1 + gap,
    }  # fmt: skip


class _Method:
    """One simulated method under one seed."""

    def __init__(self, name: str, index: int, seed: int, gpu: bool) -> None:
        rng = np.random.default_rng([index, seed])
        inner = np.arange(1, DEPTH) if index % 4 != 1 else np.array([4, 8])
        self.name, self.seed, self.exits = name, seed, np.append(inner, DEPTH)
        self.gates = index % 3 == 2
        self.head = BLOCK * (0.02 + 0.12 * (index % 4 == 1) + 0.01 * index)
        skill = 0.97 - 0.75 * (1 - self.exits / DEPTH) ** (1.6 + 0.1 * index)
        self.data = {}
        for split in ("val", "test"):
            noise = np.random.default_rng([7, seed, split == "test"])
            hard = 1.17 * noise.random(N) ** 0.7
            blur = rng.normal(0, 0.08, (N, len(skill)))
            right = skill + 0.35 * (skill - 0.5) + blur > hard[:, None]
            confidence = np.clip(skill - 0.5 * hard[:, None] + 0.45 + rng.normal(0, 0.06, right.shape), 0.1, 1)
            self.data[split] = right, confidence

    def cost(self, at: np.ndarray) -> dict[str, float]:
        """Mean cost of samples that stop at the exit indices ``at``."""
        heads = np.minimum(at + 1, len(self.exits) - 1) * self.head * (0.6 if self.gates else 1)
        gates = np.minimum(at + 1, len(self.exits) - 1) * self.head * (0.4 if self.gates else 0)
        back = 0.0001 + self.exits[at] * BLOCK
        parts = {"gmacs_backbone": back.mean(), "gmacs_heads": heads.mean(), "gmacs_gates": gates.mean()}
        gmacs = sum(parts.values())
        layers = DEPTH / self.exits[at].mean()
        return {"gmacs": gmacs, **parts, "speedup_layers": layers, "speedup_macs": PLAIN / gmacs}

    def stop(self, split: str, knob: float) -> np.ndarray:
        """Exit index of every sample at that threshold."""
        sure = self.data[split][1] > knob
        sure[:, -1] = True
        return sure.argmax(1)

    def row(self, split: str, at: np.ndarray, regression: bool) -> dict[str, Any]:
        rows = np.arange(N)
        right, confidence = (a[rows, at] for a in self.data[split])
        return {
            "method": self.name, "seed": self.seed, "split": split, "mean_exit": self.exits[at].mean(),
            **_measure(right, confidence, regression), **self.cost(at),
        }  # fmt: skip

    def ms(self, at: np.ndarray, per_block: float) -> np.ndarray:
        return (self.exits[at] + 0.25 * (at + 1)) * per_block


def _latency(name: str, seed: int, device: str, path: str, knob: float | None, ms: np.ndarray, **more: Any) -> dict:
    q = np.percentile(ms, [50, 90, 95, 99, 25, 75])
    return {
        "method": name, "seed": seed, "device": device, "scenario": "single", "batch_size": 1, "path": path,
        "knob": knob, "mean_ms": ms.mean(), "p50_ms": q[0], "p90_ms": q[1], "p95_ms": q[2], "p99_ms": q[3],
        "iqr_ms": q[5] - q[4], "n": 600, "threads": 2, "noisy": False,
        **({"device_ms": 0.9 * ms.mean(), "syncs": 5.0} if device == "cuda" else {}), **more,
    }  # fmt: skip


def _jitter(base: np.ndarray | float, seed: int) -> np.ndarray:
    return np.asarray(base) * np.random.default_rng(seed).lognormal(0, 0.04, N)


def write_run(
    path: Path,
    methods: int | Sequence[str] = 3,
    seeds: Sequence[int] = (0, 1),
    *,
    gpu: bool = False,
    regression: bool = False,
    troubles: bool = True,
    extras: bool = True,
) -> Path:
    """Write run.json and the tables to ``path``; ``troubles`` adds a skipped, a failed cell and a noisy timing."""
    path.mkdir(parents=True, exist_ok=True)
    names = list(LABELS)[:methods] if isinstance(methods, int) else list(methods)
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    summary: list[dict[str, Any]] = []
    reliability: list[dict[str, Any]] = []
    devices = [("cpu", MS), *([("cuda", GPU_MS)] if gpu else [])]
    plain_score: dict[int, float] = {}
    for seed in seeds:
        plain = _Method("backbone", 0, seed, gpu)
        last = np.full(N, len(plain.exits) - 1)
        for split in ("val", "test"):
            row = plain.row(split, last, regression) | {"kind": "plain", "gmacs": PLAIN, "gmacs_backbone": PLAIN}
            row |= {"gmacs_heads": 0.0, "gmacs_gates": 0.0, "speedup_layers": 1.0, "speedup_macs": 1.0}
            tables["curves"].append(row)
        plain_score[seed] = row["score"]
        for device, ms in devices:
            times = _jitter(ms * DEPTH, seed)
            tables["latency"].append(_latency("backbone", seed, device, "plain", None, times))
            more = {"scenario": "batch", "batch_size": 8}
            tables["latency"].append(_latency("backbone", seed, device, "plain", None, 0.8 * times, **more))
    for seed in seeds:
        for i, name in enumerate(names):
            if troubles and i == len(names) - 1 and seed == seeds[-1] and len(seeds) > 1:
                continue  # this cell failed: its seed has no rows
            _method(tables, summary, reliability, _Method(name, i, seed, gpu), plain_score[seed], devices, regression)
    if troubles and tables["latency"]:
        tables["latency"][-1]["noisy"] = True
    for name in ("curves", "exits", "shares", "operating_points", "latency"):
        rows = tables[name]
        pd.DataFrame(rows, columns=list(TABLES[name])).to_csv(path / f"{name}.csv", index=False)
    if extras:
        pd.DataFrame(summary).to_csv(path / "summary.csv", index=False)
        if not regression:
            pd.DataFrame(reliability).to_csv(path / "reliability.csv", index=False)
            rows = [
                {"method": n, "seed": s, "target": t, "sets": kind, "alpha": 0.1, "coverage": 0.904, "size": 1.31}
                for n in names
                for s in seeds
                for t in TARGETS
                for kind in ("general", "mondrian")
            ]
            pd.DataFrame(rows).to_csv(path / "conformal.csv", index=False)
    record = run_json(path.name, names, list(seeds), gpu, regression, troubles)
    (path / "run.json").write_text(json.dumps(record, indent=1))
    return path


def _method(tables, summary, reliability, method, plain, devices, regression) -> None:
    last = len(method.exits) - 1
    full = [np.full(N, e) for e in range(last + 1)]
    curves = [row for split in ("val", "test") for row in _curves(method, split, full, regression)]
    tables["curves"] += curves
    points = _points(pd.DataFrame(curves), plain)
    for row in points:
        if row["kind"] in ("dynamic", "fixed"):
            _time(tables, method, row, devices)
    tables["operating_points"] += points
    chosen = {row["target"]: row["knob"] for row in points if row["kind"] == "dynamic"}
    blocks = {row["knob"] for row in points if row["kind"] == "fixed"}
    tables["exits"] += [row for split in ("val", "test") for row in _exits(method, split, full, regression)]
    tables["shares"] += [row for split in ("val", "test") for row in _shares(method, split, chosen, regression)]
    for block, at in zip(method.exits, full, strict=True):
        for device, ms in devices:
            who = (method.name, method.seed, device)
            tables["latency"].append(_latency(*who, f"exit_{block}", None, _jitter(method.ms(at, ms), block)))
            if block in blocks:  # everyone stops there and no other head runs
                tables["latency"].append(_latency(*who, f"fixed_{block}", None, _jitter((block + 0.25) * ms, block)))
    values = {"gain_over_fixed_depth": 0.004, "area_under_curve": 0.81, "speedup_at_drop_1": 1.4, "score_at_50": 0.9,
              "hypervolume": 0.55, "overthinking_destructive": 0.31, "a_measure_of_tomorrow": 0.125}  # fmt: skip
    for name, value in values.items():
        summary.append({"method": method.name, "seed": method.seed, "name": name, "value": value + 0.001 * method.seed})
    for b in range(1, 15):
        low = b / 15
        reliability.append(
            {
                "method": method.name, "seed": method.seed, "target": "drop_1", "bin": b, "low": low,
                "high": low + 1 / 15, "count": 4 + 3 * b, "confidence": low + 0.03,
                "accuracy": min(1.0, low**1.2 + 0.05),
            }
        )  # fmt: skip


def _exits(method, split, full, regression) -> list[dict[str, Any]]:
    """Exit rows."""
    rows = []
    for e, at in enumerate(full):
        row = method.row(split, at, regression) | {"exit": method.exits[e], "params": 650}
        if not regression:
            row |= {"temperature": 1.4, "ece_calibrated": 0.5 * row["ece"]}
        rows.append(row | {"live": True, "majority": None if regression else 0.1})
    return rows


def _shares(method, split, chosen, regression) -> list[dict[str, Any]]:
    """Who stops where at each target's knob."""
    rows = []
    for target, knob in chosen.items():
        stops = method.stop(split, knob)
        for e, block in enumerate(method.exits):
            here = stops == e
            row = {"method": method.name, "seed": method.seed, "split": split, "target": target, "exit": block}
            right = method.data[split][0][here, e].mean() if here.any() and not regression else None
            rows.append(row | {"share": here.mean(), "accuracy": right})
    return rows


def _curves(method: _Method, split: str, full: list[np.ndarray], regression: bool) -> list[dict[str, Any]]:
    """Curve rows of every kind."""
    rows = []
    for knob in np.linspace(0.3, 1.01, 36):
        at = method.stop(split, knob)
        mixed = np.random.default_rng(3).permutation(at)
        for kind, stops in (("dynamic", at), ("random", mixed)):
            row = method.row(split, stops, regression)
            rows.append(row | {"kind": kind, "knob_name": "threshold", "knob": knob})
    for e, at in enumerate(full):
        row = method.row(split, at, regression) | {"kind": "fixed", "knob_name": "block", "knob": method.exits[e]}
        own = method.head if e < len(full) - 1 else 0.0
        gmacs = row["gmacs_backbone"] + own
        rows.append(row | {"gmacs": gmacs, "gmacs_heads": own, "gmacs_gates": 0.0, "speedup_macs": PLAIN / gmacs})
    right = method.data[split][0]
    first = np.where(right.any(1), right.argmax(1), len(full) - 1)
    return [*rows, method.row(split, first, regression) | {"kind": "oracle", "knob_name": "threshold"}]


def _points(curves: pd.DataFrame, plain: float) -> list[dict[str, Any]]:
    """Operating points chosen on validation, scored on test; intervals as wide as 400 samples make them."""
    val, test = (curves[curves.split == split] for split in ("val", "test"))
    rows: list[dict[str, Any]] = []
    chosen: dict[str, float] = {}
    for kind in ("dynamic", "fixed", "random", "oracle"):
        for target in TARGETS:
            pool = val[val.kind == kind]
            if kind == "random":  # drawn at the rate of the method's own operating point
                pool = pool[pool.knob == chosen[target]]
            reached = pool.score >= plain - 0.01
            if target != "drop_1":
                reached = pool.gmacs <= PLAIN * int(target[-2:]) / 100
            cheap = (target == "drop_1") == reached.any()  # the cheapest that fits, or the nearest to the budget
            fits = pool[reached] if reached.any() else pool
            at = fits.loc[fits.gmacs.idxmin() if cheap else fits.score.idxmax()]
            same = test[(test.kind == kind) & ((test.knob == at.knob) | (kind == "oracle"))].iloc[0].to_dict()
            drop = plain - same["score"]
            row = same | {"target": target, "met": bool(reached.any()), "val_score": at.score, "val_gmacs": at.gmacs}
            row |= {"drop": drop}
            if kind in ("dynamic", "fixed"):
                row |= {"drop_low": drop - 0.012, "drop_high": drop + 0.012}
            if kind == "dynamic":
                depths = test[test.kind == "fixed"].sort_values("gmacs")
                gain = same["score"] - np.interp(same["gmacs"], depths.gmacs, depths.score)
                row |= {"over_fixed": gain, "over_fixed_low": gain - 0.01, "over_fixed_high": gain + 0.01}
                chosen[target] = at.knob
            rows.append(row)
    return rows


def _time(tables, method, row, devices) -> None:
    kind, target = row["kind"], row["target"]
    for device, per_block in devices:
        stop = method.stop("test", row["knob"])
        base = method.ms(stop, per_block) if kind == "dynamic" else (row["knob"] + 0.25) * per_block
        ms = _jitter(base, method.seed)
        short = "cpu" if device == "cpu" else "gpu"
        ratio = per_block * DEPTH / ms.mean()
        row |= {f"speedup_{short}": ratio, f"speedup_{short}_low": ratio - 0.04, f"speedup_{short}_high": ratio + 0.04}
        if kind == "dynamic":
            tables["latency"].append(_latency(method.name, method.seed, device, target, row["knob"], ms))
            for scenario, factor in (("batch", 0.6), ("wait", 0.95)):
                more = {"scenario": scenario, "batch_size": 8}
                tables["latency"].append(
                    _latency(method.name, method.seed, device, target, row["knob"], ms * factor, **more)
                )
