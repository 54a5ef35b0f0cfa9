"""Several runs beside each other: what may be compared, mean ranks, who beats whom, clocks machine by machine.

A task is a backbone on a data set under one setting; it may have several runs, with seeds or machines apart. Ranks go
by multiply-accumulates and scores, which are the same on every machine; times never enter a ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eebench.errors import UserError
from eebench.measure import CriticalDifference, critical_difference
from eebench.report.derive import DEAD, aggregate, compare, reached, timed_points
from eebench.report.frames import STATIC, Record, load
from eebench.report.matrix_checks import check_comparable, check_consistent
from eebench.report.ranking import Race
from eebench.report.targets import in_order, main_target, target
from eebench.report.text import short_name

__all__ = ["Matrix", "Ranking", "Task", "load_matrix", "machine_of"]

_FREE = frozenset(
    "methods seeds data_dir device threads energy latency_batch_sizes latency_samples latency_seconds".split()
)
"""What runs of one task may differ in: what is pooled, and what only the clock sees."""

_RANKED = ("plain", "static", "dynamic")
_LAST = -2.0  # below every score: whoever did not keep the target shares the last rank


@dataclass(frozen=True)
class Task:
    """A backbone on a data set under one setting."""

    title: str
    data: str
    records: list[Record]

    @property
    def first(self) -> Record:
        """The run that the task's facts are read from."""
        return self.records[0]

    @cached_property
    def points(self) -> pd.DataFrame:
        """Operating points of the plain backbone, the family of static models and the methods, a row a seed."""
        parts = []
        for record in self.records:
            timed = timed_points(record)
            family = record.points[record.points["kind"] == "static"]
            family = family.assign(method=STATIC, dead_share=0.0, cpu_noisy=False, gpu_noisy=False)
            parts += [timed[timed["kind"].isin(["plain", "dynamic"])], family]
        points = pd.concat([part for part in parts if len(part)], ignore_index=True)
        return points.drop_duplicates(["target", "method", "kind", "seed"], ignore_index=True)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The same over seeds, with ``label``, ``on_target`` and ``dead`` as in a report of one run."""
        table = aggregate(self.points)
        if len(self.records) == 1:
            table = _own_intervals(self.first, table)
        plain = table[table["kind"] == "plain"].set_index("target")
        labels = {method: label for record in self.records for method, label in record.labels.items()}
        return table.assign(
            label=table["method"].map(labels),
            on_target=[reached(row, plain) for _, row in table.iterrows()],
            dead=table["dead_share"].fillna(0) > DEAD,
        )

    def race(self, name: str) -> Race:
        """Who is ahead of whom at a target, by multiply-accumulates."""
        record = self.first if len(self.records) == 1 else replace(self.first, tables=_untested(self.first))
        rows = self.rows[self.rows["target"] == name]
        return Race(record, rows, self.points[self.points["target"] == name], "macs")


@dataclass(frozen=True)
class Ranking:
    """Mean ranks at one target.

    Attributes:
        methods: who is ranked, best first: labels of the record.
        ranks: their mean ranks over data sets, tasks of one data set counted as one.
        difference: Friedman's test and Nemenyi's critical difference over data sets; None where there are too few.
        why: why there is none.
        left_out: methods that some task has no result of.
    """

    methods: list[str]
    ranks: list[float]
    difference: CriticalDifference | None
    why: str
    left_out: list[str]

    @property
    def apart(self) -> bool:
        """Whether the test tells anybody from anybody."""
        return self.difference is not None and self.difference.p < 0.05


@dataclass(frozen=True)
class Matrix:
    """Runs that may be compared."""

    name: str
    tasks: list[Task]
    records: list[Record]
    unfinished: Sequence[str] = ()

    @cached_property
    def targets(self) -> list[str]:
        """Targets that every run chose for, in the report's order."""
        common = set.intersection(*(set(record.targets) for record in self.records))
        return in_order(common)

    @property
    def main(self) -> str:
        """The target that the page opens with."""
        return main_target(self.targets)

    @cached_property
    def labels(self) -> dict[str, str]:
        """Display names by method."""
        return {method: label for task in self.tasks for r in task.records for method, label in r.labels.items()}

    @cached_property
    def budgets(self) -> set[str]:
        """Budgets of the runs."""
        return {str(record.run["spec"].get("budget")) for record in self.records}

    def standings(self, name: str) -> pd.DataFrame:
        """Every task's rows at a target, with ``task``, ``data``, ``ranks`` (takes part), ``value`` (what ranks)."""
        by_score = target(name).kind != "drop"
        parts = []
        for task in self.tasks:
            race = task.race(name)
            rows = race.rows[race.rows["kind"].isin(_RANKED)]
            takes = np.array([race.ranks(row) for _, row in rows.iterrows()], bool)
            value = rows["score" if by_score else "speedup_macs"].where(takes, _LAST)
            parts.append(rows.assign(task=task.title, data=task.data, ranks=takes, value=value))
        return pd.concat(parts, ignore_index=True)

    def ranking(self, name: str) -> Ranking:
        """Mean ranks at a target: fastest by multiply-accumulates where it limits the loss, else the highest score."""
        from scipy.stats import rankdata

        rows = self.standings(name)
        values = rows.pivot(index="task", columns="method", values="value")
        values = values.reindex(index=[task.title for task in self.tasks])
        complete = values.dropna(axis=1)
        left_out = [str(method) for method in values if method not in complete]
        digits = complete.map(lambda value: float(f"{value:.9g}"))  # the same cost summed in another order
        ranks = pd.DataFrame(rankdata(-digits.to_numpy(), axis=1), digits.index, digits.columns)
        by_data = ranks.groupby([task.data for task in self.tasks], sort=False).mean()
        mean = rankdata(by_data.to_numpy(), axis=1).mean(0)
        found, why = None, ""
        if len(by_data) < 2 or by_data.shape[1] < 3:
            why = (
                f"a test over data sets takes two of them and three methods, not {len(by_data)} and {by_data.shape[1]}"
            )
        else:
            found = critical_difference(-by_data.to_numpy())
        order = sorted(range(len(mean)), key=lambda i: (mean[i], str(by_data.columns[i])))
        if found is not None:  # in the order of the methods here
            place = {old: new for new, old in enumerate(order)}
            groups = tuple(tuple(sorted(place[i] for i in group)) for group in found.groups)
            found = CriticalDifference(found.ranks[order], found.p, found.difference, groups, found.blocks)
        methods = [str(by_data.columns[i]) for i in order]
        return Ranking(methods, [float(mean[i]) for i in order], found, why, left_out)

    def duels(self, name: str) -> pd.DataFrame:
        """Every pair at a target: tasks in which the first is clearly ahead, behind, or neither.

        Clearly ahead is what a report of one run calls it: by paired tests of scores, or by intervals of the speed-up;
        whoever kept the target is ahead of whoever did not.
        """
        counts: dict[tuple[str, str], list[int]] = {}
        for task in self.tasks:
            race = task.race(name)
            rows = {str(row["method"]): row for _, row in race.rows.iterrows() if row["kind"] in _RANKED}
            for a, b in combinations(rows, 2):
                outcome = _duel(race, rows[a], rows[b])
                first, second = sorted((a, b))
                outcome = outcome if (first, second) == (a, b) else -outcome
                counts.setdefault((first, second), [0, 0, 0])[1 - outcome] += 1
        found = [(*pair, *of) for pair, of in counts.items()]
        return pd.DataFrame(found, columns=["method_a", "method_b", "wins", "ties", "losses"])

    def clocks(self) -> pd.DataFrame:
        """Speed-ups by the clock at the main target, machine by machine: to be read side by side, never ranked."""
        parts = []
        for record in self.records:
            table = compare(record)
            rows = table[table["kind"].isin(["plain", "static", "dynamic"]) & (table["target"] == self.main)]
            task = next(task.title for task in self.tasks if any(one is record for one in task.records))
            parts.append(rows.assign(machine=machine_of(record), task=task, run=record.run["run"]))
        found = pd.concat(parts, ignore_index=True)
        timed = found[[c for c in ("cpu_mean_ms", "gpu_mean_ms") if c in found]].notna().any(axis=1)
        return found[timed].sort_values(["machine", "task"], kind="stable", ignore_index=True)


