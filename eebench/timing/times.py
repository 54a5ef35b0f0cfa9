"""All timings of one seed: on which clock they stand, which speed-ups may be shown, and why the others may not."""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from eebench.measure.statistics import Interval
from eebench.measure.timings import Strata, round_factors, speedup_interval, strays
from eebench.schema import BACKBONE, EAGER, exit_path
from eebench.timing.readings import CPU, WALL, Timing
from eebench.timing.rounds import TURN, Key

__all__ = ["QUIET", "SHOWN", "TOLERANCE", "Expected", "Raised", "Speedup", "Times", "crowded", "differs"]

SHOWN = 0.1
"""Widest 95 % interval of a published speed-up, as a share of it."""
QUIET = 0.08
"""How narrow it has to be for rounds to end."""
TOLERANCE = {WALL: 0.15, CPU: 0.05}
"""How far a measured speed-up may exceed what the work left out explains. Others' work makes long paths look longer, in
CPU time as well (what comes back to the processor finds cold caches): less is let pass where it was there."""
ELSEWHERE = 0.1  # share of timed samples that may stop elsewhere than in the replay


@dataclass(frozen=True)
class Expected:
    """What is known of a path before it is timed.

    Args:
        bound: the larger of its MAC and its layer speed-up: being faster is not explained by work left out.
        exits: (N,) exit index of every sample of the split in the replay; None where no rule decides.
        answers: (N,) what the replay answers each.
        blocks: block numbers of the exits.
    """

    bound: float = math.inf
    exits: np.ndarray | None = None
    answers: np.ndarray | None = None
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Speedup:
    """A measured speed-up; where ``withheld`` gives a reason it must not be shown."""

    interval: Interval
    basis: str
    withheld: str = ""
    again: bool = False  # another round may mend it


@dataclass(frozen=True)
class Raised:
    """What a method raised while it was timed: on one line, and at length."""

    reason: str
    log: str


