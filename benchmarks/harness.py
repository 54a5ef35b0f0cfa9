"""How to time fairly on a machine that is never quite still: interleaved rounds, ratios within a round, medians.

A contender is never timed alone. A round runs baseline, contender, contender, baseline (A-B-B-A), so that whatever
drifts, drifts for both; the round's ratio is B's time over A's, and the median over rounds is what is reported.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

__all__ = ["Ratio", "Result", "Settings", "compare", "quiet"]

Run = Callable[[], object]


@dataclass(frozen=True)
class Settings:
    """What the command line asked for."""

    quick: bool = False  # tiny models, few rounds: does everything run? The figures mean nothing then
    device: str = "cpu"
    threads: int = 1

    def rounds(self, usual: int) -> int:
        """How many rounds of a comparison."""
        return 2 if self.quick else usual

    def calls(self, usual: int) -> int:
        """How many calls in one timing."""
        return 1 if self.quick else usual


@dataclass(frozen=True)
class Result:
    """One figure beside its goal."""

    benchmark: str
    case: str
    value: float
    unit: str  # "x" for ratios, "s", "GB", "us", ...
    goal: float | None = None  # at most this, unless ``at_least``; None: shown for comparison only
    at_least: bool = False
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def record(self) -> dict[str, Any]:
        """The result as it stands in the JSON file."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True)
class Ratio:
    """Paired ratios of a contender's time to its baseline's, one a round."""

    wall: np.ndarray  # (rounds,)
    cpu: np.ndarray  # (rounds,) of the CPU time of the one thread that computes: blind to who else used the machine
    baseline_s: float  # the baseline's median wall time of one run

    @property
    def median(self) -> float:
        """What is reported."""
        return float(np.median(self.wall))

    def detail(self) -> dict[str, Any]:
        """Spread, for the record."""
        low, high = np.quantile(self.wall, (0.25, 0.75))
        return {
            "quartiles": [round(float(low), 4), round(float(high), 4)],
            "cpu_time_ratio": round(float(np.median(self.cpu)), 4),
            "baseline_ms": round(1e3 * self.baseline_s, 4),
            "rounds": len(self.wall),
        }


def compare(baseline: Run, contender: Run, *, rounds: int, calls: int = 1, warm_up: int = 2) -> Ratio:
    """Time a contender against its baseline in A-B-B-A rounds.

    Args:
        baseline: A.
        contender: B.
        rounds: paired ratios to take.
        calls: calls a timing; many for what takes microseconds.
        warm_up: calls of each thrown away first.
    """
    for _ in range(warm_up):
        baseline(), contender()
    wall, cpu, base = np.empty(rounds), np.empty(rounds), np.empty(rounds)
    with quiet():
        for i in range(rounds):
            times = np.array([_time(run, calls) for run in (baseline, contender, contender, baseline)])
            a, b = times[0] + times[3], times[1] + times[2]
            wall[i], cpu[i] = b / a
            base[i] = a[0] / (2 * calls)
    return Ratio(wall, cpu, float(np.median(base)))


def _time(run: Run, calls: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.thread_time()
    for _ in range(calls):
        run()
    return time.perf_counter() - wall, time.thread_time() - cpu


@contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection meanwhile, so that nobody pays for another's rubbish."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
