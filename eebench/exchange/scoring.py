"""From finished cells to every table that arrays alone can fill: what an import gives and what a verifier works out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eebench.api import ExitRule, Task
from eebench.runs.cell import Cell
from eebench.runs.choose import Chooser
from eebench.runs.headlines import Seed, headline_rows, pair_rows, widen
from eebench.runs.score import Row
from eebench.runs.summaries import table_rows
from eebench.runs.tables import Scored, frontier_of, score_method, score_plain, score_static
from eebench.schema import BACKBONE, STATIC, TABLES
from eebench.targets import Target

__all__ = ["RECOMPUTED", "Choosing", "Known", "SeedCells", "score_cells", "seeds_of"]

RECOMPUTED = (
    "curves", "exits", "shares", "operating_points", "headlines", "pairs", "tiers", "summary", "reliability",
    "conformal",
)  # fmt: skip
"""Tables that arrays fill; the others hold what was trained, searched and timed."""

PARTS = ("gmacs_backbone", "gmacs_heads", "gmacs_gates")
PROBABLE = ("nll", "brier")


@dataclass(frozen=True)
class Choosing:
    """How operating points are chosen, as a run's spec says it."""

    targets: Sequence[Target]
    how: str = "upper"
    level: float = 0.9
    thresholds: Sequence[float] | None = None

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Choosing:
        """From the spec in a record; targets in milliseconds are left out, arrays know no time."""
        targets = [Target.parse(name) for name in spec["targets"]]
        kept = [target for target in targets if target.kind != "ms"]
        return cls(kept, spec.get("choose", "upper"), spec.get("level", 0.9), spec.get("thresholds"))


@dataclass(frozen=True)
class Known:
    """What was declared of a model: the rest is left empty in its rows, never made up."""

    parts: bool = True
    probabilities: bool = True


@dataclass
class SeedCells:
    """The cells of one seed."""

    seed: int
    plain: Cell
    static: dict[int, Cell] = field(default_factory=dict)  # by number of blocks
    methods: list[Cell] = field(default_factory=list)


Rules = Callable[[str], tuple[ExitRule, float | None]]
"""From a method's label to its rule, and its knob where that was pinned."""


def score_cells(
    seeds: Sequence[SeedCells],
    task: Task,
    depth: int,
    rules: Rules,
    choosing: Choosing,
    known: Mapping[str, Known] | None = None,
) -> dict[str, list[Row]]:
    """Rows of every table in :data:`RECOMPUTED`, made by the very functions that make a run's.

    Args:
        seeds: at least one.
        task: names the metric.
        depth: blocks of the plain backbone.
        rules: of the methods.
        choosing: targets and how they are judged.
        known: by cell id, what was declared; everything where a cell is not named.
    """
    tables: dict[str, list[Row]] = {name: [] for name in RECOMPUTED}
    scored_seeds: list[Seed] = []
    targets = list(choosing.targets)
    for cells in seeds:
        models = _score(cells, task, depth, rules, choosing)
        plain = models[0][0]
        frontier = frontier_of([pair for scored, _ in models for pair in scored.static_points()])
        assert frontier is not None, "the plain backbone is always on it"
        for scored, cell in models:
            for name, found in table_rows(scored, cell, plain, frontier).items():
                tables[name] += _blank(found, (known or {}).get(cell.id, Known()))
        scored_seeds.append(Seed(cells.seed, {scored.label: scored for scored, _ in models}))
        widen(tables["operating_points"], scored_seeds[-1], targets, choosing.how, choosing.level)
    tables["headlines"] = headline_rows(scored_seeds, targets, choosing.how, choosing.level)
    tables["pairs"], tables["tiers"] = pair_rows(scored_seeds, targets)
    assert all(row.keys() <= TABLES[name].keys() for name, rows in tables.items() for row in rows)
    return tables


def _score(cells: SeedCells, task: Task, depth: int, rules: Rules, choosing: Choosing) -> list[tuple[Scored, Cell]]:
    """The plain backbone first, then the static models as one family, then the methods."""
    plain = score_plain(cells.plain, task, depth)
    how: Any = choosing.how
    chooser = Chooser(plain.val("plain")[0], how, choosing.level)
    found = [(plain, cells.plain)]
    if cells.static:
        found.append((score_static(cells.static, task, depth, plain, chooser, choosing.targets), cells.plain))
    for cell in cells.methods:
        rule, pinned = rules(cell.label)
        scored = score_method(
            cell, rule, task, depth, chooser, choosing.targets, thresholds=choosing.thresholds, pinned=pinned
        )
        found.append((scored, cell))
    return found


def _blank(rows: list[Row], known: Known) -> list[Row]:
    """Rows without what nobody declared."""
    gone: set[str] = set()
    gone |= set() if known.parts else set(PARTS)
    gone |= set() if known.probabilities else set(PROBABLE)
    return [{name: value for name, value in row.items() if name not in gone} for row in rows]


def seeds_of(cells: Sequence[Cell]) -> list[SeedCells]:
    """Finished cells by seed, in the order they came.

    Raises:
        KeyError: a seed without its plain backbone.
    """
    found: dict[int, SeedCells] = {}
    plain = {cell.seed: cell for cell in cells if cell.label == BACKBONE}
    for cell in cells:
        here = found.setdefault(cell.seed, SeedCells(cell.seed, plain[cell.seed]))
        if cell.label.startswith(f"{STATIC}["):
            here.static[int(np.asarray(cell.facts["blocks"])[-1])] = cell
        elif cell.label != BACKBONE:
            here.methods.append(cell)
    return list(found.values())
