"""``--dry-run``: what a run would do, and about how long it would take. Nothing is trained, nothing is written."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from eebench.api import Task
from eebench.data.base import Batch, steps
from eebench.engine.accumulate import accumulate
from eebench.engine.features import lengths_of
from eebench.engine.model import EarlyExitModel, assemble
from eebench.engine.train import trains_backbone
from eebench.plugins.registry import Registry
from eebench.runs.fingerprint import method_sha256
from eebench.runs.prepare import Prepared, prepare
from eebench.runs.spec import RunSpec
from eebench.schema import BACKBONE, static_label

__all__ = ["print_estimate"]

FROZEN_SHARE = 0.35  # a batch whose backbone is frozen, against one that trains it: no backward pass through the blocks


def print_estimate(spec: RunSpec, registry: Registry, results: Path) -> None:
    """Print cells, phases, epochs and an estimate of the training time from a few timed batches."""
    prepared = prepare(spec, registry)
    spec = prepared.spec
    console = Console(markup=False)  # labels have square brackets of their own
    data = prepared.data
    console.print(f"run {spec.run_name}", highlight=False)
    console.print(
        f"{data.name}: {len(data.train)} train, {len(data.val)} validation, {len(data.test)} test samples; "
        f"{data.task.kind}, {data.task.metric}; seeds {list(spec.seeds)}; budget {spec.budget}; {prepared.device}",
        highlight=False,
    )
    per_batch = _seconds_a_batch(prepared)
    backbone = prepared.backbone()
    width = max(layout.dim for layout in backbone.layouts)
    per_sample = per_batch / min(prepared.common_recipe(width).batch_size, len(data.train))
    table = Table("cell", "phase", "trains", "epochs", "about")
    total = 0.0
    common = prepared.common_recipe(width)
    cells = [(BACKBONE, BACKBONE, "", [("backbone", True, common)])]
    shallow = {static_label(b): b / prepared.depth for b in spec.static_blocks(prepared.depth)}  # of a batch's time
    for blocks in spec.static_blocks(prepared.depth):
        whole = blocks == prepared.depth
        epochs = prepared.method_epochs() + (0 if whole else common.epochs)
        recipe = replace(common, epochs=epochs)
        cells.append((static_label(blocks), static_label(blocks), "", [("alone", True, recipe)]))
    for chosen in prepared.methods:
        if chosen.label in prepared.skips:
            table.add_row(chosen.label, f"skipped: {prepared.skips[chosen.label]}", "", "", "")
            continue
        model = assemble(chosen.method, backbone, data.task)
        stage = prepared.backbone_stage(chosen)
        phases = [] if isinstance(stage, str) else [("the backbone's own stage", True, stage)]
        own = prepared.recipes(chosen, chosen.method.phases(data.task), width)
        phases += [(p.name, trains_backbone(model, p), recipe) for p, recipe in own]
        cells.append((chosen.label, chosen.trained, method_sha256(type(chosen.method)), phases))
    for label, trained, code, phases in cells:
        done = [s for s in spec.seeds if _exists(results, prepared.cell_id(trained, s, code))]
        for name, whole, recipe in phases:
            trials = max(0, (spec.search or 0) - 1) if code else 0  # one of them trains the method on the first seed
            passes = recipe.epochs * (len(spec.seeds) - len(done) + trials)
            share = (shallow.get(label, 1.0) if whole else FROZEN_SHARE) * per_sample
            seconds = passes * len(data.train) * share
            total += seconds
            note = "finished" if len(done) == len(spec.seeds) else f"{seconds:.0f} s"
            table.add_row(label, name, "backbone and exits" if whole else "exits", str(recipe.epochs), note)
    console.print(table)
    console.print(
        f"about {total / 60:.1f} minutes of training (timed batches: {per_batch * 1e3:.0f} ms each), then tracing and "
        "latency; nothing was started",
        highlight=False,
    )


def _exists(results: Path, cell_id: str) -> bool:
    return any(results.glob(f"*/cells/{cell_id}/cell.json"))


def _seconds_a_batch(prepared: Prepared) -> float:
    """Seconds of one training step of the plain backbone: the median of three, after one to warm up."""
    torch.manual_seed(0)
    model = EarlyExitModel(prepared.backbone(), {}).to(prepared.device).train()
    size = prepared.common_recipe(max(layout.dim for layout in model.backbone.layouts)).batch_size
    train, lengths = prepared.data.train, lengths_of(model.backbone, prepared.data.train)
    parts = next(steps(train, model.backbone.prepare, size, device=prepared.device, seed=0, lengths=lengths))
    times = []
    for _ in range(4):
        start = time.perf_counter()
        loss, _ = accumulate(parts, lambda b: _loss(model, prepared.data.task, b), model.zero_grad)
        float(loss)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[1]


def _loss(model: EarlyExitModel, task: Task, batch: Batch) -> Tensor:
    return task.loss(model.trace(batch.inputs)[-1].logits, batch.targets).mean()
