"""Who competes at a target, in which order, and who can be told from whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from eebench.report.frames import Record
from eebench.report.targets import target

__all__ = ["CLOCKS", "Race", "clock_of"]

CLOCKS = {"gpu": "GPU", "cpu": "CPU", "macs": "MACs"}
_SIMPLE = ("static", "fixed")
_CLEAR = 0.05  # Holm-corrected p below which two scores differ


def clock_of(table: pd.DataFrame) -> str:
    """What speed is read from: ``gpu`` or ``cpu`` where any deciding point has a published time, else ``macs``."""
    dynamic = table[table["kind"] == "dynamic"] if len(table) else table
    for clock in ("gpu", "cpu"):
        if len(dynamic) and dynamic[f"speedup_{clock}"].notna().any():
            return clock
    return "macs"


@dataclass(frozen=True)
class Race:
    """The comparison at one target.

    Attributes:
        record: the run.
        rows: of :func:`eebench.report.derive.compare`, at this target.
        points: of :func:`eebench.report.derive.timed_points`, at this target: a row a seed.
        clock: what speed is read from, see :func:`clock_of`.
    """

    record: Record
    rows: pd.DataFrame
    points: pd.DataFrame
    clock: str

    @classmethod
    def at(cls, record: Record, table: pd.DataFrame, points: pd.DataFrame, name: str) -> Race:
        """The race at the target of that name; its clock is that of all targets."""
        return cls(record, table[table["target"] == name], points[points["target"] == name], clock_of(table))

    @property
    def speed(self) -> str:
        """The column that ranks."""
        return f"speedup_{self.clock}"

    @property
    def limit(self) -> float:
        """Score that the target allows to lose; infinite where it limits a cost instead."""
        name = str(self.rows["target"].iloc[0]) if len(self.rows) else self.record.main
        wanted = target(name)
        return wanted.amount / 100 if wanted.kind == "drop" else math.inf

    @property
    def by_score(self) -> bool:
        """Whether the target limits a cost, so that scores compete and not speeds."""
        return not math.isfinite(self.limit)

    def ranks(self, row: Any) -> bool:
        """Whether a row takes part: target kept, exits that learnt something, a published speed."""
        return bool(row["on_target"] and not row["dead"] and math.isfinite(row[self.speed]))

    def ordered(self, kinds: Sequence[str] = ("dynamic", "static", "fixed")) -> pd.DataFrame:
        """Rows of these kinds: those that take part, best first, then the others likewise.

        Best is fastest where the target limits the loss, and the highest score where it limits a cost.
        """
        rows = self.rows[self.rows["kind"].isin(kinds)]
        if rows.empty:
            return rows
        out = [not self.ranks(row) for _, row in rows.iterrows()]
        speed = rows[self.speed].where(rows[self.speed].notna(), rows["speedup_macs"] - 1e6)
        first, then = (-rows["score"], -speed) if self.by_score else (-speed, -rows["score"])
        keys = pd.DataFrame({"out": out, "first": first, "then": then, "label": rows["label"]}, index=rows.index)
        return rows.loc[keys.sort_values(["out", "first", "then", "label"], kind="stable").index]

    def running(self, *kinds: str) -> list[pd.Series]:
        """The rows of these kinds that take part, best first."""
        return [row for _, row in self.ordered(kinds).iterrows() if self.ranks(row)]

    def best(self, *kinds: str) -> pd.Series | None:
        """The best row of these kinds that takes part."""
        found = self.running(*kinds)
        return found[0] if found else None

    def simple(self) -> pd.Series | None:
        """The best way that decides nothing per sample: a smaller model, or one fixed depth for everyone."""
        return self.best(*_SIMPLE)

    def shown(self) -> list[pd.Series]:
        """Rows of the comparison table: methods and static models, and of all fixed depths the best that ranks."""
        fixed = self.best("fixed")
        rows = self.ordered()
        keep = rows["kind"].ne("fixed") if fixed is None else rows["kind"].ne("fixed") | (rows.index == fixed.name)
        return [row for _, row in rows[keep].iterrows()] if len(rows) else []

    def faster(self, a: Any, b: Any) -> bool:
        """Whether ``a`` is clearly faster than ``b``: intervals apart, and no seed in which it is not faster.

        A missing interval is a point, and a missing seed says nothing.
        """
        name = self.speed
        low, high = (self._bound(a, "low"), self._bound(b, "high"))
        if not low > high:
            return False
        both = pd.concat([self._seeds(a)[name].rename("a"), self._seeds(b)[name].rename("b")], axis=1).dropna()
        return bool((both["a"] > both["b"]).all())

    def pays(self, row: Any) -> bool:
        """Whether a row is clearly faster than the plain backbone."""
        low = self._bound(row, "low")
        values = self._seeds(row)[self.speed].dropna()
        return bool(low > 1 and (values > 1).all())

    def better(self, a: Any, b: Any) -> bool:
        """Whether ``a`` scores clearly more than ``b``: by the record's paired tests, else by intervals and seeds."""
        found = self._pair(a, b)
        if found is not None:
            difference, p = found
            return difference > 0 and p < _CLEAR
        if not a["drop_high"] < b["drop_low"]:
            return False
        both = pd.concat([self._seeds(a)["drop"].rename("a"), self._seeds(b)["drop"].rename("b")], axis=1).dropna()
        return bool((both["a"] < both["b"]).all())

    def beats(self, a: Any, b: Any) -> bool:
        """Whether ``a`` is clearly ahead of ``b`` in what competes at this target."""
        return self.better(a, b) if self.by_score else self.faster(a, b)

    def tied(self, row: Any, others: Sequence[Any]) -> list[pd.Series]:
        """Those of ``others`` that are neither clearly behind nor clearly ahead of ``row``."""
        return [o for o in others if o.name != row.name and not self.beats(row, o) and not self.beats(o, row)]

    def scores_differ(self, rows: Sequence[Any]) -> bool:
        """Whether any two rows' scores can be told apart."""
        return any(self.better(a, b) for a in rows for b in rows if a.name != b.name)

    def _bound(self, row: Any, end: str) -> float:
        bound = row[f"{self.speed}_{end}"]
        return float(bound if math.isfinite(bound) else row[self.speed])

    def _seeds(self, row: Any) -> pd.DataFrame:
        mine = (self.points["method"] == row["method"]) & (self.points["kind"] == row["kind"])
        return self.points[mine].set_index("seed")

    def _pair(self, a: Any, b: Any) -> tuple[float, float] | None:
        """Difference a - b and its corrected p from pairs.csv, which compares deciding points and whole models."""
        if "fixed" in (a["kind"], b["kind"]) or "random" in (a["kind"], b["kind"]):
            return None
        pairs = self.record.table("pairs")
        pairs = pairs[pairs["target"] == a["target"]]
        for first, second, sign in ((a, b, 1), (b, a, -1)):
            hit = pairs[(pairs["method_a"] == first["method"]) & (pairs["method_b"] == second["method"])]
            if len(hit):
                return sign * float(hit["difference"].iloc[0]), float(hit["p_holm"].iloc[0])
        return None
