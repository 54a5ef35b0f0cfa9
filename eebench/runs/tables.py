"""The run's tables, built from finished cells: curves, exits, operating points and what is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eebench.api import ExitRule, Task
from eebench.measure import calibration, statistics
from eebench.runs.cell import Cell
from eebench.runs.score import (
    Evaluation,
    Point,
    Row,
    choose,
    curve,
    exit_rows,
    mix_at,
    oracle,
    random_points,
    temperatures,
)
from eebench.schema import TARGETS, fixed_path

__all__ = ["Chosen", "Scored", "knob_values", "score_cell", "score_plain"]


@dataclass(frozen=True)
class Chosen:
    """One operating point: chosen on validation, scored on test."""

    target: str
    met: bool
    val: Point
    test: Point


@dataclass
class Scored:
    """Everything one cell gives, apart from latency."""

    label: str
    seed: int
    knob_name: str
    val: Evaluation
    test: Evaluation
    curves: dict[str, list[Point]] = field(default_factory=dict)  # split -> points of every kind
    chosen: dict[str, list[Chosen]] = field(default_factory=dict)  # kind -> one a target

    def curve_rows(self) -> list[Row]:
        """Rows of curves.csv."""
        rows = []
        for split, points in self.curves.items():
            for point in points:
                name = "block" if point.kind == "fixed" else self.knob_name if point.kind != "plain" else None
                who = {"method": self.label, "seed": self.seed, "split": split, "kind": point.kind}
                rows.append(who | {"knob_name": name, "knob": point.knob} | point.row)
        return rows

    def exit_rows(self, params: Sequence[int]) -> list[Row]:
        """Rows of exits.csv."""
        rows = []
        classify = self.val.task.kind == "classification"
        fitted = temperatures(self.val.trace) if classify else None
        for split, evaluation in (("val", self.val), ("test", self.test)):
            points = {c.target: (c.val if split == "val" else c.test).exits for c in self.chosen.get("dynamic", [])}
            who = {"method": self.label, "seed": self.seed, "split": split}
            rows += [who | row for row in exit_rows(evaluation, params, points, fitted)]
        return rows

    def point_rows(self, plain: Scored) -> list[Row]:
        """Rows of operating_points.csv, the measured speed-ups still missing."""
        plain_test = plain.curves["test"][0]
        before = plain.test.predictions(plain_test.exits)
        rows = []
        for kind, points in self.chosen.items():
            for c in points:
                row: Row = {"method": self.label, "seed": self.seed, "kind": kind, "target": c.target, "met": c.met}
                row |= {"knob_name": "block" if kind == "fixed" else self.knob_name, "knob": c.test.knob}
                row |= {"val_score": c.val.row["score"], "val_gmacs": c.val.row["gmacs"], **c.test.row}
                row["drop"] = plain_test.row["score"] - c.test.row["score"]
                if kind in ("dynamic", "fixed"):
                    after = self.test.predictions(c.test.exits)
                    task, targets = self.test.task, self.test.trace.targets
                    interval = statistics.score_drop(task.metric, before, after, targets, n=_resamples(task, targets))
                    row |= {"drop_low": interval.low, "drop_high": interval.high}
                if kind == "dynamic":
                    row |= self._over_fixed(c.test)
                rows.append(row)
        return rows

    def _over_fixed(self, point: Point) -> Row:
        """What deciding per sample is worth: the score above that of fixed depths at the same cost."""
        mix = mix_at([p for p in self.curves["test"] if p.kind == "fixed"], point.row["gmacs"])
        if not mix:
            return {}
        answers = [self.test.predictions(p.exits) for p in (point, *(fixed for fixed, _ in mix))]
        task, targets = self.test.task, self.test.trace.targets
        weights = [1.0, *(-share for _, share in mix)]
        found = statistics.score_contrast(task.metric, answers, weights, targets, n=_resamples(task, targets))
        return {"over_fixed": found.estimate, "over_fixed_low": found.low, "over_fixed_high": found.high}

    def reliability_rows(self) -> list[Row]:
        """Rows of reliability.csv: the deployed predictions at every dynamic operating point (or of the plain one)."""
        if self.test.task.kind != "classification":
            return []
        points = [(c.target, c.test.exits) for c in self.chosen.get("dynamic", [])]
        rows = []
        for target, exits in points or [("plain", self.curves["test"][0].exits)]:
            confidence = calibration.deployed(self.test.trace.confidence, exits)
            correct = calibration.deployed(self.test.trace.correct, exits)
            table = calibration.reliability(confidence, correct)
            for b in range(len(table.count)):
                if table.count[b]:
                    row = {"bin": b, "low": table.edges[b], "high": table.edges[b + 1], "count": table.count[b]}
                    row |= {"confidence": table.confidence[b], "accuracy": table.accuracy[b]}
                    rows.append({"method": self.label, "seed": self.seed, "target": target} | row)
        return rows


def score_plain(cell: Cell, task: Task, depth: int) -> Scored:
    """The plain backbone's rows."""
    val, test = (Evaluation(cell.trace(split), cell.costs(split), task, depth) for split in ("val", "test"))
    scored = Scored(cell.label, cell.seed, "", val, test)
    scored.curves = {s: [e.point("plain", None, e.everyone_at(0))] for s, e in (("val", val), ("test", test))}
    return scored


