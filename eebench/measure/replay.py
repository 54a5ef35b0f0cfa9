"""Replay: an exit rule driven over a stored trace, for any number of knob values, without the model or torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from eebench.api import ExitRule

__all__ = ["replay"]


def replay(rule: ExitRule, seen: Mapping[str, np.ndarray], knob: float) -> np.ndarray:
    """Where every sample of a trace stops.

    Drives the rule's own ``step`` with the whole split as one batch, exit by exit, as dynamic inference does with the
    live rows; a sample stops at the first exit that says so, at the last one otherwise.

    Args:
        rule: the exit rule.
        seen: what ``rule.observe`` said, each (N, E - 1), exits in order without the last.
        knob: the knob.

    Returns:
        (N,) int64, exits from 0.
    """
    samples, inner = next(iter(seen.values())).shape[:2]
    where = np.full(samples, inner, dtype=np.int64)
    state: dict[str, np.ndarray] = {}
    for position in range(inner):
        stop, state = rule.step(state, {name: values[:, position] for name, values in seen.items()}, knob)
        np.minimum(where, np.where(stop, position, inner), out=where)
    return where
