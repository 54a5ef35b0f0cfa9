"""Batch 64: rows leave as they finish. Does the wall clock follow the MACs?

Where each sample stops is prescribed, for three shapes of the distribution over exits; the rule still pays for its
decision, since it reads the largest probability of real logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Result, Settings, compare
from benchmarks.models import early_exit, images, straight_line
from eebench.api import ExitOutput, ExitRule, Knob, Rows, top_probability
from eebench.engine.macs import exit_costs
from eebench.engine.model import EarlyExitModel

__all__ = ["Prescribed", "exits_by_shape", "run"]

BATCH = 64
SLACK = 0.02  # wall-clock share at most the MAC share and this
STRAIGHT_GOAL = 1.03


class Prescribed(ExitRule):
    """Confidence, with the confidence raised beyond any threshold where a sample is to stop.

    Args:
        exits: (N,) exit of each sample, by its id.
        inner: exits that ask.
        device: where the model runs.
    """

    knob = Knob("threshold", never=2.0)

    def __init__(self, exits: np.ndarray, inner: int, device: torch.device | str = "cpu") -> None:
        raised = 2.0 * (exits[None] == np.arange(inner)[:, None])
        self.raised = torch.from_numpy(raised).float().to(device)  # (inner, N)

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """The largest probability, raised."""
        assert output.logits is not None
        return {"score": top_probability(output.logits) + self.raised[exit].index_select(0, ids)}

    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        """``score > knob``."""
        return seen["score"] > knob, state

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """The one value that makes sense."""
        return [1.5]


def exits_by_shape(samples: int, exits: int) -> dict[str, np.ndarray]:
    """Exits (N,) of samples, shuffled: many early, evenly spread, many late (weights 1, 1/2, 1/3, … by exit)."""
    falling = 1 / np.arange(1, exits + 1)
    shapes = {"early-heavy": falling, "uniform": np.ones(exits), "late-heavy": falling[::-1]}
    rng = np.random.default_rng(0)
    places = (np.arange(samples) + 0.5) / samples  # quantiles, so that every shape is met as nearly as can be
    return {
        name: rng.permutation(np.searchsorted(weights.cumsum() / weights.sum(), places))
        for name, weights in shapes.items()
    }


def run(settings: Settings) -> Iterator[Result]:
    """Every shape's share of the plain run, the same when the batch waits, and the cost of asking in vain."""
    name, classes, batch, every = ("vit_micro", 10, 8, 3) if settings.quick else ("vit_s", 1000, BATCH, 1)
    model = early_exit(name, classes, every)
    x, ids = images(model, batch), torch.arange(batch)
    last = len(model.blocks) - 1
    costs = exit_costs(model, x[:1])
    plain = partial(model.backbone.plain, x)
    rounds = settings.rounds(11)
    with torch.inference_mode():
        for shape, exits in exits_by_shape(batch, len(model.blocks)).items():
            leave, wait = _both_ways(model, x, exits, ids)
            share = float(costs.total[exits].mean() / costs.plain)
            ratio = compare(plain, leave, rounds=rounds, warm_up=1)
            case = f"{name}, batch {batch}, {shape} (mean exit {exits.mean() + 1:.1f} of {last + 1})"
            detail = {**ratio.detail(), "mac_share": round(share, 4), "over": round(ratio.median - share, 4)}
            yield Result("batch", f"{case}, rows leave", ratio.median, "of plain", share + SLACK, detail=detail)
            ratio = compare(plain, wait, rounds=settings.rounds(2), warm_up=0)
            yield Result("batch", f"{case}, the batch waits", ratio.median, "of plain", detail=ratio.detail())
        leave, _ = _both_ways(model, x, np.full(batch, last), ids)
        ratio = compare(partial(straight_line(model, last + 1), x), leave, rounds=rounds, warm_up=1)
        case = f"{name}, batch {batch}, nobody stops, against the straight line with all heads"
        yield Result("batch", case, ratio.median, "x", STRAIGHT_GOAL, detail=ratio.detail())


def _both_ways(
    model: EarlyExitModel, x: Tensor, exits: np.ndarray, ids: Tensor
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Dynamic inference with rows leaving, and with the batch waiting for its last row."""
    rule = Prescribed(exits, len(model.blocks) - 1)
    leave, wait = (partial(model.dynamic, x, rule, 1.5, ids, wait=w) for w in (False, True))
    assert leave().exit.tolist() == exits.tolist()
    return leave, wait