def load_matrix(name: str, runs: Sequence[Path], unfinished: Sequence[str] = ()) -> Matrix:
    """Read runs and see whether they may be compared.

    Args:
        name: of the whole.
        runs: run directories.
        unfinished: names of runs that belong to it and have no record yet.

    Raises:
        UserError: in one line: fewer than two runs, one twice, a record that cannot be read, rules, splits or metrics
            that differ, no target in common, or one cell with two results.
    """
    if len(runs) < 2:
        missing = f"; without a record: {', '.join(unfinished)}" if unfinished else ""
        raise UserError(f"compare takes two finished runs or more ('eebench report' shows one){missing}")
    if len({path.resolve() for path in runs}) < len(runs):
        raise UserError("compare: a run is named twice")
    records = [load(path) for path in runs]
    check_comparable(records)
    matrix = Matrix(name, _tasks(records), records, list(unfinished))
    if not matrix.targets:
        raise UserError("these runs cannot be compared: they have no target in common")
    empty = [str(record.run["run"]) for record in records if not record.methods]
    if empty:
        raise UserError(f"these runs cannot be compared: no method of {', '.join(empty)} has a result")
    return matrix


def machine_of(record: Record) -> str:
    """Processor, and GPU where there was one."""
    environment = record.run["environment"]
    names = (environment.get("cpu"), (environment.get("gpu") or {}).get("name"))
    return " and ".join(str(name) for name in names if name) or "unknown"


