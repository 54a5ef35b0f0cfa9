"""Segments driven by a rule: run one, decide, let finished rows leave, run the next; on whatever arrays they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from eebench.decisions import Step, Underway

__all__ = ["SEEN", "Engine", "NumpyEngine", "drive"]

Held = dict[str, Any]
"""Named arrays: a batch's inputs, or what one segment hands to the next. All have one row a sample but ``shared``."""

SEEN = "seen."
"""How the names of what a rule observed begin."""


class Engine(Protocol):
    """What runs segments, and what it needs to do with their arrays."""

    needs: list[frozenset[str]]
    """By exit, the names that segments behind it read: what is held on to when a batch goes on from there."""

    def segment(self, position: int, held: Held) -> Held:
        """What the segment behind exit ``position`` makes, by name."""

    def answer(self, position: int, held: Held) -> Any:
        """Logits (n, K) of an exit that classifies only rows that stop, from those rows."""

    def take(self, array: Any, rows: np.ndarray) -> Any:
        """Some rows of an array."""

    def host(self, array: Any) -> np.ndarray:
        """An array as numpy has it."""

    def join(self, arrays: list[Any]) -> Any:
        """Arrays one behind the other."""


@dataclass
class NumpyEngine:
    """The array part of an engine that computes on numpy arrays."""

    def take(self, array: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Some rows of an array."""
        return array[rows]

    def host(self, array: np.ndarray) -> np.ndarray:
        """The array itself."""
        return array

    def join(self, arrays: list[np.ndarray]) -> np.ndarray:
        """Arrays one behind the other."""
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def drive(
    engine: Engine, exits: int, inputs: Mapping[str, Any], size: int, step: Step, knob: float, *, wait: bool = False
) -> tuple[Any, np.ndarray]:
    """Answer a batch, its rows leaving as they stop.

    Args:
        engine: runs the segments.
        exits: how many there are, the last included.
        inputs: the batch by name, ``ids`` included where a rule asks for them.
        size: samples in it.
        step: what decides.
        knob: at which knob.
        wait: rows that stop stay in the batch until its last one stops.

    Returns:
        Logits (B, K) and exits (B,), counted from 0, in the order of the inputs.
    """
    if size == 1:
        return _alone(engine, exits, inputs, step, knob)
    held = dict(inputs)
    underway = Underway(size, step, knob, wait=wait)
    answers = []
    for position in range(exits):
        made = engine.segment(position, held)
        held |= made
        stop = underway.decide(position, _seen(engine, made) if position < exits - 1 else None)
        if stop.any():
            answers.append(_answered(engine, position, made, held, stop))
            if underway.done:
                break
        going = underway.leave(stop)
        held = {name: array for name, array in held.items() if name in engine.needs[position]}
        if going is not None:
            held = _rows(engine, held, going)
    return engine.take(engine.join(answers), underway.order), underway.exits


def _alone(engine: Engine, exits: int, inputs: Mapping[str, Any], step: Step, knob: float) -> tuple[Any, np.ndarray]:
    """One sample: nothing to gather, so the loop is nothing but the decisions."""
    held = dict(inputs)
    state: dict[str, Any] = {}
    for position in range(exits):
        made = engine.segment(position, held)
        held |= made
        if position < exits - 1:
            stop, state = step(state, _seen(engine, made), knob)
            if not stop:
                continue
        logits = made.get("logits")
        return engine.answer(position, held) if logits is None else logits, np.array([position])
    raise ValueError("no exits")


def _seen(engine: Engine, made: Held) -> dict[str, np.ndarray]:
    return {name[len(SEEN) :]: engine.host(array) for name, array in made.items() if name.startswith(SEEN)}


def _answered(engine: Engine, position: int, made: Held, held: Held, stop: np.ndarray) -> Any:
    """Logits of the rows that stop."""
    rows = None if stop.all() else np.flatnonzero(stop)
    if "logits" in made:
        return made["logits"] if rows is None else engine.take(made["logits"], rows)
    return engine.answer(position, held if rows is None else _rows(engine, held, rows))


def _rows(engine: Engine, held: Held, rows: np.ndarray) -> Held:
    return {name: array if name == "shared" else engine.take(array, rows) for name, array in held.items()}
