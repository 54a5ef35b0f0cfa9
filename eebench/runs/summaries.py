"""One number per method: rows of summary.csv and conformal.csv. Knobs come from validation, values from test."""

from __future__ import annotations

import numpy as np

from eebench.measure import anytime, calibration, choice, conformal, liveness, quality
from eebench.measure.frontier import Frontier, find_frontier, mean_gain, mean_score
from eebench.runs.cell import Cell
from eebench.runs.score import Point, Row
from eebench.runs.tables import Scored
from eebench.targets import Target

__all__ = ["conformal_rows", "summary_rows", "table_rows"]

DROPS = (0.5, 1.0, 2.0)  # points
SHARES = (0.25, 0.5, 0.75)
AREA_RANGE = (0.1, 1.0)  # of the plain backbone's MACs
ALPHAS = (0.05, 0.1)


def summary_rows(scored: Scored, plain: Scored, frontier: tuple[Frontier, list[Point]]) -> list[Row]:
    """Rows of summary.csv for one method or the family of static models; none for the plain backbone.

    Args:
        scored: the method.
        plain: the plain backbone of the same seed.
        frontier: the run's common static frontier of this seed, and its test points.
    """
    kind = scored.main_kind
    if kind == "plain":
        return []
    val, test = scored.val(kind), scored.test(kind)
    shares = _Shares(plain)
    found = shares.frontier(val, test)
    static, _ = frontier
    anchor = Frontier(static.index, static.cost / shares.test, static.score, static.val_score)
    floor = shares.majority
    area, whole = (mean_score(found, *span, floor) for span in (AREA_RANGE, (0.0, 1.0)))
    lead = mean_gain(found, anchor, *AREA_RANGE)
    values: dict[str, float] = {
        "gain_over_frontier": lead.gain,
        "gain_over_frontier_covered": lead.covered,
        "area_under_curve": area.value,
        "area_covered": area.covered,
        "hypervolume": whole.value,
    }
    if kind == "dynamic":
        pairs = scored.static_points()
        if pairs:
            own = mean_gain(found, shares.frontier(*map(list, zip(*pairs, strict=True))), *AREA_RANGE)
            values |= {"gain_over_fixed_depth": own.gain, "gain_over_fixed_depth_covered": own.covered}
        random = found.read([p.row["score"] for p in scored.test("random")])
        values["gain_over_random"] = mean_gain(found, random, *AREA_RANGE).gain
        values["first_exit_share"] = _stuck(scored)
    val_macs, val_score = _columns(val)
    assert scored.chooser is not None, "methods and static models have operating points"
    for points in DROPS:
        choice_of = scored.chooser.choose(Target("drop", points), val)
        values[f"speedup_at_drop_{points:g}"] = test[choice_of.index].row["speedup_macs"] if choice_of.met else np.nan
    for part in SHARES:
        found_at = choice.choose_within_budget(val_macs, val_score, part * shares.val)
        values[f"score_at_{part * 100:g}"] = float(test[found_at.index].row["score"]) if found_at.met else np.nan
    if kind == "dynamic" and test[0].of.task.kind == "classification":
        values |= _overthinking(test[0])
    return [{"method": scored.label, "seed": scored.seed, "name": n, "value": v} for n, v in values.items()]


def table_rows(
    scored: Scored, cell: Cell, plain: Scored, frontier: tuple[Frontier, list[Point]]
) -> dict[str, list[Row]]:
    """Rows of every table that one model's traces and costs fill, by table.

    Args:
        scored: the model.
        cell: where its parameters are counted; the plain backbone's for the family of static models.
        plain: the plain backbone of the same seed.
        frontier: the run's common static frontier of this seed, and its test points.
    """
    return {
        "curves": scored.curve_rows(),
        "exits": scored.exit_rows(cell.facts["params_exits"]),
        "shares": scored.share_rows(),
        "operating_points": scored.point_rows(plain, frontier),
        "reliability": scored.reliability_rows(),
        "conformal": conformal_rows(scored),
        "summary": summary_rows(scored, plain, frontier),
    }


