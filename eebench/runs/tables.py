"""What one cell gives: its curves, exits and operating points, and the rows they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eebench.api import ExitRule, Task
from eebench.measure import calibration, liveness, statistics
from eebench.measure.calibration_error import calibration_error_of
from eebench.measure.frontier import Frontier, find_frontier
from eebench.runs.cell import Cell
from eebench.runs.choose import Choice, Chooser
from eebench.runs.score import Evaluation, Point, Row, curve, exit_rows, oracle, random_points, share_rows, temperatures
from eebench.schema import BACKBONE, STATIC
from eebench.targets import Target

__all__ = ["Chosen", "Scored", "knob_values", "score_method", "score_plain", "score_static"]

KNOB_NAMES = {"plain": None, "fixed": "block", "static": "blocks"}


@dataclass(frozen=True)
class Chosen:
    """One operating point: chosen on validation, scored on test."""

    target: str
    choice: Choice
    val: Point
    test: Point


@dataclass
class Scored:
    """Everything one model gives, or one family of static models, apart from latency."""

    label: str
    seed: int
    knob_name: str
    points: dict[str, dict[str, list[Point]]]  # split -> kind -> points
    chosen: dict[str, list[Chosen]] = field(default_factory=dict)  # kind -> one a target
    chooser: Chooser | None = None  # who chose them; None for the plain backbone, of which there is one point

    def test(self, kind: str) -> list[Point]:
        """Test points of one kind."""
        return self.points["test"].get(kind, [])

    def val(self, kind: str) -> list[Point]:
        """Validation points of one kind, in the order of the test points."""
        return self.points["val"].get(kind, [])

    @property
    def live(self) -> np.ndarray:
        """(E,) bool: which exits are clearly better than the majority class on validation data."""
        of = self.val("fixed")[0].of
        if of.task.kind == "regression":
            return liveness.live_regression(of.trace.prediction, of.trace.targets)
        if of.task.metric != "accuracy":
            return liveness.live_scores(of.task.metric, of.trace.prediction, of.trace.targets)
        return liveness.live_exits(of.trace.correct, of.trace.targets)

    @property
    def main_kind(self) -> str:
        """The kind of point this model is about."""
        return {BACKBONE: "plain", STATIC: "static"}.get(self.label, "dynamic")

    def static_points(self) -> list[tuple[Point, Point]]:
        """(validation, test) points that decide nothing per sample: what a comparison may be anchored to."""
        if self.main_kind != "dynamic":
            return list(zip(self.val(self.main_kind), self.test(self.main_kind), strict=True))
        pairs = zip(self.val("fixed"), self.test("fixed"), self.live, strict=True)
        return [(val, test) for val, test, live in pairs if live]

    def own_frontier(self) -> tuple[Frontier, list[Point]] | None:
        """The frontier of the model's own live fixed exits, and its test points; None where no exit is live."""
        return frontier_of(self.static_points())

    def curve_rows(self) -> list[Row]:
        """Rows of curves.csv."""
        rows = []
        for split, kinds in self.points.items():
            for kind, points in kinds.items():
                who = {"method": self.label, "seed": self.seed, "split": split, "kind": kind}
                name = KNOB_NAMES.get(kind, self.knob_name)
                rows += [who | {"knob_name": name, "knob": point.knob} | point.row for point in points]
        return rows

    def exit_rows(self, params: Sequence[int]) -> list[Row]:
        """Rows of exits.csv; none for the static models, whose points say it all."""
        if self.label == STATIC:
            return []
        rows = []
        kind = "fixed" if self.main_kind == "dynamic" else "plain"
        live = self.live if kind == "fixed" else np.array([True])
        val = self.val(kind)[0].of
        fitted = temperatures(val.trace) if val.task.kind == "classification" else None
        for split in ("val", "test"):
            who = {"method": self.label, "seed": self.seed, "split": split}
            rows += [who | row for row in exit_rows(self.points[split][kind][0].of, params, live.tolist(), fitted)]
        return rows

    def share_rows(self) -> list[Row]:
        """Rows of shares.csv."""
        who = {"method": self.label, "seed": self.seed}
        return [
            who | {"split": split, "target": c.target} | row
            for c in self.chosen.get("dynamic", [])
            for split, point in (("val", c.val), ("test", c.test))
            for row in share_rows(point)
        ]

    def point_rows(self, plain: Scored, frontier: tuple[Frontier, list[Point]]) -> list[Row]:
        """Rows of operating_points.csv, the measured speed-ups still missing.

        Args:
            plain: the plain backbone of the same seed.
            frontier: the run's common static frontier of this seed, and its test points.
        """
        plain_test = plain.test("plain")[0]
        own = self.own_frontier() if self.main_kind == "dynamic" else None
        rows = []
        for kind, points in self.chosen.items():
            for c in points:
                row: Row = {"method": self.label, "seed": self.seed, "kind": kind, "target": c.target}
                row |= {"met": c.choice.met, "choose": "" if self.chooser is None else self.chooser.how}
                row |= {"knob_name": KNOB_NAMES.get(kind, self.knob_name), "knob": c.test.knob}
                row |= {"val_score": c.val.row["score"], "val_gmacs": c.val.row["gmacs"], **c.test.row}
                row |= {"val_drop": c.choice.drop, "val_drop_upper": c.choice.upper}
                row["drop"] = plain_test.row["score"] - c.test.row["score"]
                if kind == "fixed":  # the others' intervals contain the choice: see headlines.widen
                    task, targets = c.test.of.task, c.test.of.trace.targets
                    found = statistics.score_drop(
                        task.metric, plain_test.predictions, c.test.predictions, targets, n=resamples(task, targets)
                    )
                    row |= {"drop_low": found.low, "drop_high": found.high}
                if kind in ("static", "dynamic"):
                    row |= lead("over_frontier", c.test, frontier) | calibration_columns(c.test)
                if kind == "dynamic":
                    row |= {} if own is None else lead("over_fixed", c.test, own)
                    row["dead_share"] = float((~self.live)[c.test.exits].mean())
                rows.append(row)
        return rows

    def reliability_rows(self) -> list[Row]:
        """Rows of reliability.csv: the deployed predictions at every dynamic operating point (or of the plain one)."""
        points = [(c.target, c.test) for c in self.chosen.get("dynamic", [])]
        points = points or [("plain", point) for point in self.test("plain")]
        rows = []
        for target, point in points:
            trace = point.of.trace
            if point.of.task.kind != "classification":
                return []
            confidence = calibration.deployed(trace.confidence, point.exits)
            table = calibration.reliability(confidence, calibration.deployed(trace.correct, point.exits))
            for b in range(len(table.count)):
                if table.count[b]:
                    row = {"bin": b, "low": table.edges[b], "high": table.edges[b + 1], "count": table.count[b]}
                    row |= {"confidence": table.confidence[b], "accuracy": table.accuracy[b]}
                    rows.append({"method": self.label, "seed": self.seed, "target": target} | row)
        return rows


