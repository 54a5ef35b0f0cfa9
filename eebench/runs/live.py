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
from eebench.timing.rounds import answers_of
from eebench.timing.times import differs

__all__ = ["SAMPLES", "Live", "compare_live", "spread"]

SAMPLES = 16  # at least so many a knob and batch size; the timing runs the same inference on many more
TOLERATED = 0.1  # share that may stop elsewhere: a score next to the threshold, rounded otherwise in another batch


@dataclass(frozen=True)
class Live:
    """Samples that were run, that stopped elsewhere than in the replay, that stopped there with another answer."""

    compared: int
    differ: int
    answers: int


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
            elsewhere, or are answered otherwise.
    """
    order = np.random.default_rng(seed).permutation(len(split))
    compared = differ = answers = 0
    for point in {point.knob: point for point in points}.values():
        for size in sorted({1, *batch_sizes}):
            rows = order[: max(SAMPLES, size)]
            exits, said = _decided(model, rule, split, point, rows, size)
            elsewhere = exits != point.exits[rows]
            otherwise = differs(said, point.predictions[rows]) & ~elsewhere
            where = f"live at {rule.knob.name} {point.knob:g}, batch {size},"
            if elsewhere.sum() > max(2, TOLERATED * len(rows)):
                raise ValueError(
                    f"{where} {elsewhere.sum()} of {len(rows)} samples stop elsewhere than in the replay: the rule"
                    " looks at other rows, or keeps something between calls"
                )
            if otherwise.sum() > max(2, TOLERATED * len(rows)):
                raise ValueError(
                    f"{where} {otherwise.sum()} of {len(rows)} samples are answered otherwise than in the replay: an"
                    " exit looks at other rows, or keeps something between calls"
                )
            compared, differ, answers = compared + len(rows), differ + elsewhere.sum(), answers + otherwise.sum()
    return Live(compared, int(differ), int(answers))


def spread(points: Sequence[Point], number: int = 3) -> list[Point]:
    """Some points of a curve, evenly between its earliest and its latest mean exit."""
    order = sorted(points, key=lambda point: point.row["mean_exit"])
    return [order[int(i)] for i in np.linspace(0, len(order) - 1, number + 2)[1:-1]]


def _decided(
    model: EarlyExitModel, rule: ExitRule, split: Split, point: Point, rows: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) exits and (n,) answers."""
    device = next(model.parameters()).device
    found = [
        model.dynamic(inputs, rule, float(point.knob or 0.0), ids)
        for inputs, ids in batches_of(model, split, rows, size, device)
    ]
    return np.concatenate([one.exit.numpy() for one in found]), np.concatenate(
        [answers_of(one.logits) for one in found]
    )
