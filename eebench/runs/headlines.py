"""What a reader will repeat: means over seeds with intervals that contain the choice, pairs of methods, tiers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from eebench.measure.compare import compare_all
from eebench.measure.nested import Candidates, Nested, Rule, Split, nested_bootstrap
from eebench.measure.ranking import tiers
from eebench.runs.crossfit import cross_fitted
from eebench.runs.score import Point, Row
from eebench.runs.tables import Scored
from eebench.schema import BACKBONE
from eebench.targets import Target

__all__ = ["Seed", "headline_rows", "pair_rows", "widen"]

RESAMPLES = 300


@dataclass(frozen=True)
class Seed:
    """Everything one training seed gives."""

    number: int
    models: dict[str, Scored]  # the plain backbone first

    @property
    def plain(self) -> Scored:
        """The plain backbone."""
        return self.models[BACKBONE]

    def frontier_points(self) -> list[tuple[Point, Point]]:
        """Candidates of the common static frontier, (validation, test)."""
        return [pair for scored in self.models.values() for pair in scored.static_points()]


def headline_rows(seeds: Sequence[Seed], targets: Sequence[Target], how: str, level: float) -> list[Row]:
    """Rows of headlines.csv: one a target, method and measure.

    Targets in milliseconds have none: latencies are not resampled with the samples.

    Args:
        seeds: of one run.
        targets: what operating points were chosen for.
        how: ``upper`` or ``naive``, as they were chosen.
        level: of the bound.
    """
    rows = []
    frontiers = {seed.number: seed.frontier_points() for seed in seeds}
    for label in _labels(seeds):
        of = [seed for seed in seeds if label in seed.models]
        kind = of[0].models[label].main_kind
        for target in targets:
            rule = _rule(target, how, level)
            if rule is None:
                continue
            splits = [_splits(seed, label, frontiers[seed.number]) for seed in of]
            task = seeds[0].plain.test("plain")[0].of.task
            found = nested_bootstrap(splits, rule, task.metric, n=RESAMPLES)
            who = {"target": target.name, "method": label, "kind": kind, "seeds": len(of)}
            rows += [who | row for row in _measures(found)]
    return rows


def widen(rows: Sequence[Row], seed: Seed, targets: Sequence[Target], how: str, level: float) -> None:
    """Give one seed's operating points intervals that contain the choice of the knob, and what cross-fitting says."""
    rules = {target.name: _rule(target, how, level) for target in targets}
    cached: dict[str, tuple[Split, Split]] = {}
    for row in rows:
        rule, label = rules.get(row["target"]), row["method"]
        if rule is None or row["seed"] != seed.number or row["kind"] != seed.models[label].main_kind:
            continue
        splits = cached.setdefault(label, _splits(seed, label, None))
        metric = seed.plain.test("plain")[0].of.task.metric
        found = nested_bootstrap([splits], rule, metric, n=RESAMPLES)
        for name, interval in (("drop", found.drop), ("speedup_macs", found.speedup)):
            row |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
        row["crossfit_drop"], row["crossfit_speedup_macs"] = cross_fitted(*splits, rule, metric)


