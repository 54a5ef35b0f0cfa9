"""Replay: a hundred knob values over a stored trace of 10,000 samples and 11 exits."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import Result, Settings, quiet
from eebench.api import ExitRule
from eebench.engine.trace import Trace
from eebench.measure.replay import replay
from eebench.rules import Confidence
from eebench_methods.pabee.pabee import Patience

__all__ = ["run"]

KNOBS, SAMPLES, INNER = 100, 10_000, 11


def run(settings: Settings) -> Iterator[Result]:
    """The time of all knob values together, the median of several goes, from a trace as it is loaded from disk."""
    rng = np.random.default_rng(0)
    score = rng.random((SAMPLES, INNER), dtype=np.float32)
    said = rng.integers(0, 3, (SAMPLES, INNER))
    yield _timed("a threshold rule", Confidence(), {"score": score}, np.linspace(0, 1, KNOBS), 0.3, settings)
    yield _timed("a patience rule", Patience(), {"said": said}, np.linspace(0, INNER, KNOBS), 1.0, settings)


def _timed(
    case: str, rule: ExitRule, seen: dict[str, np.ndarray], knobs: np.ndarray, goal: float, settings: Settings
) -> Result:
    seen = _as_loaded(seen)
    times, cpu = [], []
    with quiet():
        for _ in range(settings.rounds(9)):
            wall, on_cpu = time.perf_counter(), time.thread_time()
            for knob in knobs:
                replay(rule, seen, float(knob))
            times.append(time.perf_counter() - wall)
            cpu.append(time.thread_time() - on_cpu)
    words = f"{case}, {KNOBS} knob values x {SAMPLES:,} samples x {INNER + 1} exits"
    return Result("replay", words, float(np.median(times)), "s", goal, detail={"cpu_s": float(np.median(cpu))})


def _as_loaded(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ``Trace.load`` makes of the observations."""
    ids, nothing = np.arange(SAMPLES), np.zeros((SAMPLES, INNER + 1), dtype=np.float32)
    kept = Trace(tuple(range(1, INNER + 2)), ids, ids, nothing, nothing, nothing, nothing, nothing, seen)
    with tempfile.TemporaryDirectory() as folder:
        kept.save(Path(folder), "test")
        return Trace.load(Path(folder), "test").seen