def frontier_of(pairs: Sequence[tuple[Point, Point]]) -> tuple[Frontier, list[Point]] | None:
    """The frontier of (validation, test) points and the test points it mixes; None of no points."""
    if not pairs:
        return None
    val, test = zip(*pairs, strict=True)
    columns = [[p.row[name] for p in points] for points in (val, test) for name in ("gmacs", "score")]
    return find_frontier(*columns), list(test)


def lead(name: str, point: Point, frontier: tuple[Frontier, list[Point]]) -> Row:
    """Score of a point above a frontier at the same cost, with its paired interval; nothing below its cheapest."""
    found, points = frontier
    mixture = found.mixture(point.row["gmacs"])
    if not mixture:
        return {}
    answers = [point.predictions, *(points[index].predictions for index, _ in mixture)]
    task, targets = point.of.task, point.of.trace.targets
    weights = [1.0, *(-share for _, share in mixture)]
    gain = statistics.score_contrast(task.metric, answers, weights, targets, n=resamples(task, targets))
    return {name: gain.estimate, f"{name}_low": gain.low, f"{name}_high": gain.high}


def calibration_columns(point: Point) -> Row:
    """What chance makes of a point's ECE: its interval, and the ECE of a calibrated model; nothing for regression."""
    if point.of.task.kind != "classification":
        return {}
    trace = point.of.trace
    confidence, correct = (calibration.deployed(table, point.exits) for table in (trace.confidence, trace.correct))
    found = calibration_error_of(np.clip(confidence, 0.0, 1.0), correct, n=200)
    return {"ece_low": found.ece.low, "ece_high": found.ece.high, "ece_floor": found.floor}