def pair_rows(seeds: Sequence[Seed], targets: Sequence[Target]) -> tuple[list[Row], list[Row]]:
    """Rows of pairs.csv and tiers.csv: the operating points of all methods that finished every seed, compared.

    Static models and the plain backbone take part as equals.
    """
    complete = [label for label in _labels(seeds) if all(label in seed.models for seed in seeds)]
    task = seeds[0].plain.test("plain")[0].of.task
    truth = seeds[0].plain.test("plain")[0].of.trace.targets
    pairs: list[Row] = []
    tiered: list[Row] = []
    for target in targets:
        answers: dict[str, list[np.ndarray]] = {BACKBONE: [seed.plain.test("plain")[0].predictions for seed in seeds]}
        for label in complete:
            points = [_point(seed.models[label], target.name) for seed in seeds]
            answers[label] = [point.predictions for point in points]
        labels = list(answers)
        if len(labels) < 2:
            continue
        found, corrected = compare_all([np.stack(rows) for rows in answers.values()], task.metric, truth)
        scores = np.array([_scores(seeds, label, target.name) for label in labels])  # (M, S)
        means = scores.mean(1)
        ranks = _mean_ranks(scores)
        for label, tier, rank in zip(labels, tiers(means, corrected), ranks, strict=True):
            tiered.append({"target": target.name, "method": label, "tier": int(tier), "mean_rank": float(rank)})
        for i, j in combinations(range(len(labels)), 2):
            a, b = (i, j) if means[i] >= means[j] else (j, i)
            pair = found[a][b]
            row: Row = {"target": target.name, "method_a": labels[a], "method_b": labels[b]}
            row |= {"difference": pair.difference.estimate, "low": pair.difference.low, "high": pair.difference.high}
            pairs.append(row | {"p": pair.p, "p_holm": float(corrected[a, b])})
    return pairs, tiered


def _labels(seeds: Sequence[Seed]) -> list[str]:
    """Methods and the family of static models, in the order they ran."""
    return [label for label in dict.fromkeys(name for seed in seeds for name in seed.models) if label != BACKBONE]


def _rule(target: Target, how: str, level: float) -> Rule | None:
    if target.kind == "drop":
        return Rule(drop=target.value / 100, level=None if how == "naive" else level)
    return Rule(budget=target.value / 100) if target.kind == "macs" else None


def _splits(seed: Seed, label: str, frontier: Sequence[tuple[Point, Point]] | None) -> tuple[Split, Split]:
    scored = seed.models[label]
    kind = scored.main_kind
    found = []
    for index, points in enumerate((scored.val(kind), scored.test(kind))):
        plain = (seed.plain.val("plain"), seed.plain.test("plain"))[index][0]
        others = None if frontier is None else _candidates([pair[index] for pair in frontier])
        cost = _cost(plain)
        found.append(Split(plain.of.trace.targets, plain.predictions, cost, _candidates(points), others))
    return found[0], found[1]


def _candidates(points: Sequence[Point]) -> Candidates:
    costs = [_cost(point) for point in points]
    return Candidates(np.stack([point.predictions for point in points], 1), np.stack(costs, 1))


def _cost(point: Point) -> np.ndarray:
    """MACs of each sample, (N,)."""
    costs = point.of.costs
    if point.kind in ("plain", "static"):
        return np.broadcast_to(costs.plain[:, 0], point.exits.shape)
    if point.kind == "fixed":
        return np.broadcast_to(costs.static[:, point.exits[0]], point.exits.shape)
    return np.asarray(costs.total_of(point.exits))


def _measures(found: Nested) -> list[Row]:
    values = {"score": found.score, "drop": found.drop, "speedup_macs": found.speedup}
    if found.over_frontier is not None:
        values["over_frontier"] = found.over_frontier
    return [
        {"measure": name, "value": interval.estimate, "low": interval.low, "high": interval.high}
        for name, interval in values.items()
        if math.isfinite(interval.estimate)
    ]


def _point(scored: Scored, target: str) -> Point:
    return next(c.test for c in scored.chosen[scored.main_kind] if c.target == target)


def _scores(seeds: Sequence[Seed], label: str, target: str) -> list[float]:
    if label == BACKBONE:
        return [seed.plain.test("plain")[0].row["score"] for seed in seeds]
    return [_point(seed.models[label], target).row["score"] for seed in seeds]


def _mean_ranks(scores: np.ndarray) -> np.ndarray:
    """Mean rank over seeds of each method, 1 being best; ties share their mean. (M, S) -> (M,)."""
    from scipy.stats import rankdata

    ranks: np.ndarray = rankdata(-scores, axis=0).mean(1)
    return ranks