def knob_values(
    rule: ExitRule, seen: dict[str, np.ndarray], asked: Sequence[float] | None, pinned: float | None
) -> list:
    """Knob values to replay: pinned by the person, asked for by ``--thresholds``, or the rule's own grid.

    ``--thresholds`` is for continuous knobs; an integer knob (patience) keeps its own grid. The never-stop value is
    always there, so that every curve reaches the full model.
    """
    if pinned is not None:
        return [int(pinned) if rule.knob.integer else pinned]
    if asked is not None and not rule.knob.integer:
        return sorted({*asked, rule.knob.never})
    knobs = list(rule.grid(seen))
    if not knobs:
        raise ValueError("the rule's grid is empty: it must name knob values worth replaying")
    return knobs


def score_cell(
    cell: Cell,
    rule: ExitRule,
    task: Task,
    depth: int,
    plain: Scored,
    *,
    thresholds: Sequence[float] | None = None,
    pinned: float | None = None,
) -> Scored:
    """Replay a method's whole curve, add the trivial baselines, and choose its operating points on validation data."""
    val, test = (Evaluation(cell.trace(split), cell.costs(split), task, depth) for split in ("val", "test"))
    scored = Scored(cell.label, cell.seed, rule.knob.name, val, test)
    knobs = knob_values(rule, val.trace.seen, thresholds, pinned)
    points: dict[str, dict[str, list[Point]]] = {}
    for split, evaluation in (("val", val), ("test", test)):
        dynamic = curve(evaluation, rule, knobs)
        points[split] = {
            "dynamic": dynamic,
            "fixed": evaluation.fixed(),
            "random": random_points(evaluation, dynamic),
            "oracle": oracle(evaluation),
        }
        scored.curves[split] = [p for kind in points[split].values() for p in kind]
    plain_val = plain.curves["val"][0].row
    for kind in ("dynamic", "fixed", "random", "oracle"):
        candidates = points["val"][kind]
        scored.chosen[kind] = []
        for target in TARGETS if candidates else ():
            if kind == "random":  # at the same rate as the method: the very knob chosen for the method
                first = scored.chosen["dynamic"][len(scored.chosen[kind])]
                index, met = points["val"]["dynamic"].index(first.val), first.met
            else:
                index, met = choose(target, candidates, plain_val["score"], plain_val["gmacs"])
            scored.chosen[kind].append(Chosen(target, met, candidates[index], points["test"][kind][index]))
    return scored


def _resamples(task: Task, targets: np.ndarray) -> int:
    """Accuracy is resampled by its mean, which is fast; other metrics are computed anew each time."""
    return 2000 if task.metric == "accuracy" else max(200, min(2000, 2_000_000 // len(targets)))


def attach_speedups(rows: list[Row], times: Any, seed: int) -> None:
    """Fill the measured speed-ups of operating-point rows in, where dynamic or fixed inference was timed."""
    for row in rows:
        if row["seed"] != seed or row["kind"] not in ("dynamic", "fixed"):
            continue
        path = row["target"] if row["kind"] == "dynamic" else fixed_path(int(row["knob"]))
        for device, column in (("cpu", "speedup_cpu"), ("cuda", "speedup_gpu")):
            interval = times.speedup(row["method"], device, path)
            if interval is not None:
                row[column] = interval.estimate
                row[f"{column}_low"], row[f"{column}_high"] = interval.low, interval.high
