"""From traces and costs to curves, exits and operating points: everything here is arrays, no model, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eebench.measure import calibration, liveness, quality
from eebench.measure.costs import Costs
from eebench.measure.replay import replay

if TYPE_CHECKING:
    from eebench.api import ExitRule, Task
    from eebench.engine.trace import Trace

__all__ = [
    "Evaluation",
    "Point",
    "curve",
    "exit_rows",
    "oracle",
    "random_points",
    "share_rows",
    "temperatures",
]

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)  # arrays have no one equality: two points are the same when they are one object
class Point:
    """One way to run a trained model on a split: where every sample stops, and what that gives."""

    kind: str
    knob: float | None
    exits: np.ndarray  # (N,) exit index of each sample
    row: Row  # the measured columns of curves.csv
    of: Evaluation  # the model and split it was measured on

    @property
    def predictions(self) -> np.ndarray:
        """(N,) what is answered."""
        return self.of.predictions(self.exits)


class Evaluation:
    """One trained model on one split.

    Args:
        trace: its trace.
        costs: MACs per exit on this split.
        task: names the metric.
        depth: blocks of the plain backbone.
        plain: 10^9 MACs of the plain backbone on this split; what the costs say when not given (a static model is
            another network, and its own costs do not know).
    """

    def __init__(self, trace: Trace, costs: Costs, task: Task, depth: int, plain: float | None = None) -> None:
        self.trace, self.costs, self.task, self.depth = trace, costs, task, depth
        self.own = float(costs.plain.mean()) / 1e9  # this network without exits
        self.plain = self.own if plain is None else plain
        self._blocks = np.array(trace.blocks)
        self._correct = trace.correct

    def predictions(self, exits: np.ndarray) -> np.ndarray:
        """(N,) what is answered when sample i stops at ``exits[i]``."""
        return calibration.deployed(self.trace.prediction, exits)

    def point(self, kind: str, knob: float | None, exits: np.ndarray) -> Point:
        """Measure one assignment of samples to exits."""
        score = quality.score(self.task.metric, self.predictions(exits), self.trace.targets)
        row: Row = {"score": score, "metric": self.task.metric, **self._costs(kind, exits)}
        if self.task.kind == "classification":
            correct = calibration.deployed(self._correct, exits)
            confidence = calibration.deployed(self.trace.confidence, exits)
            row |= {
                "accuracy": float(correct.mean()),
                "ece": calibration.ece(confidence, correct),
                "ece_mass": calibration.ece(confidence, correct, scheme="mass"),
                "nll": float(calibration.deployed(self.trace.nll, exits).mean()),
                "brier": float(calibration.deployed(self.trace.brier, exits).mean()),
            }
        return Point(kind, knob, exits, row, self)

    def _costs(self, kind: str, exits: np.ndarray) -> Row:
        mean_exit = float(self._blocks[exits].mean())
        costs = self.costs
        backbone = costs.mean("backbone", exits)
        if kind in ("plain", "static"):
            total = backbone = self.own
            heads = gates = 0.0
        elif kind == "fixed":
            total, gates = costs.mean("static", exits), 0.0
            heads = total - backbone
        else:
            heads, gates = costs.mean("heads", exits), costs.mean("gates", exits)
            total = backbone + heads + gates
        return {
            "mean_exit": mean_exit,
            "gmacs": total,
            "gmacs_backbone": backbone,
            "gmacs_heads": heads,
            "gmacs_gates": gates,
            "speedup_layers": self.depth / mean_exit,
            "speedup_macs": self.plain / total,
        }

    def everyone_at(self, exit: int) -> np.ndarray:
        """(N,) all samples at one exit."""
        return np.full(len(self.trace.targets), exit)

    def fixed(self) -> list[Point]:
        """Everyone stops at one exit, that exit's head alone being run; the knob is the block number."""
        return [self.point("fixed", block, self.everyone_at(e)) for e, block in enumerate(self.trace.blocks)]


def curve(evaluation: Evaluation, rule: ExitRule, knobs: Sequence[float]) -> list[Point]:
    """Replay the rule at every knob value."""
    return [evaluation.point("dynamic", k, replay(rule, evaluation.trace.seen, k)) for k in knobs]


