"""What the overview draws, as arrays: mean curves with their spread, the front over everything, trivial baselines.

Every curve here could be deployed: at each budget validation data choose the knob, and cost and score are read on test
data. Curves of several seeds are averaged budget by budget, over just those budgets that every seed has a point for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from eebench.measure import choose_within_budget, pareto_front
from eebench.report.frames import BACKBONE
from eebench.report.scene import COSTS, Scene

__all__ = ["Curve", "Lines"]

_STEPS = 48
_DEVICE = {"cpu": "cpu", "gpu": "cuda"}
_DEPLOYABLE = ("dynamic", "fixed", "static", "plain")


@dataclass(frozen=True)
class Curve:
    """A mean curve: cost, score, its standard deviation over seeds (0 for one seed), the knobs, whose points."""

    cost: np.ndarray
    score: np.ndarray
    std: np.ndarray
    knob: np.ndarray
    who: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.cost)


class Lines:
    """The curves of one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.record = scene, scene.record

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Test rows of everything deployable with the same point's validation score and cost beside them.

        Fixed depths at exits that never learnt are left out.
        """
        keys = ["method", "seed", "kind", "knob"]
        curves = self.record.curves[self.record.curves["kind"].isin(_DEPLOYABLE)].drop_duplicates([*keys, "split"])
        val, test = (curves[curves["split"] == split][[*keys, "score", "gmacs"]] for split in ("val", "test"))
        rows = test.merge(val, on=keys, suffixes=("", "_val"))
        exits = self.record.exits[(self.record.exits["split"] == "test") & ~self.record.exits["live"]]
        dead = set(zip(exits["method"], exits["seed"], exits["exit"].astype(float), strict=True))
        places = zip(rows["kind"], rows["method"], rows["seed"], rows["knob"], strict=True)
        return rows[[kind != "fixed" or tuple(place) not in dead for kind, *place in places]]

    @cached_property
    def grid(self) -> np.ndarray:
        """Budgets in GMACs: from the cheapest point of any kind to the dearest, evenly spaced."""
        return np.linspace(self.pairs["gmacs_val"].min(), self.pairs["gmacs_val"].max(), _STEPS)

    def mean(self, method: str) -> Curve:
        """One method's knob sweep, chosen on validation and read on test data, mean over seeds."""
        return self.joined([method])

    def joined(self, methods: Sequence[str]) -> Curve:
        """One curve of several methods' knob sweeps: at each budget the best of all their points by validation data."""
        return self._over_seeds(self._sweeps(methods))

    def at(self, methods: Sequence[str], budgets: Sequence[float]) -> list[tuple[float, list[str]]]:
        """What validation data choose of these methods' sweeps within each budget, read on test data.

        Args:
            methods: whose points to choose from.
            budgets: in GMACs on validation data.

        Returns:
            For each budget the mean score over seeds, NaN where some seed has no point that fits, and the method that
            each seed chose.
        """
        seeds = [mine for _, mine in self._sweeps(methods).groupby("seed")]
        found = []
        for budget in budgets:
            picked = [self._choose(mine, [budget]).iloc[0] for mine in seeds]
            fits = bool(picked) and all(row["fits"] for row in picked)
            score = float(np.mean([row["score"] for row in picked])) if fits else math.nan
            found.append((score, [row["method"] for row in picked] if fits else []))
        return found

    def _sweeps(self, methods: Sequence[str]) -> pd.DataFrame:
        return self.pairs[self.pairs["method"].isin(list(methods)) & (self.pairs["kind"] == "dynamic")]

    @cached_property
    def front(self) -> Curve:
        """The best of everything deployable at each budget: rules, fixed depths, static models, the plain backbone.

        ``who`` are the methods whose rules are chosen at some budget in some seed, the most often chosen first.
        """
        return self._over_seeds(self.pairs)

    @cached_property
    def fixed(self) -> Curve:
        """One fixed-depth line for the run: of all methods' exits those on the front of validation data."""
        return self._front_of(self.pairs[self.pairs["kind"] == "fixed"], "gmacs", "gmacs_val")

    def timed_fixed(self, cost: str) -> Curve:
        """The fixed-depth line by the clock: exits that were timed in every seed of their method.

        One that was timed in some seeds only is left out: a mean over other seeds at every point runs backwards.
        """
        times = self.record.single[self.record.single["device"] == _DEVICE[cost]]
        block = pd.to_numeric(times["path"].str.extract(r"^fixed_(\d+)$", expand=False))
        times = times.assign(knob=block).dropna(subset=["knob"])[["method", "seed", "knob", "mean_ms"]]
        fixed = self.pairs[self.pairs["kind"] == "fixed"]
        rows = fixed.merge(times, on=["method", "seed", "knob"])
        seeds = rows.groupby(["method", "knob"])["seed"].transform("nunique")
        whole = seeds == rows["method"].map(fixed.groupby("method")["seed"].nunique())
        return self._front_of(rows[whole], "mean_ms", "mean_ms")

    def static(self, cost: str) -> Curve:
        """The static models from small to large, the plain backbone after them: mean and spread over seeds."""
        rows = pd.concat([self.record.test("static"), self.record.plain.assign(knob=self.record.depth + 0.5)])
        column = "gmacs"
        if cost != "macs":
            times = self.record.single[self.record.single["device"] == _DEVICE[cost]]
            block = pd.to_numeric(times["path"].str.extract(r"^blocks_(\d+)$", expand=False))
            block = block.where(times["path"] != "plain", self.record.depth + 0.5)
            times = times.assign(knob=block).dropna(subset=["knob"])[["method", "seed", "knob", "mean_ms"]]
            column, rows = "mean_ms", rows.merge(times, on=["method", "seed", "knob"])
        if not (rows["kind"] == "static").any():
            return _EMPTY
        groups = rows.groupby("knob")
        means = groups[[column, "score"]].mean()
        std = groups["score"].std(ddof=1).fillna(0.0)
        values = (means[column].to_numpy(float), means["score"].to_numpy(float), std.to_numpy(float))
        return Curve(
            *values,
            means.index.to_numpy(float),
            ["static" if k <= self.record.depth else BACKBONE for k in means.index],
        )

    def timed_front(self, cost: str) -> Curve:
        """The front over every timed operating point: chosen by validation score and time, read on test data."""
        column, table = COSTS[cost][0], self.scene.table
        rows = table[table["kind"].isin(_DEPLOYABLE) & ~table["dead"]]
        plain = self.record.val("plain")["score"].mean()
        rows = rows.assign(val_score=rows["val_score"].where(rows["kind"] != "plain", plain))
        rows = rows.dropna(subset=[column, "score", "val_score"]).drop_duplicates(["method", "kind", column])
        if rows.empty:
            return _EMPTY
        rows = rows[pareto_front(rows[column].to_numpy(float), rows["val_score"].to_numpy(float))]
        rows = rows.sort_values(column)
        values = (rows[column].to_numpy(float), rows["score"].to_numpy(float), np.zeros(len(rows)))
        who = list(dict.fromkeys(rows.loc[rows["kind"] == "dynamic", "method"]))
        return Curve(*values, rows["knob"].to_numpy(float), who)

    def _over_seeds(self, rows: pd.DataFrame) -> Curve:
        """Mean over seeds, budget by budget; budgets that buy the same point as the one before are left out."""
        seeds = [self._choose(mine, self.grid) for _, mine in rows.groupby("seed")]
        if not seeds:
            return _EMPTY
        fits = np.all([found["fits"] for found in seeds], axis=0)
        names = ("gmacs", "score", "knob")
        cost, score, knob = (np.stack([found[name].to_numpy(float)[fits] for found in seeds]) for name in names)
        if not cost.size:
            return _EMPTY
        new = np.ones(cost.shape[1], bool)
        new[1:] = (np.diff(cost, axis=1) != 0).any(0) | (np.diff(score, axis=1) != 0).any(0)
        std = score.std(0, ddof=1) if len(seeds) > 1 else np.zeros(cost.shape[1])
        chosen = Counter(m for f in seeds for m in f["method"][f["fits"] & (f["kind"] == "dynamic")])
        who = sorted(chosen, key=lambda method: (-chosen[method], method))
        return Curve(cost.mean(0)[new], score.mean(0)[new], std[new], knob.mean(0)[new], who)

    def _choose(self, rows: pd.DataFrame, budgets: Sequence[float] | np.ndarray) -> pd.DataFrame:
        """The row that validation data choose at each budget; ``fits`` says whether there is one."""
        cost, score = rows["gmacs_val"].to_numpy(float), rows["score_val"].to_numpy(float)
        choices = [choose_within_budget(cost, score, budget) for budget in budgets]
        found = [choice.index if choice.met else None for choice in choices]
        picked = rows.iloc[[i or 0 for i in found]].reset_index(drop=True)
        return picked.assign(fits=[i is not None for i in found])

    def _front_of(self, rows: pd.DataFrame, cost: str, by: str) -> Curve:
        """Means over seeds a (method, block), those on the validation front, by rising cost."""
        names = list(dict.fromkeys([cost, by, "score", "score_val"]))
        means = rows.groupby(["method", "knob"])[names].mean().reset_index()
        if means.empty:
            return _EMPTY
        means = means[pareto_front(means[by].to_numpy(float), means["score_val"].to_numpy(float))].sort_values(cost)
        values = (means[cost].to_numpy(float), means["score"].to_numpy(float), np.zeros(len(means)))
        return Curve(*values, means["knob"].to_numpy(float), list(means["method"]))


_EMPTY = Curve(np.empty(0), np.empty(0), np.empty(0), np.empty(0))
