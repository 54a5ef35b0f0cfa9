"""Latency of inference that really stops early, by rounds in which everybody takes turns.

Scenarios, after MLPerf: ``single`` (one sample at a time, single-stream), ``batch`` (rows leave as they finish) and
``wait`` (the batch waits for its hardest row), both offline. Every contender sees the same real samples in the same
order. They take turns a few batches at a time, each turn begun with a batch that is not timed, the order of contenders
changing, so that a slow second of the machine falls on all of them alike. Rounds go on for whoever is not settled.
Beside the wall clock stand CPU time and context switches of every batch. Raw readings are kept; nothing is dropped.
"""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from eebench.api import Inputs
from eebench.engine.model import Decision
from eebench.schema import EAGER
from eebench.timing.blame import Key, blamed
from eebench.timing.clocks import Clocks, Stopwatch
from eebench.timing.readings import Timing, parted

__all__ = ["TURN", "Contender", "Key", "Rounds", "answers_of", "time_rounds"]

AGAIN = 2  # times that interrupted work is run again at once
SLICE_MS = 3.0  # about what a scheduler gives a process before it looks for another
TURN = 8  # batches a contender runs before it is the next one's turn

Run = Callable[[Inputs, torch.Tensor], object]


@dataclass(frozen=True)
class Contender:
    """Something to time: ``run(inputs, ids)`` on one batch. ``key`` names it in the record.

    Contenders of one ``twin`` are the same inference under several names (two targets may choose one knob): whoever
    lists them times one and copies. A ``stopwatch`` says when each decision was made, where rows have their answers
    before the batch is done.
    """

    key: Key
    run: Run
    batches: Sequence[tuple[Inputs, torch.Tensor]]
    twin: Hashable
    stopwatch: Stopwatch | None = None
    runtime: str = EAGER


@dataclass(frozen=True)
class Rounds:
    """How often: every contender ``least`` times, then whoever is not settled, up to ``most`` times.

    No round is begun once ``seconds`` have gone and everybody had the least.
    """

    least: int = 3
    most: int = 15
    seconds: float = 60.0


_Stamps = list[tuple[float, float]]
"""(wall, CPU) milliseconds from a batch's start to each decision."""


@dataclass
class _Kept:
    """Readings of one contender so far: a list a round, of one entry a batch."""

    wall: list[list[float]] = field(default_factory=list)
    cpu: list[list[float]] = field(default_factory=list)
    switches: list[list[tuple[int, int]]] = field(default_factory=list)
    again: list[list[float]] = field(default_factory=list)
    device: list[list[float]] = field(default_factory=list)
    waits: list[list[np.ndarray]] = field(default_factory=list)
    exits: list[list[np.ndarray]] = field(default_factory=list)
    answers: list[list[np.ndarray]] = field(default_factory=list)
    crowded: list[bool] = field(default_factory=list)
    syncs: float | None = None

    def columns(self) -> list[list[list[Any]]]:
        return [self.wall, self.cpu, self.switches, self.again, self.device, self.waits, self.exits, self.answers]


def time_rounds(
    contenders: Sequence[Contender],
    *,
    device: torch.device,
    rounds: Rounds = Rounds(),
    unsettled: Callable[[list[Timing]], Collection[int]] = lambda timings: (),
    warm_up: int = 3,
    clocks: Clocks | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Timing]:
    """Time every contender in rounds.

    Args:
        contenders: what to time; all models in eval mode on ``device``.
        device: where they run; on CUDA each batch ends with a synchronisation, and device time is taken by events.
        rounds: how many.
        unsettled: which contenders, by position, to time once more; asked after each round from the last but one of
            the least on, and heeded from the least on.
        warm_up: batches run and thrown away per contender first (kernels, allocations).
        clocks: to read; made for torch's threads when not given.
        progress: called with (turns done, turns of the rounds that are certain).

    Returns:
        One Timing a contender, in order; who settled earlier has fewer rounds, the first ones.

    Raises:
        ContenderError: a contender raised.
    """
    clocks = clocks or Clocks(torch.get_num_threads())
    work = _Work(contenders, device, clocks)
    started, done = clocks.wall(), 0
    going = set(range(len(contenders)))
    with torch.inference_mode(), _no_gc():
        work.warm_up(warm_up)
        clocks.look_around()
        for number in range(max(rounds.least, rounds.most)):
            turns = list(_turns([len(c.batches) if i in going else 0 for i, c in enumerate(contenders)], number))
            total = done + len(turns) * max(1, rounds.least - number)
            work.begin_round(going)
            for i, some in turns:
                work.turn(i, some)
                done += 1
                progress(done, total)
            work.end_round(going)
            if number + 1 < rounds.least - 1:
                continue
            asked = set(unsettled([work.timing(i) for i in range(len(contenders))]))
            if number + 1 < rounds.least:
                continue
            going = asked
            if not going or (clocks.wall() - started) / 1e9 >= rounds.seconds:
                break
    return [work.timing(i) for i in range(len(contenders))]


