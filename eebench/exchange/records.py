"""What run.json says of a run that holds imported models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from eebench.exchange.beside import Neighbour
from eebench.exchange.card import VERSION, ModelCard
from eebench.exchange.cells import Imported
from eebench.exchange.scoring import Choosing, Known, SeedCells
from eebench.files import plain_values
from eebench.record import CellFacts, ImportFacts, RunRecord
from eebench.runs.cell import Cell
from eebench.runs.environment import describe
from eebench.schema import PROTOCOL_VERSION

__all__ = ["AS_DECLARED", "imported_record"]

AS_DECLARED = "imported, cost as declared"


def imported_record(
    found: Imported,
    choosing: Choosing,
    seeds: Sequence[SeedCells],
    known: Mapping[str, Known],
    curves: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    neighbour: Neighbour | None,
) -> RunRecord:
    """The record of a run of imported models, alone or beside another run's.

    Args:
        found: what was read.
        choosing: how operating points were chosen.
        seeds: every cell of the run.
        known: what was declared, by id of the imported cells.
        curves: rows of curves.csv, for the plain backbone's cost.
        notes: what a reader must know.
        neighbour: the run that the models stand beside.
    """
    card = found.card
    now = datetime.now(UTC).isoformat(timespec="seconds")
    labels = list(dict.fromkeys(cell.label for one in seeds for cell in one.methods))
    spec: dict[str, Any] = {
        "methods": labels,
        "backbone": card.backbone.name,
        "dataset": card.data.name,
        "seeds": [one.seed for one in seeds],
        "budget": "imported",
        "weights": card.backbone.weights,
        "targets": [target.name for target in choosing.targets],
        "choose": choosing.how,
        "level": choosing.level,
    }
    ids = [cell.id for one in seeds for cell in (one.plain, *one.static.values(), *one.methods)]
    digest = hashlib.sha256(repr([PROTOCOL_VERSION, spec, sorted(ids)]).encode()).hexdigest()
    short = [part.rstrip("/").rsplit("/", 1)[-1].replace(":", "-") for part in (card.data.name, card.backbone.name)]
    rules = {model.card.method: model.card.rule for model in found.models if not model.card.plain}
    facts = ImportFacts(format_version=VERSION, by=card.by, source=card.source, rules=rules)
    if neighbour is not None:
        return neighbour.record(
            spec, digest, "-".join([*short, "beside", digest[:8]]), facts, _facts(found, seeds, known), notes
        )
    split = hashlib.sha256(b"".join(a.trace.targets.tobytes() for a in (found.models[0].val, found.models[0].test)))
    plain = next(row for row in curves if row["kind"] == "plain" and row["split"] == "test")
    params = card.backbone.params
    values = {
        "protocol_version": PROTOCOL_VERSION,
        "run": "-".join([*short, "imported", digest[:8]]),
        "command": None,
        "spec": spec,
        "spec_sha256": digest,
        "started": now,
        "finished": now,
        "seconds": 0.0,
        "environment": describe("cpu"),
        "data": {
            "name": card.data.name,
            "modality": card.data.modality,
            "task": card.task.model_dump(),
            "n_train": card.data.n_train or 0,
            "n_val": len(found.models[0].val.trace.targets),
            "n_test": len(found.models[0].test.trace.targets),
            "split_sha256": card.data.split_sha256 or f"targets-{split.hexdigest()}",
            "content_sha256": card.data.content_sha256 or "unknown",
            "image_size": None,
            "patch_size": None,
            "channels": 0,
            "notes": [card.source] if card.source else [],
        },
        "backbone": {
            "name": card.backbone.name,
            "depth": card.backbone.depth,
            "params_m": 0.0 if params is None else params / 1e6,
            "gmacs": plain["gmacs"],
            "weights": card.backbone.weights,
            "weights_sha256": card.backbone.weights_sha256,
        },
        "macs": {"counter": card.counter or "unknown", "convention": AS_DECLARED},
        "cells": [cell.model_dump() for cell in _facts(found, seeds, known)],
        "notes": list(notes),
        "imported": facts.model_dump(),
    }
    return RunRecord.model_validate(plain_values(values))


def _facts(found: Imported, seeds: Sequence[SeedCells], known: Mapping[str, Known]) -> list[CellFacts]:
    """What run.json says of each imported cell; the neighbour's own are in its record."""
    cards = {(model.card.method, model.card.seed): model.card for model in found.models}
    cells = [cell for one in seeds for cell in (one.plain, *one.static.values(), *one.methods)]
    return [_cell_facts(cell, cards.get((cell.label, cell.seed))) for cell in cells if cell.id in known]


def _cell_facts(cell: Cell, card: ModelCard | None) -> CellFacts:
    params = cell.facts["params"]
    titled = (
        None if card is None or card.plain else {"title": f"{card.title or card.method.partition('[')[0]} (imported)"}
    )
    if titled is not None and card is not None:
        titled |= {name: value for name in ("paper", "link") if (value := getattr(card, name)) is not None}
    return CellFacts(
        id=cell.id, label=cell.label, method=cell.label, seed=cell.seed, status="done",
        params_m=None if params is None else params / 1e6, blocks=cell.facts["blocks"], phases=cell.facts["phases"],
        card=titled, recipe=AS_DECLARED,
    )  # fmt: skip
