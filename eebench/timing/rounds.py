"""Wall-clock latency of inference that really stops early.

Scenarios, after MLPerf: ``single`` (one sample at a time, single-stream), ``batch`` (rows leave as they finish) and
``wait`` (the batch waits for its hardest row), both offline. Every contender sees the same real samples in the same
order. They take turns a few batches at a time, each turn begun with a batch that is not timed, the order of contenders
changing, so that a slow second of the machine falls on all of them alike. A sample's time is its median over rounds,
which what interrupted one of them does not move. Raw times are kept; nothing is dropped.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from eebench.api import Inputs
from eebench.measure.statistics import noise_flag

__all__ = ["TURN", "Contender", "Key", "Timing", "time_rounds"]

TURN = 8  # batches a contender runs before it is the next one's turn

Key = tuple[str, str, str, int, str]
"""Method, device, scenario, batch size, path: what names a row of latency.csv."""

Run = Callable[[Inputs, torch.Tensor], object]


@dataclass(frozen=True)
class Contender:
    """Something to time: ``run(inputs, ids)`` on one batch. ``key`` names it in the record.

    Contenders of one ``twin`` are the same inference under several names (two targets may choose one knob): whoever
    lists them times one and copies.
    """

    key: Key
    run: Run
    batches: Sequence[tuple[Inputs, torch.Tensor]]
    twin: Hashable


@dataclass(frozen=True)
class Timing:
    """Raw times of one contender, milliseconds a sample, (rounds, batches)."""

    wall_ms: np.ndarray
    device_ms: np.ndarray | None  # CUDA events; None on the CPU
    syncs: float | None  # host synchronisations a sample; None on the CPU

    def summary(self) -> dict[str, float | int | bool | None]:
        """The columns of latency.csv: the mean over batches of each one's median over rounds, percentiles over all."""
        p50, p90, p95, p99 = np.percentile(self.wall_ms, (50, 90, 95, 99))
        low, high = np.percentile(self.wall_ms, (25, 75))
        return {
            "mean_ms": float(np.median(self.wall_ms, 0).mean()),
            "p50_ms": float(p50),
            "p90_ms": float(p90),
            "p95_ms": float(p95),
            "p99_ms": float(p99),
            "iqr_ms": float(high - low),
            "device_ms": None if self.device_ms is None else float(np.median(self.device_ms, 0).mean()),
            "syncs": self.syncs,
            "n": int(self.wall_ms.size),
            "noisy": bool(noise_flag(self.wall_ms.mean(1))) if len(self.wall_ms) > 1 else True,
        }


def time_rounds(
    contenders: Sequence[Contender],
    *,
    device: torch.device,
    rounds: int = 5,
    warm_up: int = 3,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Timing]:
    """Time every contender in every round.

    Args:
        contenders: what to time; all models in eval mode on ``device``.
        device: where they run; on CUDA each batch ends with a synchronisation, and device time is taken by events.
        rounds: how often each contender's batches are gone through.
        warm_up: batches run and thrown away per contender first (kernels, allocations).
        progress: called with (turns done, in all).

    Returns:
        One Timing a contender, in order.
    """
    cuda = device.type == "cuda"
    time_one = _time_cuda if cuda else _time_cpu
    walls = [np.empty((rounds, len(c.batches))) for c in contenders]
    devices = [np.empty((rounds, len(c.batches))) for c in contenders] if cuda else None
    syncs: list[float | None] = [None] * len(contenders)
    with torch.inference_mode(), _no_gc():
        for i, contender in enumerate(contenders):
            for turn in range(warm_up):
                contender.run(*contender.batches[turn % len(contender.batches)])
            if cuda:
                syncs[i] = _count_syncs(contender)
        turns = list(_turns([len(c.batches) for c in contenders], rounds))
        for done, (number, i, some) in enumerate(turns, 1):
            contender = contenders[i]
            contender.run(*contender.batches[some.start])  # not timed: weights and code come back into the caches
            for j in some:
                inputs, ids = contender.batches[j]
                wall, on_device = time_one(contender.run, inputs, ids)
                walls[i][number, j] = wall / len(ids)
                if devices is not None:
                    devices[i][number, j] = on_device / len(ids)
            progress(done, len(turns))
    return [Timing(walls[i], None if devices is None else devices[i], syncs[i]) for i in range(len(contenders))]


def _turns(lengths: Sequence[int], rounds: int) -> Iterator[tuple[int, int, range]]:
    """(round, contender, its batches): who is first changes from block to block, and every second round goes back."""
    starts = range(0, max(lengths, default=0), TURN)
    for number in range(rounds):
        for block, start in enumerate(starts):
            here = [i for i, length in enumerate(lengths) if length > start]
            shift = (number * len(starts) + block) * len(here) // max(rounds * len(starts), 1)
            order = here[shift:] + here[:shift]
            for i in order if (number + block) % 2 == 0 else reversed(order):
                yield number, i, range(start, min(start + TURN, lengths[i]))


def _time_cpu(run: Run, inputs: Inputs, ids: torch.Tensor) -> tuple[float, float]:
    start = time.perf_counter_ns()
    run(inputs, ids)
    return (time.perf_counter_ns() - start) / 1e6, 0.0


def _time_cuda(run: Run, inputs: Inputs, ids: torch.Tensor) -> tuple[float, float]:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start = time.perf_counter_ns()
    begin.record()
    run(inputs, ids)
    end.record()
    end.synchronize()
    wall = (time.perf_counter_ns() - start) / 1e6
    return wall, begin.elapsed_time(end)


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
