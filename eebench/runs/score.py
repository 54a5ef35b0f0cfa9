"""From traces and costs to curves, exits and operating points: everything here is arrays, no model, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eebench.measure import calibration, quality
from eebench.measure.costs import Costs
from eebench.measure.replay import replay
from eebench.schema import TARGETS

if TYPE_CHECKING:
    from eebench.api import ExitRule, Task
    from eebench.engine.trace import Trace

__all__ = [
    "Evaluation",
    "Point",
    "choose",
    "curve",
    "exit_rows",
    "mix_at",
    "oracle",
    "random_points",
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


class Evaluation:
    """One trained model on one split.

    Args:
        trace: its trace.
        costs: MACs per exit on this split.
        task: names the metric.
        depth: blocks of the backbone.
    """

    def __init__(self, trace: Trace, costs: Costs, task: Task, depth: int) -> None:
        self.trace, self.costs, self.task, self.depth = trace, costs, task, depth
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
        return Point(kind, knob, exits, row)

    def _costs(self, kind: str, exits: np.ndarray) -> Row:
        mean_exit = float(self._blocks[exits].mean())
        costs, plain = self.costs, float(self.costs.plain.mean()) / 1e9
        backbone = costs.mean("backbone", exits)
        if kind == "plain":
            total = backbone = plain
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
            "speedup_macs": plain / total,
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
        found.append(Point("random", point.knob, point.exits, row))
    return found


def oracle(evaluation: Evaluation) -> list[Point]:
    """Everyone stops at the first exit that is right, at the last when none is. A bound, not a method."""
    if evaluation.task.kind != "classification":
        return []
    correct = evaluation.trace.correct
    exits = np.where(correct.any(1), correct.argmax(1), correct.shape[1] - 1)
    return [evaluation.point("oracle", None, exits)]


def mix_at(points: Sequence[Point], gmacs: float) -> list[tuple[Point, float]]:
    """The one or two points next to a cost, with the shares at which drawing between them costs just that.

    Dearer than the dearest point: that point alone, which is the cheaper one of the comparison. Cheaper than the
    cheapest: nothing, there is no such mix.
    """
    order = sorted(points, key=lambda p: p.row["gmacs"])
    above = next((i for i, p in enumerate(order) if p.row["gmacs"] >= gmacs), len(order))
    if above == len(order):
        return [(order[-1], 1.0)]
    here = order[above].row["gmacs"]
    if above == 0:
        return [(order[0], 1.0)] if math.isclose(here, gmacs, rel_tol=1e-9) else []
    below = order[above - 1].row["gmacs"]
    share = (gmacs - below) / (here - below)
    return [(order[above - 1], 1.0 - share), (order[above], share)]


def choose(target: str, points: Sequence[Point], plain_score: float, plain_gmacs: float) -> tuple[int, bool]:
    """Choose an operating point on validation data.

    Args:
        target: one of ``schema.TARGETS``.
        points: candidates, measured on validation data.
        plain_score: the plain backbone's validation score.
        plain_gmacs: its cost.

    Returns:
        Index of the chosen point, and whether it meets the target; where none does, the nearest: the best score for
        ``drop_1pt``, the cheapest for a MAC target.
    """
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r}")
    score = np.array([p.row["score"] for p in points])
    gmacs = np.array([p.row["gmacs"] for p in points])
    if target == "drop_1pt":
        met = score >= plain_score - 0.01 - 1e-12
        order = np.lexsort((-score, gmacs)) if met.any() else np.lexsort((gmacs, -score))
    else:
        met = gmacs <= plain_gmacs * float(target.removeprefix("macs_")) / 100 * (1 + 1e-9)
        order = np.lexsort((gmacs, -score)) if met.any() else np.lexsort((-score, gmacs))
    allowed = [i for i in order if met[i]] if met.any() else list(order)
    return int(allowed[0]), bool(met.any())


def temperatures(trace: Trace) -> list[float] | None:
    """One softmax temperature an exit, fitted on a (validation) trace; None where its logits were not kept."""
    if trace.logits is None:
        return None
    return [calibration.fit_temperature(np.asarray(logits), trace.targets) for logits in trace.logits]


def exit_rows(
    evaluation: Evaluation,
    params: Sequence[int],
    chosen: dict[str, np.ndarray],
    fitted: Sequence[float] | None = None,
) -> list[Row]:
    """Rows of exits.csv for one split: every exit over all samples, and its part in each operating point.

    Args:
        evaluation: the split.
        params: parameters of each exit.
        chosen: exits (N,) of the dynamic operating points, by target.
        fitted: temperatures of the exits, from validation data.
    """
    trace, classify = evaluation.trace, evaluation.task.kind == "classification"
    correct = trace.correct
    rows = []
    for e, block in enumerate(trace.blocks):
        everyone = evaluation.everyone_at(e)
        row = {k: v for k, v in evaluation.point("dynamic", None, everyone).row.items() if k in _EXIT_COLUMNS}
        row |= {"exit": block, "params": params[e]}
        if fitted is not None and trace.logits is not None:
            confidence = calibration.softmax(np.asarray(trace.logits[e]), fitted[e]).max(1)
            row |= {"temperature": fitted[e], "ece_calibrated": calibration.ece(confidence, correct[:, e])}
        for target, exits in chosen.items():
            here = exits == e
            row[f"share_{target}"] = float(here.mean())
            if classify and here.any():
                row[f"accuracy_{target}"] = float(correct[here, e].mean())
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
