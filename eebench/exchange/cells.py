"""Imported arrays as finished cells on disk: what every other part of eebench reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eebench.api import ExitRule
from eebench.engine.trace import Trace
from eebench.exchange.arrays import Arrays, read_split
from eebench.exchange.card import Card, ModelCard
from eebench.exchange.scoring import Known
from eebench.files import write_json
from eebench.measure.costs import Costs
from eebench.runs.cell import Cell
from eebench.runs.store import Store
from eebench.schema import BACKBONE

__all__ = ["Imported", "Model", "cell_name", "read_model", "same_samples", "stand_in", "write_cell"]


@dataclass(frozen=True)
class Model:
    """One model with the arrays of both splits."""

    card: ModelCard
    val: Arrays
    test: Arrays

    @property
    def known(self) -> Known:
        """What was declared of it."""
        both = (self.val, self.test)
        return Known(all(a.parts for a in both), all(a.probabilities for a in both))

    @property
    def fixed(self) -> bool:
        """Whether the cost of an exit alone was declared."""
        return self.val.fixed and self.test.fixed


@dataclass(frozen=True)
class Imported:
    """Everything read and checked."""

    card: Card
    models: list[Model]
    rules: dict[str, tuple[ExitRule, float | None]]
    notes: list[str]


def read_model(folder: Path, card: Card, model: ModelCard, rule: ExitRule | None) -> Model:
    """Read and check one model's arrays."""
    return Model(model, *(read_split(folder, split, card, model, rule) for split in ("val", "test")))


def stand_in(model: Model) -> Model:
    """The plain backbone where nobody brought one: the model's last exit, at the backbone's own cost."""
    card = model.card.model_copy(update={"method": BACKBONE, "blocks": model.card.blocks[-1:], "params_exits": [0]})
    return Model(card, _last(model.val), _last(model.test))


def _last(arrays: Arrays) -> Arrays:
    trace = arrays.trace
    columns = ("prediction", "confidence", "target_probability", "nll", "brier")
    logits = None if arrays.logits is None else arrays.logits[-1:]
    alone: dict[str, Any] = {name: getattr(trace, name)[:, -1:] for name in columns}
    plain = arrays.costs.plain
    nothing = np.zeros_like(plain)
    costs = Costs(plain, nothing, nothing, plain, plain)
    trace = replace(trace, blocks=trace.blocks[-1:], seen={}, logits=logits, **alone)
    return replace(arrays, trace=trace, costs=costs, logits=logits, parts=True, fixed=True)


def cell_name(label: str, seed: int, digest: str) -> str:
    """Name of a cell, as a run's own are named."""
    slug = "".join(c if c.isalnum() or c in "_-." else "-" for c in label).strip("-")[:60]
    return f"{slug}-s{seed}-{digest[:12]}"


def write_cell(store: Store, model: Model) -> Cell:
    """Write a model as a finished cell: traces, costs, logits where they were given, facts; no weights."""
    card = model.card
    digest = hashlib.sha256(card.model_dump_json().encode())
    for arrays in (model.val, model.test):
        for values in (arrays.trace.targets, arrays.trace.prediction, arrays.trace.confidence, arrays.costs.total):
            digest.update(np.ascontiguousarray(values).tobytes())
    cell_id = cell_name(card.method, card.seed, digest.hexdigest())
    phases = [{"phase": "imported", "epochs": 0, "sees_validation": True}] if card.sees_validation else []
    each = card.params_exits if card.params_exits is not None else [None] * len(card.blocks)
    facts = {"id": cell_id, "label": card.method, "seed": card.seed, "params": card.params, "params_exits": each}
    about = {"blocks": card.blocks, "phases": phases, "uncounted": {}, "seconds": 0.0}
    about["declared"] = {"parts": model.known.parts, "fixed": model.fixed}
    with store.writing(cell_id) as folder:
        for split, arrays in (("val", model.val), ("test", model.test)):
            arrays.trace.save(folder, split)
            np.savez(folder / f"costs-{split}.npz", **vars(arrays.costs))
            if arrays.logits is not None:
                np.save(folder / f"logits-{split}.npy", arrays.logits)
        write_json(folder / "cell.json", facts | about)
    return Cell(cell_id, card.method, card.seed, store.path / "cells" / cell_id, 0.0, reused=False)


def same_samples(first: Trace, second: Trace) -> bool:
    """Whether two traces are about the same samples in the same order."""
    return first.targets.shape == second.targets.shape and bool((first.targets == second.targets).all())