def score_plain(cell: Cell, task: Task, depth: int) -> Scored:
    """The plain backbone's rows."""
    return Scored(cell.label, cell.seed, "", _alone("plain", {None: cell}, task, depth))


def score_static(
    cells: Mapping[int, Cell], task: Task, depth: int, plain: Scored, chooser: Chooser, targets: Sequence[Target]
) -> Scored:
    """Static models as one family, whose knob is the number of blocks; operating points are chosen as a method's are.

    Args:
        cells: by number of blocks.
        task: names the metric.
        depth: blocks of the plain backbone.
        plain: the plain backbone of the same seed.
        chooser: judges on validation data.
        targets: what operating points are chosen for.
    """
    seed = next(iter(cells.values())).seed
    points = _alone("static", cells, task, depth, plain)
    scored = Scored(STATIC, seed, "blocks", points, chooser=chooser)
    scored.chosen["static"] = _choose(chooser, targets, points, "static")
    return scored


def _alone(
    kind: str, cells: Mapping[Any, Cell], task: Task, depth: int, plain: Scored | None = None
) -> dict[str, dict[str, list[Point]]]:
    """Points of models without exits, by split."""
    points: dict[str, dict[str, list[Point]]] = {}
    for split in ("val", "test"):
        points[split] = {kind: []}
        gmacs = None if plain is None else float(plain.points[split]["plain"][0].row["gmacs"])
        for knob, cell in cells.items():
            of = Evaluation(cell.trace(split), cell.costs(split), task, depth, gmacs)
            points[split][kind].append(of.point(kind, knob, of.everyone_at(0)))
    return points


def knob_values(
    rule: ExitRule, seen: dict[str, np.ndarray], asked: Sequence[float] | None, pinned: float | None
) -> list[float]:
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


def score_method(
    cell: Cell,
    rule: ExitRule,
    task: Task,
    depth: int,
    chooser: Chooser,
    targets: Sequence[Target],
    *,
    thresholds: Sequence[float] | None = None,
    pinned: float | None = None,
) -> Scored:
    """Replay a method's whole curve, add the trivial baselines, and choose its operating points on validation data."""
    of = {split: Evaluation(cell.trace(split), cell.costs(split), task, depth) for split in ("val", "test")}
    knobs = knob_values(rule, of["val"].trace.seen, thresholds, pinned)
    points: dict[str, dict[str, list[Point]]] = {}
    for split, evaluation in of.items():
        dynamic = curve(evaluation, rule, knobs)
        points[split] = {
            "dynamic": dynamic,
            "fixed": evaluation.fixed(),
            "random": random_points(evaluation, dynamic),
            "oracle": oracle(evaluation),
        }
    scored = Scored(cell.label, cell.seed, rule.knob.name, points, chooser=chooser)
    for kind in ("dynamic", "fixed", "oracle"):
        scored.chosen[kind] = _choose(chooser, targets, points, kind)
    scored.chosen["random"] = [  # at the same rate as the method: the very knob chosen for the method
        Chosen(c.target, c.choice, *(points[split]["random"][c.choice.index] for split in ("val", "test")))
        for c in scored.chosen["dynamic"]
    ]
    return scored


def _choose(
    chooser: Chooser, targets: Sequence[Target], points: dict[str, dict[str, list[Point]]], kind: str
) -> list[Chosen]:
    val, test = (points[split][kind] for split in ("val", "test"))
    if not val:
        return []
    choices = [(target.name, chooser.choose(target, val)) for target in targets]
    return [Chosen(name, choice, val[choice.index], test[choice.index]) for name, choice in choices]


def resamples(task: Task, targets: np.ndarray) -> int:
    """Accuracy is resampled by its mean, which is fast; other metrics are computed anew each time."""
    return 2000 if task.metric == "accuracy" else max(200, min(2000, 2_000_000 // len(targets)))
