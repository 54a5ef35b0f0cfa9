"""``eebench export-predictions``: a run's predictions in the format that ``eebench import`` reads."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eebench.errors import UserError, did_you_mean
from eebench.exchange.beside import finished_cells
from eebench.exchange.card import CARD, FORMAT, VERSION, Card, ModelCard
from eebench.files import write_json
from eebench.measure.costs import Costs
from eebench.plugins.registry import Registry
from eebench.record import RunRecord, read_record
from eebench.rules import Confidence, Entropy
from eebench.runs.cell import Cell
from eebench.runs.imported import METHOD, rule_of
from eebench.schema import BACKBONE, STATIC

__all__ = ["export_predictions"]


def export_predictions(
    run: str | Path,
    out: str | Path,
    *,
    methods: Sequence[str] | None = None,
    logits: bool = True,
    by: str | None = None,
    registry: Registry | None = None,
) -> Path:
    """Write what the exits of a run's models said, and what they cost, for others to read.

    The plain backbone and the static models go along, so that an import gives the run's own numbers.

    Args:
        run: a run directory with its cells.
        out: a folder that does not exist yet, or is empty.
        methods: labels in the run; every finished one when not given.
        logits: write logits where the run kept them; without them temperatures and prediction sets are lost.
        by: who stands for the numbers.
        registry: where methods come from; the installed ones when not given.

    Returns:
        The folder.

    Raises:
        UserError: no run, no such method in it, arrays that are not there, or an output folder that holds something.
    """
    run, out = Path(run), Path(out)
    record = read_record(run)
    wanted = _wanted(record, methods)
    cells = finished_cells(run, record, wanted)
    empty_folder(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        write_predictions(stage, record, cells, logits=logits, by=by, registry=registry)
        stage.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(stage, out)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return out


def empty_folder(out: Path) -> None:
    """Refuse to write over anything.

    Raises:
        UserError: ``out`` is a file or holds something, or cannot be written to.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; name a new folder")
    parent = out
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{out} cannot be written to")


def _wanted(record: RunRecord, methods: Sequence[str] | None) -> list[str]:
    done = list(dict.fromkeys(cell.label for cell in record.cells if cell.status == "done"))
    own = [label for label in done if label != BACKBONE and not label.startswith(f"{STATIC}[")]
    if methods is None:
        chosen = own
    else:
        for label in methods:
            if label not in own:
                raise UserError(f"the run has no finished method '{label}'{did_you_mean(label, own)}")
        chosen = list(methods)
    if not chosen:
        raise UserError("the run has no finished method")
    return [label for label in done if label not in own or label in chosen]


def write_predictions(
    folder: Path,
    record: RunRecord,
    cells: Sequence[Cell],
    *,
    logits: bool,
    by: str | None,
    registry: Registry | None,
) -> Card:
    """Fill a folder with the card and arrays of some cells."""
    models = []
    cards = {cell.label: cell.card or {} for cell in record.cells}
    plain = next(cell for cell in cells if cell.label == BACKBONE)
    for cell in cells:
        place = folder / cell.id
        place.mkdir()
        for split in ("val", "test"):
            _write_split(place / f"{split}.npz", cell, split, logits, record)
        models.append(_model(cell, record, cards[cell.label], registry))
    data = record.data
    backbone = {"name": record.backbone.name, "depth": record.backbone.depth, "macs": 1e9 * record.backbone.gmacs}
    backbone |= {"params": plain.facts["params"], "weights": record.backbone.weights}
    values: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "by": by,
        "source": f"run {record.run}",
        "counter": record.macs.counter,
        "task": data.task.model_dump(),
        "data": {
            "name": data.name,
            "modality": data.modality,
            "split_sha256": data.split_sha256,
            "content_sha256": data.content_sha256,
            "n_train": data.n_train,
        },
        "backbone": backbone | {"weights_sha256": record.backbone.weights_sha256},
        "models": [model.model_dump(exclude_none=True) for model in models],
    }
    card = Card.model_validate(values)
    write_json(folder / CARD, card.model_dump(mode="json", exclude_none=True))
    return card


def _model(cell: Cell, record: RunRecord, card: dict[str, Any], registry: Registry | None) -> ModelCard:
    facts, costs = cell.facts, cell.costs("test")
    values: dict[str, Any] = {"method": cell.label, "seed": cell.seed, "folder": cell.id, "blocks": facts["blocks"]}
    each = facts["params_exits"]
    values |= {"params": facts["params"], "params_exits": None if None in each else each}
    if len(costs.total) == 1:
        values |= {name: column[0].tolist() for name, column in _costs(cell, costs).items() if name != "macs_plain"}
    values["sees_validation"] = any(phase.get("sees_validation") for phase in facts["phases"])
    if cell.label != BACKBONE and not cell.label.startswith(f"{STATIC}["):
        rule, pinned = rule_of(record, cell.label, registry)
        named = None if record.imported is None else record.imported.rules.get(cell.label)
        simple = {"Confidence": "confidence", "Entropy": "entropy"} if pinned is None else {}
        own = type(rule).__name__ if type(rule) in (Confidence, Entropy) else ""
        values["rule"] = named or simple.get(own, METHOD)
        values |= {
            name: str(card[name]).removesuffix(" (imported)") for name in ("title", "paper", "link") if card.get(name)
        }
    return ModelCard.model_validate(values)


def _costs(cell: Cell, costs: Costs) -> dict[str, np.ndarray]:
    """Costs by their names in the format; of an imported model just what was declared."""
    declared = cell.facts.get("declared", {"parts": True, "fixed": True})
    found = {"macs": costs.total, "macs_plain": costs.plain}
    if declared["parts"]:
        found |= {"macs_backbone": costs.backbone, "macs_heads": costs.heads, "macs_gates": costs.gates}
    return found | ({"macs_fixed": costs.static} if declared["fixed"] else {})


def _write_split(path: Path, cell: Cell, split: str, logits: bool, record: RunRecord) -> None:
    trace, costs = cell.trace(split), cell.costs(split)
    arrays: dict[str, np.ndarray] = {"ids": trace.ids, "targets": trace.targets, "predictions": trace.prediction}
    if record.data.task.kind == "classification":
        arrays |= {"confidences": trace.confidence, "target_probability": trace.target_probability}
        arrays |= {"nll": trace.nll, "brier": trace.brier}
        arrays = {name: values for name, values in arrays.items() if not np.isnan(values).any()}
        if logits and trace.logits is not None:
            arrays["logits"] = np.asarray(trace.logits).transpose(1, 0, 2)
    arrays |= {f"seen_{name}": values for name, values in trace.seen.items()}
    if len(costs.total) > 1:
        per_sample = {name: values for name, values in _costs(cell, costs).items() if name != "macs_plain"}
        arrays |= per_sample | {"macs_plain": costs.plain[:, 0]}
    np.savez_compressed(path, allow_pickle=False, **arrays)