@dataclass
class Times:
    """All timings of one seed, in one runtime."""

    threads: int
    timings: dict[Key, Timing] = field(default_factory=dict)
    knobs: dict[Key, float] = field(default_factory=dict)
    expected: dict[Key, Expected] = field(default_factory=dict)
    ids: dict[Key, np.ndarray] = field(default_factory=dict)  # (batches, size) rows of the split that were timed
    facts: list[dict[str, Any]] = field(default_factory=list)  # how it was on each device, for the record
    failed: dict[str, Raised] = field(default_factory=dict)  # methods that raised while they were timed
    runtime: str = EAGER
    absent: dict[str, str] = field(default_factory=dict)  # why methods were not timed in this runtime
    together: list[Times] = field(default_factory=list, repr=False, compare=False)  # of all runtimes, this one included

    def __post_init__(self) -> None:
        self.together.append(self)

    @property
    def others(self) -> dict[str, Times]:
        """The same samples in the same rounds in other runtimes, by name."""
        return {times.runtime: times for times in self.together if times is not self}

    def beside(self, runtime: str) -> Times:
        """Room for what is read in another runtime, made where there is none yet."""
        return self.others.get(runtime) or Times(self.threads, runtime=runtime, together=self.together)

    def leave_out(self, label: str, error: BaseException) -> None:
        """Drop everything of a method that raised, in every runtime."""
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        self.failed[label] = Raised(words, "".join(traceback.format_exception(error)))
        for times in self.together:
            times.drop(label)

    def drop(self, label: str) -> None:
        """Drop everything of a method in this runtime."""
        of_each: tuple[dict[Key, Any], ...] = (self.timings, self.knobs, self.expected, self.ids)
        for values in of_each:
            for key in [key for key in values if key[0] == label]:
                del values[key]

    def basis(self, device: str, batch_size: int) -> str:
        """``cpu`` where others' work is in any wall-clock time of these paths and CPU time can stand in, else ``wall``.

        One for all paths and runtimes, so that they can be compared.
        """
        all_ = (item for times in self.together for item in times.timings.items())
        here = [timing for key, timing in all_ if (key[1], key[3]) == (device, batch_size)]
        usable = bool(here) and all(timing.cpu_counts for timing in here)
        return CPU if usable and any(timing.contaminated for timing in here) else WALL

    def strata(self, key: Key) -> Strata | None:
        """Which part of the split each sample stands for that was timed alone on a path on which a rule decides."""
        expected, timing = self.expected.get(key, Expected()), self.timings[key]
        if expected.exits is None or timing.exits is None or key[3] != 1:
            return None
        shares = np.bincount(expected.exits, minlength=len(expected.blocks)) / len(expected.exits)
        return Strata(timing.exits[0, :, 0], shares, expected.blocks)

    def speedup(self, label: str, device: str, path: str) -> Speedup | None:
        """How many times faster than the plain backbone at batch 1, over the whole split; None where not timed."""
        key: Key = (label, device, "single", 1, path)
        mine, plain = self.timings.get(key), self.timings.get((BACKBONE, device, "single", 1, "plain"))
        if mine is None or plain is None:
            return None
        plain, basis = plain.until(mine.rounds), self.basis(device, 1)
        found = speedup_interval(plain.times(basis), mine.times(basis), TURN, self.strata(key))
        say = partial(Speedup, found, basis)
        if basis == WALL and (mine.contaminated or plain.contaminated):
            return say(crowded(device, self.threads), again=True)
        stopped, elsewhere, _ = self._against_replay(key)
        if elsewhere > max(2, ELSEWHERE * stopped):
            return say(f"{elsewhere} of {stopped} timed samples stopped elsewhere than in the replay")
        bound = self.expected.get(key, Expected()).bound
        if found.estimate > (1 + TOLERANCE[basis]) * bound:
            return say(f"measured {found.estimate:.2f}x, but the work left out explains {bound:.2f}x", again=True)
        forced = self._forced(key, basis)
        if forced is not None and found.estimate > (1 + TOLERANCE[basis]) * forced:
            reason = f"measured {found.estimate:.2f}x, but {forced:.2f}x when made to stop at the same exits"
            return say(reason, again=True)
        if found.high - found.low > SHOWN * found.estimate:
            reason = f"noisy: 95 % interval {found.low:.2f}x to {found.high:.2f}x after {mine.rounds} rounds"
            return say(reason, again=True)
        if math.isnan(found.low) and basis == CPU:
            return say("other processes used the machine, and so few samples do not say how much that moved it")
        if math.isnan(found.low) and strays(_factors(mine, basis), _factors(plain, basis)):
            return say(f"noisy: its {mine.rounds} rounds stray against the plain backbone's", again=True)
        return say(again=found.high - found.low > QUIET * found.estimate)

    def live(self, label: str) -> dict[str, int]:
        """Timed inferences of a method against its replay: compared, stopped elsewhere, answered otherwise."""
        keys = {id(timing): key for key, timing in self.timings.items() if key[0] == label and timing.exits is not None}
        counts = np.array([self._against_replay(key) for key in keys.values()]).reshape(-1, 3).sum(0)
        return dict(zip(("compared", "differ", "answers"), map(int, counts), strict=True))

    def rows(self, seed: int) -> list[dict[str, Any]]:
        """Rows of latency.csv, of all runtimes."""
        return [row for times in self.together for row in times._rows(seed)]

    def _rows(self, seed: int) -> list[dict[str, Any]]:
        rows = []
        for key, timing in self.timings.items():
            label, device, scenario, batch_size, path = key
            basis = self.basis(device, batch_size)
            row = {"method": label, "seed": seed, "device": device, "scenario": scenario, "batch_size": batch_size}
            row |= {"path": path, "knob": self.knobs.get(key), "threads": self.threads, "runtime": self.runtime}
            rows.append(row | timing.summary(basis, self.strata(key)) | {"noisy": self._noisy(key, basis)})
        return rows

    def raw(self) -> dict[str, np.ndarray]:
        """Raw times, ms a sample, (rounds, batches), by ``label|device|scenario|batch|path``; CPU time: ``…|cpu``.

        Other runtimes than eager PyTorch are named before either: ``…|path|onnxruntime|cpu``.
        """
        found: dict[str, np.ndarray] = {}
        for times in self.together:
            where = [] if times.runtime == EAGER else [times.runtime]
            for key, timing in times.timings.items():
                name = [*map(str, key), *where]
                found |= {"|".join(name): timing.wall_ms, "|".join([*name, CPU]): timing.cpu_ms}
        return found

    def _against_replay(self, key: Key) -> tuple[int, int, int]:
        """Samples timed on a path, and how many of them stopped elsewhere, or stopped there with another answer."""
        expected, timing = self.expected.get(key, Expected()), self.timings[key]
        if expected.exits is None or expected.answers is None or timing.exits is None or timing.answers is None:
            return 0, 0, 0
        rows = self.ids[key]
        elsewhere = (timing.exits != expected.exits[rows]).any(0)
        said = differs(timing.answers, expected.answers[rows])
        return elsewhere.size, int(elsewhere.sum()), int((said.any(0) & ~elsewhere).sum())

    def _forced(self, key: Key, basis: str) -> float | None:
        """The speed-up of making everyone stop where they do; None unless every exit taken was timed that way.

        Asking every exit on the way and deciding nothing, on the same samples in the same rounds: no rule is faster.
        """
        strata, expected = self.strata(key), self.expected.get(key, Expected())
        if strata is None:
            return None
        plain = self.timings[BACKBONE, key[1], "single", 1, "plain"]
        share = 0.0
        for weight, block in zip(strata.shares, expected.blocks, strict=True):
            forced = self.timings.get((*key[:4], exit_path(block)))
            if weight > 0 and forced is None:
                return None
            if weight > 0 and forced is not None:
                whole = plain.until(forced.rounds).times(basis)[: forced.wall_ms.shape[1]]
                share += weight * float(forced.times(basis).mean() / whole.mean())
        return 1 / share

    def _noisy(self, key: Key, basis: str) -> bool:
        """Whether a path's rounds stray against those of the plain backbone, the plain one's against all others'."""
        mine = self.timings[key]
        plain = self.timings.get((BACKBONE, key[1], "single" if key[3] == 1 else "batch", key[3], "plain"))
        if plain is None:
            return True
        if mine is not plain:
            rounds, batches = mine.wall_ms.shape
            return strays(_factors(mine, basis), _factors(plain.until(rounds), basis, batches))
        others = [t for k, t in self.timings.items() if k[1:4] == key[1:4] and t is not plain]
        if not others:
            return strays(_factors(plain, basis), np.ones(plain.rounds))
        rounds = min(plain.rounds, *(t.rounds for t in others))
        middle = np.mean([_factors(t.until(rounds), basis) for t in others], 0)
        return strays(_factors(plain.until(rounds), basis), middle)


def differs(said: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Which answers are others: classes to the letter, values (floats) but for rounding."""
    return ~np.isclose(said, expected, rtol=1e-3, atol=1e-4) if expected.dtype.kind == "f" else said != expected


def _factors(timing: Timing, basis: str, batches: int | None = None) -> np.ndarray:
    return round_factors((timing.wall_ms if basis == WALL else timing.cpu_ms)[:, :batches])


def crowded(device: str, threads: int) -> str:
    """Why nothing is shown that was read beside others' work."""
    if device == "cuda":
        return "other processes kept the host from feeding the GPU"
    if threads == 1:
        return "other processes used the machine, and this system's CPU clock is too coarse to see past them"
    return f"other processes used cores that {threads} threads needed; time it with --threads 1 or on a quiet machine"