def random_points(evaluation: Evaluation, points: Sequence[Point], draws: int = 20, seed: int = 0) -> list[Point]:
    """The same numbers of samples at the same exits as each point, but drawn at random.

    The cost is the point's own. Accuracy is the expectation over all draws, sum over exits of share times the exit's
    accuracy; any other metric is averaged over ``draws`` permutations. Calibration is left out.
    """
    rng = np.random.default_rng(seed)
    trace, metric = evaluation.trace, evaluation.task.metric
    by_exit = trace.correct.mean(0)
    found = []
    for point in points:
        row = {name: value for name, value in point.row.items() if name not in _CALIBRATION}
        if evaluation.task.kind == "classification":
            row["accuracy"] = float(by_exit[point.exits].mean())
        if metric == "accuracy":
            row["score"] = row["accuracy"]
        else:
            drawn = (evaluation.predictions(rng.permutation(point.exits)) for _ in range(draws))
            row["score"] = float(np.mean([quality.score(metric, p, trace.targets) for p in drawn]))
        found.append(Point("random", point.knob, point.exits, row, evaluation))
    return found


def oracle(evaluation: Evaluation) -> list[Point]:
    """Everyone stops at the first exit that is right, at the last when none is. A bound, not a method."""
    if evaluation.task.kind != "classification":
        return []
    correct = evaluation.trace.correct
    exits = np.where(correct.any(1), correct.argmax(1), correct.shape[1] - 1)
    return [evaluation.point("oracle", None, exits)]


def temperatures(trace: Trace) -> list[float] | None:
    """One softmax temperature an exit, fitted on a (validation) trace; None where its logits were not kept."""
    if trace.logits is None:
        return None
    return [calibration.fit_temperature(np.asarray(logits), trace.targets) for logits in trace.logits]


def exit_rows(
    evaluation: Evaluation, params: Sequence[int], live: Sequence[bool], fitted: Sequence[float] | None = None
) -> list[Row]:
    """Rows of exits.csv for one split: every exit over all samples.

    Args:
        evaluation: the split.
        params: parameters of each exit.
        live: whether each exit is clearly better than the majority class on validation data.
        fitted: temperatures of the exits, from validation data.
    """
    trace, classify = evaluation.trace, evaluation.task.kind == "classification"
    correct = trace.correct
    majority = None
    if classify:
        metric, constant = evaluation.task.metric, liveness.constant_answer(evaluation.task.metric, trace.targets)
        majority = quality.score(metric, np.full(len(trace.targets), constant), trace.targets)
    rows = []
    for e, block in enumerate(trace.blocks):
        everyone = evaluation.everyone_at(e)
        row = {k: v for k, v in evaluation.point("dynamic", None, everyone).row.items() if k in _EXIT_COLUMNS}
        row |= {"exit": block, "params": params[e], "majority": majority, "live": live[e]}
        if fitted is not None and trace.logits is not None:
            confidence = calibration.softmax(np.asarray(trace.logits[e]), fitted[e]).max(1)
            row |= {"temperature": fitted[e], "ece_calibrated": calibration.ece(confidence, correct[:, e])}
        rows.append(row)
    return rows


def share_rows(point: Point) -> list[Row]:
    """Rows of shares.csv for one operating point: where its samples stop, and how often they are right there."""
    trace, classify = point.of.trace, point.of.task.kind == "classification"
    correct = trace.correct
    rows = []
    for e, block in enumerate(trace.blocks):
        here = point.exits == e
        row = {"exit": block, "share": float(here.mean())}
        if classify and here.any():
            row["accuracy"] = float(correct[here, e].mean())
        rows.append(row)
    return rows


_CALIBRATION = {"ece", "ece_mass", "nll", "brier"}
_EXIT_COLUMNS = {
    "score",
    "metric",
    "accuracy",
    "gmacs",
    "gmacs_backbone",
    "gmacs_heads",
    "gmacs_gates",
    "ece",
    "nll",
    "brier",
}
