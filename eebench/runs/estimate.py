"""``--dry-run``: what a run would do, about how long it would take, and in how much memory.

Nothing is trained, nothing is written.
"""

from __future__ import annotations

import copy
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from eebench.api import Backbone, Task
from eebench.data.base import Batch, steps
from eebench.engine.accumulate import accumulate
from eebench.engine.features import lengths_of
from eebench.engine.memory import Memory, estimate_memory
from eebench.engine.model import EarlyExitModel, assemble
from eebench.engine.train import trains_backbone
from eebench.plugins.registry import Registry
from eebench.runs.fingerprint import method_sha256
from eebench.runs.prepare import Prepared, prepare
from eebench.runs.spec import RunSpec
from eebench.schema import BACKBONE, static_label

__all__ = ["Estimate", "estimate", "needs", "print_estimate", "print_run"]

FEW = (2, 8)  # samples of steps that say how long one of many takes
PATIENCE = 4.0  # seconds that timing whole training steps may take
FROZEN_SHARE = 0.35  # a batch whose backbone is frozen, against one that trains it: no backward pass through the blocks


@dataclass
class Estimate:
    """What is left of a run, and about what it takes."""

    rows: list[tuple[str, ...]] = field(
        default_factory=list
    )  # cell, phase, what is trained, epochs, time or state, memory
    seconds: float = 0.0  # of training
    per_batch: float = 0.0  # seconds of one training step, measured
    disk: int = 0  # bytes: weights and traces of cells that are not finished
    memory: int = 0  # bytes at most: the process with its libraries and data, or the GPU, and the largest phase
    cells: int = 0
    done: int = 0  # of them


def print_estimate(spec: RunSpec, registry: Registry, results: Path) -> None:
    """Print cells, phases, epochs and an estimate of training time, disk and memory; say meanwhile what is done."""
    console = Console(markup=False)  # labels have square brackets of their own
    console.print(f"reading {spec.dataset}, building {spec.backbone}", highlight=False)
    prepared = prepare(spec, registry)
    found = print_run(prepared, results, console)
    console.print(
        f"about {found.seconds / 60:.1f} minutes of training (timed batches: {found.per_batch * 1e3:.0f} ms each), then"
        f" tracing and latency; {needs(found)}; nothing was started",
        highlight=False,
    )


def print_run(prepared: Prepared, results: Path, console: Console) -> Estimate:
    """Print one run's cells, and estimate what they take."""
    spec, data = prepared.spec, prepared.data
    console.print(f"run {spec.run_name}", highlight=False)
    console.print(
        f"{data.name}: {len(data.train)} train, {len(data.val)} validation, {len(data.test)} test samples; "
        f"{data.task.kind}, {data.task.metric}; seeds {list(spec.seeds)}; budget {spec.budget}; {prepared.device}",
        highlight=False,
    )
    console.print("counting cells, timing a few training steps", highlight=False)
    found = estimate(prepared, results)
    columns = ("cell", "phase", "trains", "epochs", "about", "memory")
    table = Table(*columns, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)  # narrow
    for row in found.rows:
        table.add_row(*row)
    console.print(table)
    return found


def needs(found: Estimate) -> str:
    """Disk and memory in words."""
    return f"{found.disk / 2**20:.0f} MiB on disk, {found.memory / 2**30:.1f} GiB of memory"


