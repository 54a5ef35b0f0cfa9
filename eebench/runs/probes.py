"""Trained models on other inputs than their splits': knobs stay as they were chosen, traces are kept to go on with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from eebench.engine.costing import Costing
from eebench.engine.trace import Trace, collect
from eebench.manifest import sha256
from eebench.measure.costs import Costs
from eebench.measure.replay import replay
from eebench.runs.score import Evaluation, Point
from eebench.runs.workshop import NEVER, open_model, open_static

if TYPE_CHECKING:
    from eebench.api import ExitRule
    from eebench.data.base import Split
    from eebench.engine.model import EarlyExitModel
    from eebench.plugins.chosen import Chosen
    from eebench.runs.cell import Cell
    from eebench.runs.prepare import Prepared
    from eebench.runs.store import Store
    from eebench.runs.tables import Scored

__all__ = ["Chose", "Subject", "subjects"]


@dataclass(frozen=True)
class Chose:
    """An operating point as it was chosen."""

    target: str
    val: Point
    test: Point


class HasCells(Protocol):
    """What is known of a model of a seed, or of the static models as one family."""

    scored: Scored
    cell: Cell
    chosen: Chosen | None
    static: dict[int, Cell]


@dataclass(frozen=True)
class Subject:
    """One trained model, its operating points, and how to run it."""

    scored: Scored
    kind: str  # plain, static or dynamic
    cell: Cell
    points: tuple[Chose, ...]
    rule: ExitRule
    prepared: Prepared
    opened: Callable[[], EarlyExitModel]

    @cached_property
    def model(self) -> EarlyExitModel:
        """In eval mode, on the run's device."""
        return self.opened().to(self.prepared.device)

    def release(self) -> None:
        """Let go of the network: a run's models together may need more memory than there is."""
        for name in ("model", "_counter"):
            vars(self).pop(name, None)

    @cached_property
    def _counter(self) -> Costing:
        return Costing(copy.deepcopy(self.model).cpu(), self.prepared.data)

    def costs(self, split: Split) -> Costs:
        """MACs per exit: of an image those of any other, of texts as their lengths are."""
        return self._counter(split)[0] if self.prepared.data.modality == "text" else self.cell.costs("test")

    def traced(self, store: Store, kind: str, name: str, split: Callable[[], Split]) -> tuple[Trace, Costs]:
        """The trace of other inputs, kept from before or made now.

        Args:
            store: where the run lies.
            kind: folder of traces of this kind, with one a trained model.
            name: of these inputs.
            split: makes them, where there is no trace yet.

        Raises:
            DamagedError: the one that is kept is not as it was written, and the store repairs nothing.
        """
        model = f"{self.cell.id}-{sha256(self.cell.weights)[:12]}"  # trained again it is another one
        unit = f"{kind}/{model}/{name}"
        kept = store.beside(unit)
        if kept is not None:
            with np.load(kept / "costs.npz", allow_pickle=False) as file:
                costs = Costs(**{column: file[column] for column in file.files})
            return Trace.load(kept, name), costs
        inputs = split()
        task, device = self.prepared.data.task, self.prepared.device
        trace, costs = collect(self.model, self.rule, inputs, task, device=device), self.costs(inputs)
        with store.writing_beside(unit) as making:
            np.savez(making / "costs.npz", **vars(costs))
            trace.save(making, name)
        return trace, costs

    def point(self, chose: Chose, trace: Trace, costs: Costs, plain: float | None = None) -> Point:
        """An operating point read on another trace.

        Args:
            chose: the point; its knob stays.
            trace: of the other inputs.
            costs: theirs.
            plain: 10^9 MACs of the plain backbone on them; what the costs say when not given.
        """
        prepared = self.prepared
        of = Evaluation(trace, costs, prepared.data.task, prepared.depth, plain)
        knob = chose.test.knob
        if self.kind != "dynamic":
            return of.point(self.kind, knob, of.everyone_at(0))
        assert knob is not None
        return of.point(self.kind, knob, replay(self.rule, trace.seen, knob))


def subjects(prepared: Prepared, models: Sequence[HasCells]) -> list[Subject]:
    """Every model of a seed whose operating points are in the tables, the plain backbone first."""
    found = []
    for model in models:
        scored = model.scored
        if model.chosen is not None:
            rule, opened = model.chosen.rule(prepared.data.task), partial(_open, prepared, model.cell, model.chosen)
            points = tuple(Chose(c.target, c.val, c.test) for c in scored.chosen["dynamic"])
            found.append(Subject(scored, "dynamic", model.cell, points, rule, prepared, opened))
        elif model.static:
            found += _static(prepared, scored, model.static)
        else:
            points = tuple(Chose("plain", *p) for p in zip(scored.val("plain"), scored.test("plain"), strict=True))
            found.append(
                Subject(scored, "plain", model.cell, points, NEVER, prepared, partial(_open, prepared, model.cell))
            )
    return found


def _static(prepared: Prepared, scored: Scored, cells: Mapping[int, Cell]) -> list[Subject]:
    found = []
    for blocks, cell in cells.items():
        mine = [c for c in scored.chosen["static"] if c.test.knob == blocks]
        points = tuple(Chose(c.target, c.val, c.test) for c in mine)
        if points:
            opened = partial(open_static, prepared, cell, blocks)
            found.append(Subject(scored, "static", cell, points, NEVER, prepared, opened))
    return found


def _open(prepared: Prepared, cell: Cell, chosen: Chosen | None = None) -> EarlyExitModel:
    return open_model(prepared, cell, None if chosen is None else chosen.method)
