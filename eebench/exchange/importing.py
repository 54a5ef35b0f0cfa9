"""``eebench import``: predictions of models that eebench never ran become an ordinary run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eebench.api import ExitRule, Task
from eebench.errors import UserError, did_you_mean
from eebench.exchange.beside import Neighbour
from eebench.exchange.card import Card, ModelCard, read_card
from eebench.exchange.cells import Imported, Model, read_model, same_samples, stand_in, write_cell
from eebench.exchange.records import AS_DECLARED, imported_record
from eebench.exchange.scoring import Choosing, Known, SeedCells, score_cells
from eebench.plugins.registry import Registry
from eebench.runs.choose import default_targets
from eebench.runs.imported import METHOD, RULES
from eebench.runs.store import Store
from eebench.schema import BACKBONE, STATIC, TABLES
from eebench.targets import Target

__all__ = ["import_predictions", "make_cells", "read_predictions", "task_of_card"]


def import_predictions(
    folder: str | Path,
    *,
    results: str | Path = "results",
    targets: Sequence[str] | None = None,
    choose: str = "upper",
    level: float = 0.9,
    beside: str | Path | None = None,
    registry: Registry | None = None,
) -> Path:
    """Make a run of predictions that others computed: curves, operating points, calibration, prediction sets.

    The format is docs/predictions.md: a ``card.json``, and for each model ``val.npz`` and ``test.npz``. Knobs are
    chosen on ``val`` and scored on ``test`` by the functions that score eebench's own runs. Where no plain backbone is
    among the models, the first method's last exit stands for it, at the cost that the card declares.

    Args:
        folder: with the card.
        results: folder of run directories.
        targets: what operating points are chosen for, not milliseconds; by default those of ``beside``, or what the
            validation samples can certify.
        choose: ``upper`` or ``naive``.
        level: of the upper bound.
        beside: a finished run on the very samples: its models and the imported ones become one run.
        registry: where methods come from whose rule a model names; the installed ones when not given.

    Returns:
        The run directory.

    Raises:
        UserError: anything wrong with the input; nothing is written then.
    """
    folder, results = Path(folder), Path(results)
    if not 0.5 < level < 1:
        raise UserError(f"--level: {level:g} must lie between 0.5 and 1")
    found = read_predictions(folder, registry)
    neighbour = None if beside is None else Neighbour.open(Path(beside), registry)
    if targets is None:
        targets = default_targets(len(found.models[0].val.trace.targets), level)
        targets = targets if neighbour is None else neighbour.targets
    wanted = [Target.parse(name) for name in targets]
    if any(target.kind == "ms" for target in wanted):
        raise UserError("--targets: predictions know no milliseconds; use drop_ and macs_ targets")
    if choose not in ("upper", "naive"):
        raise UserError(f"--choose: '{choose}' is not one of upper, naive")
    if neighbour is not None:
        neighbour.check(found.card, found.models)
    choosing = Choosing(wanted, choose, level)
    if results.exists() and not results.is_dir():
        raise UserError(f"output directory {results} is a file")
    try:
        results.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".import-", dir=results))
    except OSError as error:
        raise UserError(f"output directory {results} cannot be written to: {error.strerror}") from None
    try:
        store = Store(stage, "run")
        path = results / _write(store, found, choosing, neighbour)
        if path.exists():
            shutil.rmtree(path)
        os.replace(store.path, path)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return path


def read_predictions(folder: Path, registry: Registry | None) -> Imported:
    """Read a folder of predictions and check all of it.

    Raises:
        UserError: anything wrong with it.
    """
    card = read_card(folder)
    rules = {model.method: _rule(model, card, registry) for model in card.models if not model.plain}
    models = [read_model(folder, card, model, None if model.plain else rules[model.method][0]) for model in card.models]
    first = models[0]
    for model in models:
        where = f"{model.card.method} seed {model.card.seed}"
        if same_samples(model.val.trace, model.test.trace) and np.array_equal(
            model.val.trace.confidence, model.test.trace.confidence
        ):
            raise UserError(f"{where}: val.npz and test.npz hold the same samples; knobs are chosen on other ones")
        for split in ("val", "test"):
            if not same_samples(getattr(model, split).trace, getattr(first, split).trace):
                raise UserError(f"{where}: its {split} targets are not those of {first.card.method}")
    return Imported(card, models, rules, _notes(card, models))


def _rule(model: ModelCard, card: Card, registry: Registry | None) -> tuple[ExitRule, float | None]:
    if model.rule == METHOD:
        (chosen,) = (registry or Registry.installed()).choose(model.method)
        return chosen.rule(task_of_card(card)), chosen.pinned
    if model.rule not in RULES:
        known = (*RULES, METHOD)
        raise UserError(f"card.json: {model.method}: no rule '{model.rule}'{did_you_mean(model.rule, known)}")
    if card.task.kind == "regression" and model.rule != "scores":
        raise UserError(f"card.json: {model.method}: rule '{model.rule}' needs classes; on a regression use scores")
    return RULES[model.rule](), None


def task_of_card(card: Card) -> Task:
    """The task of a card."""
    task = card.task
    return Task(task.kind, task.classes, task.metric, tuple(task.labels))


def _notes(card: Card, models: Sequence[Model]) -> list[str]:
    methods = [model for model in models if not model.card.plain]
    names = ", ".join(dict.fromkeys(model.card.method for model in methods))
    by = f" by {card.by}" if card.by else ""
    notes = [f"{AS_DECLARED}{by}: {names}; eebench neither trained nor ran nor counted them"]
    if not all(model.known.parts for model in methods):
        notes.append("what backbone, heads and gates cost apart was not declared and is left empty")
    if not all(model.fixed for model in methods):
        notes.append("what an exit costs alone was not declared: fixed depth pays for the exits before it as well")
    return notes


def _write(store: Store, found: Imported, choosing: Choosing, neighbour: Neighbour | None) -> str:
    """Write the run; returns its name."""
    card = found.card
    notes = list(found.notes)
    cells, known = make_cells(store, found, neighbour, notes)
    rules = dict(found.rules)
    if neighbour is not None:
        rules |= neighbour.rules
    tables = score_cells(cells, task_of_card(card), card.backbone.depth, rules.__getitem__, choosing, known)
    if neighbour is not None:
        neighbour.add_timings(tables)
    record = imported_record(found, choosing, cells, known, tables["curves"], notes, neighbour)
    store.publish({name: tables.get(name, []) for name in TABLES}, {}, record)
    return record.run


def make_cells(
    store: Store, found: Imported, neighbour: Neighbour | None, notes: list[str]
) -> tuple[list[SeedCells], dict[str, Known]]:
    """Every model as a cell, by seed."""
    seeds: dict[int, SeedCells] = {} if neighbour is None else neighbour.seeds(store.path / "cells")
    known: dict[str, Known] = {}
    by_seed: dict[int, list[Model]] = {}
    for model in found.models:
        by_seed.setdefault(model.card.seed, []).append(model)
    for seed, models in by_seed.items():
        if seed not in seeds:
            plain = next((model for model in models if model.card.method == BACKBONE), None)
            if plain is None:
                first = next((model for model in models if not model.card.plain), None)
                if first is None:
                    raise UserError(f"seed {seed} has neither a plain backbone nor a method to stand for it")
                plain = stand_in(first)
                notes.append(
                    f"seed {seed} came without a plain backbone: the last exit of {first.card.method} stands for it,"
                    " at the backbone's declared cost"
                )
            seeds[seed] = SeedCells(seed, write_cell(store, plain))
            known[seeds[seed].plain.id] = plain.known
        for model in models:
            label = model.card.method
            if label == BACKBONE:
                continue
            cell = write_cell(store, model)
            known[cell.id] = model.known
            if label.startswith(f"{STATIC}["):
                seeds[seed].static[model.card.blocks[-1]] = cell
            else:
                seeds[seed].methods.append(cell)
    return list(seeds.values()), known