def estimate(prepared: Prepared, results: Path) -> Estimate:
    """What the cells that are not finished take, from a few timed batches."""
    spec, data, found = prepared.spec, prepared.data, Estimate()
    before = _memory(prepared.device)
    backbone = prepared.backbone()
    found.per_batch = per_batch = _seconds_a_batch(prepared, backbone)
    found.memory = _memory(prepared.device)
    width = max(layout.dim for layout in backbone.layouts)
    per_sample = per_batch / min(prepared.common_recipe(width).batch_size, len(data.train))
    common = prepared.common_recipe(width)
    whole = _bytes(backbone)
    plain = EarlyExitModel(backbone, {})
    cells = [(BACKBONE, BACKBONE, "", plain, [("backbone", True, common)], whole + _trace_bytes(prepared, 1))]
    shallow = {static_label(b): b / prepared.depth for b in spec.static_blocks(prepared.depth)}  # of a batch's time
    for blocks in spec.static_blocks(prepared.depth):
        epochs = prepared.method_epochs() + (0 if blocks == prepared.depth else common.epochs)
        recipe = replace(common, epochs=epochs)
        label = static_label(blocks)
        size = int(whole * shallow[label]) + _trace_bytes(prepared, 1)
        small = plain if blocks == prepared.depth else EarlyExitModel(copy.deepcopy(backbone).shorten(blocks), {})
        cells.append((label, label, "", small, [("alone", True, recipe)], size))
    for chosen in prepared.methods:
        if chosen.label in prepared.skips:
            found.rows.append((chosen.label, f"skipped: {prepared.skips[chosen.label]}", "", "", "", ""))
            continue
        model = assemble(chosen.method, backbone, data.task)
        stage = prepared.backbone_stage(chosen)
        phases = [] if isinstance(stage, str) else [("the backbone's own stage", True, stage)]
        own = prepared.recipes(chosen, chosen.method.phases(data.task), width)
        phases += [(p.name, trains_backbone(model, p), recipe) for p, recipe in own]
        size = _bytes(model) + _trace_bytes(prepared, len(model.blocks))
        cells.append((chosen.label, chosen.trained, method_sha256(type(chosen.method)), model, phases, size))
    known: dict[tuple[int, int], Memory] = {}  # models stay in the list, so their addresses are theirs
    for label, trained, code, model, phases, size in cells:
        done = [s for s in spec.seeds if _exists(results, prepared.cell_id(trained, s, code))]
        left = len(spec.seeds) - len(done)
        found.cells, found.done = found.cells + len(spec.seeds), found.done + len(done)
        found.disk += left * size
        for name, trains_all, recipe in phases:
            trials = max(0, (spec.search or 0) - 1) if code else 0  # one of them trains the method on the first seed
            passes = recipe.epochs * (left + trials)
            share = (shallow.get(label, 1.0) if trains_all else FROZEN_SHARE) * per_sample
            seconds = passes * len(data.train) * share
            found.seconds += seconds
            note = f"{seconds:.0f} s" if left else "finished"
            if (id(model), recipe.batch_size) not in known:
                known[id(model), recipe.batch_size] = estimate_memory(model, data, recipe.batch_size)
            memory = known[id(model), recipe.batch_size]
            needed = memory.training if trains_all else memory.frozen
            found.memory = max(found.memory, before + needed)
            trains = "everything" if trains_all else "exits"
            found.rows.append((label, name, trains, str(recipe.epochs), note, f"{needed / 2**20:,.0f} MiB"))
    return found


def _bytes(model: torch.nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def _trace_bytes(prepared: Prepared, exits: int) -> int:
    """Logits of every exit, and some ten numbers beside them, of the two splits that are traced."""
    data = prepared.data
    return 4 * (len(data.val) + len(data.test)) * exits * (data.task.outputs + 10)


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _exists(results: Path, cell_id: str) -> bool:
    return any(results.glob(f"*/cells/{cell_id}/cell.json"))


def _seconds_a_batch(prepared: Prepared, backbone: Backbone) -> float:
    """Seconds of one training step of the plain backbone, by the median of three after one to warm up.

    Where these would take too long it is what steps of 2 and of 8 samples say: a part that is the same for any number
    of samples, and one that grows with it.
    """
    torch.manual_seed(0)
    model = EarlyExitModel(backbone, {}).to(prepared.device).train()
    train, lengths = prepared.data.train, lengths_of(model.backbone, prepared.data.train)
    size = prepared.common_recipe(max(layout.dim for layout in model.backbone.layouts)).batch_size
    whole = min(size, len(train))

    def seconds(size: int, times: int) -> float:
        parts = next(steps(train, model.backbone.prepare, size, device=prepared.device, seed=0, lengths=lengths))
        taken = []
        for _ in range(times):
            start = time.perf_counter()
            loss, _ = accumulate(parts, lambda b: _loss(model, prepared.data.task, b), model.zero_grad)
            float(loss)
            taken.append(time.perf_counter() - start)
        return sorted(taken[1:])[(times - 1) // 2]

    few, more = (min(size, whole) for size in FEW)
    found = seconds(few, 3)
    if more > few:
        found += max(0.0, (seconds(more, 3) - found) / (more - few)) * (whole - few)
    if 4 * found <= PATIENCE:
        found = seconds(whole, 4)
    model.zero_grad()
    model.eval().cpu()
    return found


def _loss(model: EarlyExitModel, task: Task, batch: Batch) -> Tensor:
    return task.loss(model.trace(batch.inputs)[-1].logits, batch.targets).mean()