class _Work:
    """Runs batches, reads the clocks, and keeps what they say."""

    def __init__(self, contenders: Sequence[Contender], device: torch.device, clocks: Clocks) -> None:
        self.contenders, self.device, self.clocks = contenders, device, clocks
        self.cuda = device.type == "cuda"
        self.counts = not self.cuda and clocks.threads == 1 and clocks.fine()
        self.kept = [_Kept() for _ in contenders]

    def warm_up(self, batches: int) -> None:
        for contender, kept in zip(self.contenders, self.kept, strict=True):
            with blamed(contender.key, contender.runtime):
                for turn in range(batches):
                    contender.run(*contender.batches[turn % len(contender.batches)])
                if self.cuda:
                    kept.syncs = _count_syncs(contender)

    def begin_round(self, going: Collection[int]) -> None:
        for i in going:
            for column in self.kept[i].columns():
                column.append([])

    def turn(self, i: int, some: range) -> None:
        """A few batches of one contender, one more before them that is not timed: weights and code come back."""
        contender, kept = self.contenders[i], self.kept[i]
        with blamed(contender.key, contender.runtime):
            contender.run(*contender.batches[some.start])
            results = [self._one(contender, kept, *contender.batches[j]) for j in some]
        for back, (result, decided) in enumerate(results, -len(some)):  # now: nothing stands between two readings
            if isinstance(result, Decision):
                self._look(kept, result, None if contender.stopwatch is None else decided, back)

    def _one(self, contender: Contender, kept: _Kept, inputs: Inputs, ids: torch.Tensor) -> tuple[object, _Stamps]:
        clocks, watch = self.clocks, contender.stopwatch
        if watch is not None:
            watch.start()
        if self.cuda:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
        before, cpu, wall = clocks.switches(), clocks.cpu(), clocks.wall()
        if self.cuda:
            begin.record()
        result = contender.run(inputs, ids)
        if self.cuda:
            end.record()
            end.synchronize()
        wall_end, cpu_end, after = clocks.wall(), clocks.cpu(), clocks.switches()
        kept.wall[-1].append((wall_end - wall) / 1e6)
        kept.cpu[-1].append((cpu_end - cpu) / 1e6)
        if self.cuda:
            kept.device[-1].append(begin.elapsed_time(end))
        if before is not None and after is not None:
            kept.switches[-1].append((after[0] - before[0], after[1] - before[1]))
        if self.counts:
            kept.again[-1].append(self._again(contender, inputs, ids, kept.wall[-1][-1], kept.cpu[-1][-1]))
        decided = [] if watch is None else [((w - wall) / 1e6, (c - cpu) / 1e6) for w, c in watch.stamps]
        return result, decided

    def _again(self, contender: Contender, inputs: Inputs, ids: torch.Tensor, wall_ms: float, cpu_ms: float) -> float:
        """CPU time of running it again where it was interrupted and fits into a time slice, or NaN."""
        clocks = self.clocks
        for _ in range(AGAIN if contender.stopwatch is None and cpu_ms <= SLICE_MS else 0):
            if not parted(wall_ms, cpu_ms):
                break
            cpu, wall = clocks.cpu(), clocks.wall()
            contender.run(inputs, ids)
            wall_ms, cpu_ms = (clocks.wall() - wall) / 1e6, (clocks.cpu() - cpu) / 1e6
            if not parted(wall_ms, cpu_ms):
                return cpu_ms
        return math.nan

    def _look(self, kept: _Kept, result: Decision, decided: _Stamps | None, back: int) -> None:
        """Where the samples stopped, what they were answered and when; ``back``: whose readings, from the end."""
        exits, logits = result.exit.numpy(), result.logits
        kept.exits[-1].append(exits)
        kept.answers[-1].append(answers_of(logits))
        if decided is not None:  # whoever is last has its answer when the batch is done
            ends = (kept.wall[-1][back], kept.cpu[-1][back])
            kept.waits[-1].append(np.array([*decided[: exits.max()], ends])[exits].T)

    def end_round(self, going: Collection[int]) -> None:
        crowded = self.clocks.crowded()
        for i in going:
            self.kept[i].crowded.append(crowded)

    def timing(self, i: int) -> Timing:
        """What was read of one contender so far."""
        kept, size = self.kept[i], len(self.contenders[i].batches[0][1])

        def array(column: list[list[Any]]) -> np.ndarray | None:
            return np.array(column) if column and column[0] else None

        waits = array(kept.waits)
        device = array(kept.device)
        return Timing(
            np.array(kept.wall) / size,
            np.array(kept.cpu) / size,
            size,
            self.counts,
            np.array(kept.crowded),
            None if (again := array(kept.again)) is None else again / size,
            array(kept.switches),
            None if device is None else device / size,
            kept.syncs,
            None if waits is None else waits[:, :, 0],
            None if waits is None else waits[:, :, 1],
            array(kept.exits),
            array(kept.answers),
        )


def answers_of(logits: torch.Tensor) -> np.ndarray:
    """(B,) what logits (B, K) answer: a class, or with one output a value."""
    return (logits[:, 0].float() if logits.shape[1] == 1 else logits.argmax(1)).numpy(force=True)


def _turns(lengths: Sequence[int], number: int) -> Iterator[tuple[int, range]]:
    """One round as (contender, its batches): who is first changes with round and block, every second goes back."""
    for block, start in enumerate(range(0, max(lengths, default=0), TURN)):
        here = [i for i, length in enumerate(lengths) if length > start]
        order = here if (number + block) % 2 == 0 else here[::-1]
        shift = (number + block) % len(here)
        for i in order[shift:] + order[:shift]:
            yield i, range(start, min(start + TURN, lengths[i]))


def _count_syncs(contender: Contender) -> float:
    """Host synchronisations a sample, as torch's own sync debug mode sees them."""
    before = torch.cuda.get_sync_debug_mode()
    some = contender.batches[:8]
    try:
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for inputs, ids in some:
                contender.run(inputs, ids)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    found = sum("synchroniz" in str(w.message) for w in caught)
    return found / sum(len(ids) for _, ids in some)


@contextmanager
def _no_gc() -> Iterator[None]:
    """Garbage collection off while timing, so that no contender pays for another's rubbish."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
