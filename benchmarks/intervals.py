"""Do the 95 % intervals of speed-ups hold the truth? A model timed against itself many times has a speed-up of 1."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import torch

from benchmarks.harness import Result, Settings
from benchmarks.models import early_exit, images
from eebench.measure.timings import speedup_interval
from eebench.timing.readings import CPU, WALL
from eebench.timing.rounds import TURN, Contender, Rounds, time_rounds

__all__ = ["run"]

CONTENDERS, SAMPLES, ROUNDS = 20, 100, 5
GOAL = 0.9


def run(settings: Settings) -> Iterator[Result]:
    """The plain ``vit_micro`` under twenty names, timed as a run times its methods."""
    number, samples = (4, 80) if settings.quick else (CONTENDERS, SAMPLES)
    model = early_exit("vit_micro", 10)
    batches = [(images(model, 1), torch.zeros(1, dtype=torch.int64)) for _ in range(samples)]
    contenders = [
        Contender((str(i), "cpu", "single", 1, "plain"), lambda inputs, ids: model.backbone.plain(inputs), batches, i)
        for i in range(number)
    ]
    timings = time_rounds(contenders, device=torch.device("cpu"), rounds=Rounds(settings.rounds(ROUNDS), 0))
    times = [timing.times(CPU if timing.cpu_counts else WALL) for timing in timings]
    found = [speedup_interval(a, b, TURN) for a, b in combinations(times, 2)]
    inside = float(np.mean([interval.low <= 1 <= interval.high for interval in found]))
    width = float(np.mean([interval.high - interval.low for interval in found]))
    case = f"vit_micro against itself, {len(found)} pairs: 95 % intervals that hold 1"
    yield Result("intervals", case, inside, "of pairs", GOAL, at_least=True, detail={"mean_width": round(width, 4)})
