"""On a GPU: does the wall clock keep what the MACs promise, at batch 1 and 256?

Wall time ends with a synchronisation, device time is taken by CUDA events, and host synchronisations are counted by
torch's own debug mode. On a CPU the same code runs without the last two, which is how its quick form is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.batch import Prescribed, exits_by_shape
from benchmarks.harness import Result, Settings
from benchmarks.models import early_exit, images
from eebench.engine.macs import ExitCosts, exit_costs
from eebench.engine.model import EarlyExitModel
from eebench.errors import UserError
from eebench.timing.readings import Timing
from eebench.timing.rounds import Contender, Rounds, time_rounds

__all__ = ["run"]

MODELS = (("vit_s", 1000), ("vit_b", 1000))
KEPT_GOAL = 0.8
LATEST = 9  # at batch 1 never slower than the plain backbone when everyone stops at this block or before


def run(settings: Settings) -> Iterator[Result]:
    """Batch 256 with rows leaving, and batch 1 with everyone stopping at one exit."""
    device = torch.device(settings.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device here")
    for name, classes in (("vit_micro", 10),) if settings.quick else MODELS:
        model = early_exit(name, classes, every=3 if settings.quick else 1)
        costs = exit_costs(model, images(model, 1))
        model.to(device)
        yield from _large_batch(name, model, costs, 8 if settings.quick else 256, device, settings.rounds(10))
        yield from _single(name, model, costs, device, settings.rounds(20))


def _large_batch(
    name: str, model: EarlyExitModel, costs: ExitCosts, batch: int, device: torch.device, rounds: int
) -> Iterator[Result]:
    x, ids = images(model, batch).to(device), torch.arange(batch, device=device)
    shapes = exits_by_shape(batch, len(model.blocks))
    runs = {"plain": _plain(model)}
    for shape, exits in shapes.items():
        rule = Prescribed(exits, len(model.blocks) - 1, device)
        for wait in (False, True):
            runs[f"{shape}, {'the batch waits' if wait else 'rows leave'}"] = partial(_dynamic, model, rule, wait)
    timings = _time(runs, x, ids, device, rounds)
    for case, timing in timings.items():
        if case == "plain":
            continue
        by_clock = 1 / _share(timings["plain"], timing)
        by_macs = float(costs.plain / costs.total[shapes[case.split(",")[0]]].mean())
        detail = _detail(timings["plain"], timing)
        detail |= {"speedup_wall": round(by_clock, 4), "speedup_macs": round(by_macs, 4)}
        goal = KEPT_GOAL if case.endswith("rows leave") else None
        words = f"{name}, batch {batch}, {case}: share of the MAC speed-up that the clock keeps"
        yield Result("cuda", words, by_clock / by_macs, "kept", goal, at_least=True, detail=detail)


def _single(name: str, model: EarlyExitModel, costs: ExitCosts, device: torch.device, rounds: int) -> Iterator[Result]:
    count = 8  # images, one after the other
    x, ids = images(model, count).to(device), torch.arange(count, device=device)
    runs = {"plain": _plain(model)}
    for position, block in enumerate(model.blocks):
        if block % 3 == 0:
            rule = Prescribed(np.full(count, position), len(model.blocks) - 1, device)
            runs[f"stop at block {block}"] = partial(_dynamic, model, rule, False)
    timings = _time(runs, x, ids, device, rounds, single=True)
    for position, block in enumerate(model.blocks):
        case = f"stop at block {block}"
        if case in timings:
            share = _share(timings["plain"], timings[case])
            detail = _detail(timings["plain"], timings[case])
            detail["mac_share"] = round(float(costs.total[position] / costs.plain), 4)
            goal = 1.0 if block <= LATEST else None
            yield Result("cuda", f"{name}, batch 1, {case}", share, "of plain", goal, detail=detail)


def _detail(plain: Timing, timing: Timing) -> dict[str, Any]:
    """Medians over all rounds and batches, milliseconds a sample."""
    return {
        "wall_ms": float(np.median(timing.wall_ms)),
        "device_ms": None if timing.device_ms is None else float(np.median(timing.device_ms)),
        "plain_wall_ms": float(np.median(plain.wall_ms)),
        "plain_device_ms": None if plain.device_ms is None else float(np.median(plain.device_ms)),
        "host_syncs": timing.syncs,
        "rounds": len(timing.wall_ms),
    }


def _share(plain: Timing, timing: Timing) -> float:
    """Median over rounds of the contender's time over the plain backbone's in the same round."""
    return float(np.median(timing.wall_ms.mean(1) / plain.wall_ms.mean(1)))


def _plain(model: EarlyExitModel) -> Any:
    return lambda x, ids: model.backbone.plain(x)


def _dynamic(model: EarlyExitModel, rule: Prescribed, wait: bool, x: Tensor, ids: Tensor) -> object:
    return model.dynamic(x, rule, 1.5, ids, wait=wait)


def _time(
    runs: dict[str, Any], x: Tensor, ids: Tensor, device: torch.device, rounds: int, *, single: bool = False
) -> dict[str, Timing]:
    size = 1 if single else len(x)
    batches = list(zip(x.split(size), ids.split(size), strict=True))
    contenders = [Contender(("", device.type, "", size, case), run, batches, size) for case, run in runs.items()]
    return dict(zip(runs, time_rounds(contenders, device=device, rounds=Rounds(rounds, 0)), strict=True))
