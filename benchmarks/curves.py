"""Tracing once and replaying every knob value: what does a method's whole curve cost beyond one pass over the data?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.harness import Result, Settings, compare
from eebench import backbones
from eebench.api import Task
from eebench.data.base import Split, batches
from eebench.engine.macs import exit_costs
from eebench.engine.model import assemble
from eebench.engine.trace import collect
from eebench.errors import UserError
from eebench.plugins.chosen import Chosen
from eebench.plugins.registry import Registry
from eebench.runs.score import Costs, Evaluation, curve

__all__ = ["run"]

SAMPLES, CLASSES, BATCH = 2000, 10, 64
GOAL = 1.15
CPU = torch.device("cpu")


def run(settings: Settings) -> Iterator[Result]:
    """Every installed method on ``vit_micro``, a network so small that nothing hides behind it."""
    chosen = Registry.installed().choose("sdn[blocks=4+8]" if settings.quick else "all")
    for method in chosen:
        try:
            yield _method(method, 64 if settings.quick else SAMPLES, settings)
        except UserError:
            continue  # a method that does not run on this backbone


def _method(chosen: Chosen, samples: int, settings: Settings) -> Result:
    task = Task(classes=CLASSES)
    torch.manual_seed(0)
    backbone = backbones.create("vit_micro", outputs=CLASSES)
    model = assemble(chosen.method, backbone, task).eval().requires_grad_(False)
    rule = chosen.rule(task)
    targets = np.random.default_rng(0).integers(0, CLASSES, samples)
    split = Split(torch.randn(samples, 3, 28, 28), targets)  # type: ignore[arg-type]  # a tensor is a sequence of images
    counted = exit_costs(model, split.inputs[:1])  # type: ignore[arg-type]
    columns = {name: getattr(counted, name)[None] for name in ("backbone", "heads", "gates", "static")}
    costs = Costs(**columns, plain=np.array([[counted.plain]]))
    knobs = 0

    @torch.inference_mode()
    def one_pass() -> None:
        for batch in batches(split, backbone.prepare, BATCH):
            for visit in model.walk(batch.inputs):
                _ = visit.logits

    def trace_and_curve() -> None:
        nonlocal knobs
        trace = collect(model, rule, split, task, device=CPU, batch_size=BATCH)
        grid = rule.grid(trace.seen)
        knobs = len(curve(Evaluation(trace, costs, task, backbone.depth), rule, grid))

    ratio = compare(one_pass, trace_and_curve, rounds=settings.rounds(5), warm_up=1)
    case = f"{chosen.label}: trace of {samples:,} samples and a curve of {knobs} points, over one all-exits pass"
    return Result("curves", case, ratio.median, "x", GOAL, detail=ratio.detail())
