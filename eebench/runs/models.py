"""A trained model of a seed as a run reads it: its scores, its rows of the tables, and how it is timed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from eebench.measure.frontier import Frontier
from eebench.plugins.chosen import Chosen
from eebench.runs.cell import Cell
from eebench.runs.effort import training_row
from eebench.runs.prepare import Prepared
from eebench.runs.score import Point
from eebench.runs.summaries import table_rows
from eebench.runs.tables import Scored
from eebench.runs.timings import expected_of
from eebench.runs.workshop import open_model, open_static
from eebench.schema import STATIC, static_path
from eebench.timing.entrant import Entrant

__all__ = ["Model"]


@dataclass
class Model:
    """One trained model of a seed (or the static models, as one family) with its scores."""

    scored: Scored
    cell: Cell
    chosen: Chosen | None = None
    static: dict[int, Cell] = field(default_factory=dict)

    def rows(
        self, plain: Scored, frontier: tuple[Frontier, list[Point]], samples: int
    ) -> dict[str, list[dict[str, Any]]]:
        """Its rows, by table.

        Args:
            plain: the plain backbone's scores.
            frontier: what a budget buys without early exit.
            samples: that train.
        """
        training = [training_row(cell, samples) for cell in self.static.values() or [self.cell]]
        return table_rows(self.scored, self.cell, plain, frontier) | {"training": training}

    def entrants(self, prepared: Prepared) -> list[Entrant]:
        """Who is timed, and on what."""
        scored = self.scored
        knobs = {c.target: float(c.test.knob or 0.0) for c in scored.chosen.get("dynamic", [])}
        fixed = {c.target: int(c.test.knob or 0) for c in scored.chosen.get("fixed", [])}
        if self.chosen is not None:
            net, rule = open_model(prepared, self.cell, self.chosen.method), self.chosen.rule(prepared.data.task)
            return [Entrant(scored.label, net, rule, knobs, fixed, expected=expected_of(scored))]
        if self.static:
            expected = expected_of(scored)
            return [
                Entrant(STATIC, open_static(prepared, cell, blocks), None, {}, {}, static_path(blocks), expected)
                for blocks, cell in self.static.items()
            ]
        return [Entrant(scored.label, open_model(prepared, self.cell, None), None, {}, {})]