class _Shares:
    """Costs as a share of the plain backbone's."""

    def __init__(self, plain: Scored) -> None:
        val, test = plain.val("plain")[0], plain.test("plain")[0]
        self.val, self.test, self.val_score = val.row["gmacs"], test.row["gmacs"], val.row["score"]
        self.majority = 0.0  # score of the one class that does best on validation data, always answered
        if test.of.task.kind == "classification":
            metric, targets = test.of.task.metric, test.of.trace.targets
            answers = np.full(len(targets), liveness.constant_answer(metric, val.of.trace.targets))
            self.majority = quality.score(metric, answers, targets)

    def frontier(self, val: list[Point], test: list[Point]) -> Frontier:
        """What mixing some points reaches."""
        (val_cost, val_score), (cost, score) = _columns(val), _columns(test)
        return find_frontier(val_cost / self.val, val_score, cost / self.test, score)


def _stuck(scored: Scored) -> float:
    """Share of the drop and MAC operating points at which every test sample stops at the first exit."""
    points = scored.chosen["dynamic"]
    return float(np.mean([(c.test.exits == 0).all() for c in points])) if points else np.nan


def conformal_rows(scored: Scored) -> list[Row]:
    """Rows of conformal.csv: prediction sets at the operating points, calibrated on validation data.

    The knob was chosen on the same validation data, so that coverage holds up to that choice among a hundred values.
    """
    points = [(c.target, c.val, c.test) for c in scored.chosen.get("dynamic", [])]
    points = points or [("plain", *pair) for pair in zip(scored.val("plain"), scored.test("plain"), strict=True)]
    rows = []
    for target, val_point, test_point in points:
        val, test, val_exits, test_exits = val_point.of, test_point.of, val_point.exits, test_point.exits
        if test.task.kind != "classification" or val.trace.logits is None or test.trace.logits is None:
            return []
        cal = calibration.softmax(_stopped(val.trace.logits, val_exits))
        new = calibration.softmax(_stopped(test.trace.logits, test_exits))
        for alpha in ALPHAS:
            reports = {
                "general": conformal.conformal_general(
                    cal, val.trace.targets, new, test.trace.targets, test_exits, alpha
                ),
                "mondrian": conformal.conformal_mondrian(
                    cal, val.trace.targets, val_exits, new, test.trace.targets, test_exits, alpha
                ),
            }
            for name, report in reports.items():
                row = {"sets": name, "alpha": alpha, "coverage": report.coverage, "size": report.size}
                rows.append({"method": scored.label, "seed": scored.seed, "target": target} | row)
    return rows


def _overthinking(point: Point) -> dict[str, float]:
    trace = point.of.trace
    total = point.of.costs.total.mean(0)
    found = anytime.overthinking(trace.correct, total)
    improvable = anytime.hindsight_improvability(trace.correct)
    true = np.clip(trace.target_probability, 0.0, 1.0)
    falls = {} if np.isnan(true).any() else anytime.conditional_monotonicity(true)  # an import may lack probabilities
    return {
        "overthinking_destructive": found.destructive,
        "overthinking_wasteful": found.wasteful,
        "hindsight_improvability": float(improvable[-1]),
        **{f"conditional_fall_{drop:g}": share for drop, share in falls.items()},
    }


def _columns(points: list[Point]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p.row["gmacs"] for p in points]), np.array([p.row["score"] for p in points])


def _stopped(logits: np.ndarray, exits: np.ndarray) -> np.ndarray:
    """(N, K) logits of the exit each sample stopped at, read exit by exit from disk."""
    found = np.empty(logits.shape[1:], dtype=np.float64)
    for position in np.unique(exits):
        rows = np.flatnonzero(exits == position)
        found[rows] = logits[position][rows]
    return found
