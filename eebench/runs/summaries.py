"""One number per method: rows of summary.csv and conformal.csv. Knobs come from validation, values from test."""

from __future__ import annotations

import numpy as np

from eebench.measure import anytime, calibration, conformal, summary
from eebench.runs.score import Point, Row
from eebench.runs.tables import Scored

__all__ = ["conformal_rows", "summary_rows"]

DROPS = (0.005, 0.01, 0.02)
SHARES = (0.25, 0.5, 0.75)
AREA_RANGE = (0.25, 1.0)  # of the plain backbone's MACs: below a quarter hardly any method has a point
ALPHAS = (0.05, 0.1)


def summary_rows(scored: Scored, plain: Scored) -> list[Row]:
    """Rows of summary.csv for one trained method; none for the plain backbone."""
    if scored is plain:
        return []
    test = {kind: [p for p in scored.curves["test"] if p.kind == kind] for kind in ("dynamic", "fixed", "random")}
    val = [p for p in scored.curves["val"] if p.kind == "dynamic"]
    before_val = plain.curves["val"][0].row
    macs, score = _columns(test["dynamic"])
    val_macs, val_score = _columns(val)
    val_share = val_macs / before_val["gmacs"]
    fixed_macs, fixed_score = _columns(test["fixed"])
    gain = summary.gain_over_fixed_depth(macs, score, fixed_macs, fixed_score)
    area = summary.area_under_curve(val_share, val_score, *AREA_RANGE, read=score)
    values: dict[str, float] = {
        "gain_over_fixed_depth": gain.gain,
        "gain_points_compared": gain.points,
        "gain_over_random": float(np.mean(score - _columns(test["random"])[1])),
        "area_under_curve": area.area,
        "area_covered": area.covered,
        "hypervolume": summary.area_under_curve(val_share, val_score, 0.0, 1.0, read=score).area,
    }
    for drop in DROPS:
        index = summary.at_drop(val_macs, val_score, before_val["score"], drop)
        name = f"speedup_at_drop_{drop * 100:g}"
        values[name] = np.nan if index is None else test["dynamic"][index].row["speedup_macs"]
    for part in SHARES:
        index = summary.at_budget(val_macs, val_score, part * before_val["gmacs"])
        values[f"score_at_{part * 100:g}"] = np.nan if index is None else float(score[index])
    if scored.test.task.kind == "classification":
        values |= _overthinking(scored)
    return [{"method": scored.label, "seed": scored.seed, "name": n, "value": v} for n, v in values.items()]


def conformal_rows(scored: Scored) -> list[Row]:
    """Rows of conformal.csv: prediction sets at the operating points, calibrated on validation data.

    The knob was chosen on the same validation data, so that coverage holds up to that choice among a hundred values.
    """
    val, test = scored.val, scored.test
    if test.task.kind != "classification" or val.trace.logits is None or test.trace.logits is None:
        return []
    points: list[tuple[str, np.ndarray, np.ndarray]]
    points = [(c.target, c.val.exits, c.test.exits) for c in scored.chosen.get("dynamic", [])]
    if not points:
        points = [("plain", scored.curves["val"][0].exits, scored.curves["test"][0].exits)]
    rows = []
    for target, val_exits, test_exits in points:
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


def _overthinking(scored: Scored) -> dict[str, float]:
    trace = scored.test.trace
    costs = scored.test.costs
    total = (costs.backbone + costs.heads + costs.gates).mean(0)
    found = anytime.overthinking(trace.correct, total)
    improvable = anytime.hindsight_improvability(trace.correct)
    falls = anytime.conditional_monotonicity(np.clip(trace.target_probability, 0.0, 1.0))
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
