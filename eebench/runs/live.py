"""Does inference that really stops do what the replay said? Asked of every method in every run, before it is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from eebench.api import ExitRule
from eebench.data.base import Split
from eebench.engine.model import EarlyExitModel
from eebench.runs.score import Point
from eebench.timing.paths import batches_of

__all__ = ["SAMPLES", "Live", "compare_live", "spread"]

SAMPLES = 16  # at least so many a knob and batch size; the timing runs the same inference on many more
TOLERATED = 0.1  # share that may stop elsewhere: a score next to the threshold, rounded otherwise in another batch


@dataclass(frozen=True)
class Live:
    """How many samples were run, and how many of them stopped elsewhere than in the replay."""

    compared: int
    differ: int


@torch.inference_mode()
def compare_live(
    model: EarlyExitModel, rule: ExitRule, split: Split, points: Sequence[Point], batch_sizes: Sequence[int], seed: int
) -> Live:
    """Run some test samples at several knobs, alone and in batches of other rows than the trace's.

    A rule that looks at other rows, or keeps something from call to call, replays well and deploys otherwise: every
    number of its curve would be wrong.

    Args:
        model: in eval mode.
        rule: its exit rule.
        split: the test split.
        points: knobs with the exits that the replay found on it; one knob is run once.
        batch_sizes: to run beside batch 1.
        seed: picks the samples.

    Raises:
        ValueError: at some knob and batch size more than :data:`TOLERATED` of the samples, and more than two, stop
            elsewhere.
    """
    order = np.random.default_rng(seed).permutation(len(split))
    compared = differ = 0
    for point in {point.knob: point for point in points}.values():
        for size in sorted({1, *batch_sizes}):
            rows = order[: max(SAMPLES, size)]
            elsewhere = int((_exits(model, rule, split, point, rows, size) != point.exits[rows]).sum())
            if elsewhere > max(2, TOLERATED * len(rows)):
                raise ValueError(
                    f"live at {rule.knob.name} {point.knob:g}, batch {size}, {elsewhere} of {len(rows)} samples stop"
                    " elsewhere than in the replay: the rule looks at other rows, or keeps something between calls"
                )
            compared, differ = compared + len(rows), differ + elsewhere
    return Live(compared, differ)


def spread(points: Sequence[Point], number: int = 3) -> list[Point]:
    """Some points of a curve, evenly between its earliest and its latest mean exit."""
    order = sorted(points, key=lambda point: point.row["mean_exit"])
    return [order[int(i)] for i in np.linspace(0, len(order) - 1, number + 2)[1:-1]]


def _exits(
    model: EarlyExitModel, rule: ExitRule, split: Split, point: Point, rows: np.ndarray, size: int
) -> np.ndarray:
    device = next(model.parameters()).device
    found = [
        model.dynamic(inputs, rule, float(point.knob or 0.0), ids).exit.numpy()
        for inputs, ids in batches_of(model, split, rows, size, device)
    ]
    return np.concatenate(found)