def _tasks(records: Sequence[Record]) -> list[Task]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        spec = {name: value for name, value in record.run["spec"].items() if name not in _FREE}
        spec["backbone"], spec["dataset"] = record.run["backbone"]["name"], record.run["data"]["name"]
        groups.setdefault(repr(sorted(spec.items(), key=lambda item: item[0])), []).append(record)
    lists = list(groups.values())
    differ = _differ([of[0].run["spec"] for of in lists])
    found = []
    for of in lists:
        run = of[0].run
        extra = "".join(f", {name} {run['spec'].get(name)}" for name in differ)
        title = f"{short_name(run['backbone']['name'])} on {short_name(run['data']['name'])}"
        found.append(Task(title + extra, str(run["data"]["name"]), of))
        check_consistent(of)
    return found


def _differ(specs: Sequence[dict[str, Any]]) -> list[str]:
    """Settings that tell tasks of one backbone and data set apart."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for spec in specs:
        pairs.setdefault((str(spec.get("backbone")), str(spec.get("dataset"))), []).append(spec)
    names = sorted({name for spec in specs for name in spec} - _FREE - {"backbone", "dataset"})
    return [name for name in names if any(len({repr(spec.get(name)) for spec in of}) > 1 for of in pairs.values())]


def _duel(race: Race, a: Any, b: Any) -> int:
    """1 if the first is clearly ahead, -1 if behind, else 0."""
    takes = race.ranks(a), race.ranks(b)
    if takes[0] != takes[1]:
        return 1 if takes[0] else -1
    if not takes[0]:
        return 0
    return int(race.beats(a, b)) - int(race.beats(b, a))


def _own_intervals(record: Record, table: pd.DataFrame) -> pd.DataFrame:
    """The record's own intervals of means over seeds, as its report has them; those of the static family too."""
    told = record.table("headlines")
    if told.empty:
        return table
    table = table.set_index(["target", "method", "kind"])
    for measure, rows in told[told["low"].notna()].groupby("measure"):
        if f"{measure}_low" in table:
            ends = rows.set_index(["target", "method", "kind"])[["low", "high"]].add_prefix(f"{measure}_")
            ends = ends[~ends.index.duplicated() & ends.index.isin(table.index)]
            table.loc[ends.index, ends.columns] = ends
            if f"{measure}_min" in table:
                table.loc[ends.index, [f"{measure}_min", f"{measure}_max"]] = np.nan
    return table.reset_index()


def _untested(record: Record) -> dict[str, pd.DataFrame]:
    """A record's tables without its paired tests, which do not hold for seeds of several runs."""
    return {name: table for name, table in record.tables.items() if name not in ("pairs", "tiers", "headlines")}
