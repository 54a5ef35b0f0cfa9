"""How long a model takes to stop at each of its exits: what a knob is chosen by before anybody deploys it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eebench.api import ExitOutput, ExitRule, Inputs, Rows
from eebench.data.base import Split
from eebench.engine.model import EarlyExitModel
from eebench.timing.clocks import Clocks
from eebench.timing.paths import batches_of
from eebench.timing.readings import CPU, WALL
from eebench.timing.rounds import Contender, Rounds, time_rounds

__all__ = ["ExitLatency", "StopAt", "time_exits"]


class StopAt(ExitRule):
    """A rule that observes and decides as another does, and then stops at one exit whatever came of it.

    Args:
        rule: the rule whose work is to be done.
        position: the exit to stop at, counted from 0.
    """

    def __init__(self, rule: ExitRule, position: int) -> None:
        self.rule, self.knob, self.position = rule, rule.knob, position
        self._at = 0

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """What the rule observes."""
        self._at = exit
        return self.rule.observe(output, exit, ids)

    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        """The rule's state, and whether this is the exit."""
        stop, state = self.rule.step(state, seen, knob)
        return np.full(np.shape(stop), self._at >= self.position), state

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """The rule's own."""
        return self.rule.grid(seen)


class ExitLatency:
    """Milliseconds a sample at batch 1, by where it stops.

    Args:
        decided: (E,) stopping at each exit, with every exit up to it asked and the rule's decisions made.
        alone: (E,) fixed depth: that exit's head alone being run.
        basis: on whose clock, ``wall`` or ``cpu``.
        contaminated: others' work is in these times and no clock could tell it apart: nothing should rest on them.
    """

    def __init__(self, decided: np.ndarray, alone: np.ndarray, basis: str, contaminated: bool) -> None:
        self.decided, self.alone, self.basis, self.contaminated = decided, alone, basis, contaminated

    def mean(self, exits: np.ndarray, *, fixed: bool = False) -> float:
        """Estimated time of a knob value: the mean over samples of what stopping at their ``exits`` (N,) takes."""
        return float((self.alone if fixed else self.decided)[exits].mean())


def time_exits(
    model: EarlyExitModel,
    rule: ExitRule | None,
    split: Split,
    *,
    samples: int = 25,
    rounds: int = 5,
    seed: int = 0,
    clocks: Clocks | None = None,
) -> ExitLatency:
    """Time stopping at every exit, on the CPU, on the same samples in the same rounds.

    Args:
        model: in eval mode, on the CPU.
        rule: its exit rule, whose decisions are timed with it; None for a model that has no exits.
        split: validation data, of which some samples are run.
        samples: how many.
        rounds: how often.
        seed: picks the samples.
        clocks: to read; made for torch's threads when not given.
    """
    clocks = clocks or Clocks(torch.get_num_threads())
    rows = np.random.default_rng(seed).permutation(len(split))[:samples]
    batches = batches_of(model, split, rows, 1, torch.device("cpu"))
    if rule is None:
        runs = {("alone", 0): partial(_plain, model)}
    else:
        stops = {("decided", i): partial(_decided, model, StopAt(rule, i)) for i in range(len(model.blocks))}
        runs = stops | {("alone", i): partial(_alone, model, block) for i, block in enumerate(model.blocks)}
    contenders = [Contender(("", "cpu", "single", 1, f"{how}_{i}"), run, batches, i) for (how, i), run in runs.items()]
    found = time_rounds(contenders, device=torch.device("cpu"), rounds=Rounds(rounds, rounds), clocks=clocks)
    contaminated = any(timing.contaminated for timing in found)
    usable = all(timing.cpu_counts for timing in found)
    basis = CPU if contaminated and usable else WALL
    ms = {path: float(timing.times(basis).mean()) for path, timing in zip(runs, found, strict=True)}
    alone = np.array([value for (how, _), value in ms.items() if how == "alone"])
    decided = np.array([value for (how, _), value in ms.items() if how == "decided"])
    return ExitLatency(decided if len(decided) else alone, alone, basis, contaminated and not usable)


def _plain(model: EarlyExitModel, inputs: Inputs, ids: Tensor) -> object:
    return model.backbone.plain(inputs)


def _decided(model: EarlyExitModel, rule: ExitRule, inputs: Inputs, ids: Tensor) -> object:
    return model.dynamic(inputs, rule, float(rule.knob.never), ids)


def _alone(model: EarlyExitModel, block: int, inputs: Inputs, ids: Tensor) -> object:
    return model.static(inputs, block)
