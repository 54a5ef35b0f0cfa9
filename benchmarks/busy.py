"""Beside two busy processes: are published speed-ups what they are on the quiet machine, or withheld?

One trained model, timed as a run times it, first alone and then beside processes that never rest. "Before" is how
speed-ups were once estimated, from the very readings of the busy machine: the wall clock's medians over five rounds.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Result, Settings
from benchmarks.models import early_exit
from eebench import data, machine
from eebench.data.base import Data
from eebench.engine.macs import exit_costs
from eebench.engine.model import EarlyExitModel
from eebench.measure.replay import replay
from eebench.progress import Reporter
from eebench.rules import Confidence
from eebench.schema import BACKBONE, fixed_path
from eebench.timing.entrant import Entrant
from eebench.timing.paths import time_seed
from eebench.timing.rounds import Rounds
from eebench.timing.times import Expected, Times

__all__ = ["run"]

WORKERS = 2
EPOCHS, SAMPLES, FIXED = 8, 100, (2, 4, 8)
STOPPED = (0.75, 0.5, 0.25)  # a threshold each: so many samples pass it at the middle exit
GOAL = 0.15
BEFORE = 5  # rounds
KEY = ("cpu", "single", 1)


def run(settings: Settings) -> Iterator[Result]:
    """Every operating point's speed-up beside busy processes, against that of the same model alone."""
    digits = data.load("digits")
    model = _trained(digits, 1 if settings.quick else EPOCHS)
    entrants = _entrants(model, digits)
    alone = _time(entrants, digits, settings)
    with _busy(WORKERS):
        beside = _time(entrants, digits, settings)
    for path in entrants[1].expected:
        case = f"vit_micro on digits beside {WORKERS} busy processes, {path}"
        quiet, busy = (times.speedup("exits", "cpu", path) for times in (alone, beside))
        assert quiet is not None
        assert busy is not None
        true = quiet.interval.estimate
        plain, mine = (beside.timings[who, *KEY, name] for who, name in ((BACKBONE, "plain"), ("exits", path)))
        before = [float(np.median(timing.wall_ms[:BEFORE], 0).mean()) for timing in (plain, mine)]
        once = before[0] / before[1]
        detail = {"quiet": round(true, 3), "quiet_withheld": quiet.withheld, "basis": busy.basis}
        detail |= {"explained": round(entrants[1].expected[path].bound, 3)}
        yield Result(
            "busy",
            f"{case}: off by, before",
            abs(once / true - 1),
            "of quiet",
            detail=detail | {"busy": round(once, 3)},
        )
        now = busy.interval.estimate
        detail |= {"busy": round(now, 3), "withheld": busy.withheld}
        words = f"{case}: off by, " + (f"withheld ({busy.withheld})" if busy.withheld else "published")
        yield Result("busy", words, abs(now / true - 1), "of quiet", None if busy.withheld else GOAL, detail=detail)


def _trained(digits: Data, epochs: int) -> EarlyExitModel:
    model = early_exit("vit_micro", 10, image_size=8, patch_size=2, channels=1).requires_grad_(True)
    images = torch.stack([digits.train.inputs[i] for i in range(len(digits.train))])
    targets = torch.from_numpy(digits.train.targets)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            loss = sum(nn.functional.cross_entropy(v.logits, targets[rows]) for v in model.trace(images[rows]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[union-attr]
            optimizer.step()
    return model.eval().requires_grad_(False)


def _entrants(model: EarlyExitModel, digits: Data) -> list[Entrant]:
    """The plain backbone, and the model with three thresholds and three fixed depths."""
    rule, test = Confidence(), torch.stack([digits.test.inputs[i] for i in range(len(digits.test))])
    with torch.inference_mode():
        logits = [visit.logits for visit in model.trace(test)]
    seen = np.stack([torch.softmax(one, -1).amax(-1).numpy() for one in logits[:-1]], 1)
    answers = np.stack([one.argmax(1).numpy() for one in logits], 1)
    costs, depth = exit_costs(model, test[:1]), model.backbone.depth
    blocks = np.array(model.blocks)
    knobs, expected = {}, {}
    for share in STOPPED:
        knob = float(np.quantile(seen[:, seen.shape[1] // 2], 1 - share))
        exits = replay(rule, {"score": seen}, knob)
        bound = max(float(costs.plain / costs.total[exits].mean()), depth / float(blocks[exits].mean()))
        path = f"threshold_{share:g}"
        knobs[path] = knob
        expected[path] = Expected(bound, exits, answers[np.arange(len(exits)), exits], model.blocks)
    expected |= {fixed_path(block): Expected(depth / block) for block in FIXED}
    fixed = {fixed_path(block): block for block in FIXED}
    return [Entrant(BACKBONE, model, None), Entrant("exits", model, rule, knobs, fixed, expected=expected)]


def _time(entrants: list[Entrant], digits: Data, settings: Settings) -> Times:
    return time_seed(
        entrants,
        digits.test,
        device=torch.device("cpu"),
        samples=16 if settings.quick else SAMPLES,
        rounds=Rounds(2, 2) if settings.quick else Rounds(BEFORE, 15, 60.0),
        batch_sizes=(1,),
        reporter=Reporter(quiet=True),
    )


@contextlib.contextmanager
def _busy(number: int) -> Iterator[None]:
    """So many processes that compute without rest meanwhile."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    work = "import os, sys, torch\nif sys.argv[1:]: os.sched_setaffinity(0, {int(sys.argv[1])})\n"
    work += "torch.set_num_threads(1)\na = torch.randn(256, 256)\nwhile True: a @ a"
    # One a core: left to itself the scheduler may put all of them on one, and what is timed has the other for itself.
    where = [[str(cores[i % len(cores)])] if cores else [] for i in range(number)]
    workers = [subprocess.Popen([sys.executable, "-c", work, *core]) for core in where]
    try:
        neighbours = machine.Neighbours()
        for _ in range(60):
            time.sleep(0.5)
            if neighbours.cores() > 0.8 * number:
                break  # they have loaded torch and begun
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
