"""Targets in milliseconds: what a knob value takes, estimated on validation data before it is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eebench.api import ExitRule
from eebench.data.base import Split
from eebench.engine.model import EarlyExitModel
from eebench.runs.score import Point
from eebench.timing.clocks import Clocks
from eebench.timing.exits import ExitLatency, time_exits

__all__ = ["family_ms", "point_ms"]


def point_ms(
    model: EarlyExitModel, rule: ExitRule | None, val: Split, *, seed: int = 0, clocks: Clocks | None = None
) -> tuple[Callable[[Point], float], ExitLatency]:
    """What :class:`eebench.runs.choose.Chooser` asks of a model for a target in milliseconds.

    Every exit is timed, at batch 1 on the CPU, with the rule's decisions on the way. A point's estimate is the mean
    over validation samples of the time of the exit they stop at (fixed depth: of that exit's head alone). What the
    chosen knob takes on test data is measured afterwards, as for every other target.

    Args:
        model: in eval mode, on the CPU.
        rule: its exit rule; None for the plain backbone and static models.
        val: the validation split.
        seed: picks the samples.
        clocks: to read.

    Returns:
        Point → milliseconds a sample, and the latencies behind it.
    """
    latency = time_exits(model, rule, val, seed=seed, clocks=clocks)

    def ms(point: Point) -> float:
        return latency.mean(point.exits, fixed=point.kind == "fixed")

    return ms, latency


def family_ms(members: Mapping[int, Callable[[Point], float]]) -> Callable[[Point], float]:
    """The same for static models of several depths, whose knob says which of them a point is."""
    return lambda point: members[int(point.knob or 0)](point)
