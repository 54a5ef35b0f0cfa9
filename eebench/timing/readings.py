"""What was read of one path: times, whether they can be trusted, and the row of latency.csv they make."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from eebench.measure.timings import Strata, split_mean

__all__ = ["CPU", "WALL", "Timing", "parted"]

WALL, CPU = "wall", "cpu"
APART = 0.05
"""Wall clock above CPU time, as a share of it, from which on it measures who else used the machine."""
SLACK_MS = 0.02  # between two clocks' readings, whatever the length of the inference
MANY = 0.1  # share of samples that may have been interrupted most of the time


def parted(wall_ms: np.ndarray | float, cpu_ms: np.ndarray | float) -> np.ndarray | bool:
    """Whether the wall clock of one batch, or of each of some, is clearly above its CPU time."""
    return wall_ms > (1 + APART) * cpu_ms + SLACK_MS


@dataclass(frozen=True)
class Timing:
    """Raw readings of one path, round by round; milliseconds a sample, (rounds, batches).

    The CPU time is an estimate of the latency where one thread computes and the clock is fine enough (``cpu_counts``);
    elsewhere it is only what the work cost.
    """

    wall_ms: np.ndarray
    cpu_ms: np.ndarray
    size: int = 1  # samples a batch
    cpu_counts: bool = False
    crowded: np.ndarray | None = None  # (rounds,) others used cores that this needed; None: nobody looked
    again_ms: np.ndarray | None = None  # (rounds, batches) CPU time of a second run of what was interrupted, or NaN
    switches: np.ndarray | None = None  # (rounds, batches, 2) context switches, voluntary and not; None: not counted
    device_ms: np.ndarray | None = None  # CUDA events; None on the CPU
    syncs: float | None = None  # host synchronisations a sample; None on the CPU
    wait_wall_ms: np.ndarray | None = None  # (rounds, batches, size) until each request had its answer, batches only
    wait_cpu_ms: np.ndarray | None = None
    exits: np.ndarray | None = None  # (rounds, batches, size) where each sample stopped, dynamic inference only
    answers: np.ndarray | None = None  # what each was answered: a class, or a value

    @property
    def rounds(self) -> int:
        """Rounds that were timed."""
        return len(self.wall_ms)

    def until(self, rounds: int) -> Timing:
        """The first rounds alone: those another path, timed for fewer, shares with this one."""
        columns = (f.name for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray))
        return replace(self, **{name: getattr(self, name)[:rounds] for name in columns})

    @property
    def interrupted(self) -> np.ndarray:
        """(rounds, batches) bool: was the work kept from the processor? Then the wall clock says nothing about it."""
        apart = np.asarray(parted(self.wall_ms * self.size, self.cpu_ms * self.size))
        if self.cpu_counts:
            return apart
        found = np.zeros(self.wall_ms.shape, dtype=bool)
        if self.crowded is not None:
            found |= self.crowded[:, None]
        if self.device_ms is not None and self.switches is not None:
            # The host waits for a GPU busily, unless it was told otherwise: then it sleeps, and is not pushed aside.
            found |= apart & (self.switches[..., 1] > 0)
        return found

    @property
    def contaminated(self) -> bool:
        """Whether others' work is in the wall-clock estimate."""
        if self.cpu_counts:
            wall, cpu = (float(np.median(times, 0).mean()) for times in (self.wall_ms, self.cpu_ms))
            return wall > (1 + APART) * cpu + SLACK_MS / self.size
        return bool((self.interrupted.mean(0) >= 0.5).mean() > MANY)

    def times(self, basis: str) -> np.ndarray:
        """(batches,) each one's time: the median over rounds, which what interrupted one of them does not move.

        CPU time is taken over the readings that nothing interrupted, where there are any, a second run's included: work
        that comes back to the processor finds the caches full of somebody else's.
        """
        if basis == WALL:
            return np.median(self.wall_ms, 0)
        kept = np.where(self.interrupted, np.nan if self.again_ms is None else self.again_ms, self.cpu_ms)
        undisturbed = ~np.isnan(kept).all(0)
        found = np.median(self.cpu_ms, 0)
        found[undisturbed] = np.nanmedian(kept[:, undisturbed], 0)
        return found

    def summary(self, basis: str, strata: Strata | None = None) -> dict[str, Any]:
        """The columns of latency.csv that need no other path.

        Args:
            basis: whose times to go by, ``wall`` or ``cpu``.
            strata: what part of the split each batch of one stands for.
        """
        raw = self._requests(basis)
        weights = np.ones(raw.shape)
        if strata is not None:
            weights = np.broadcast_to(strata.weights[:, None], raw.shape)
        some = weights > 0
        percentiles = np.quantile(
            raw[some], (0.25, 0.5, 0.75, 0.9, 0.95, 0.99), weights=weights[some], method="inverted_cdf"
        )
        low, p50, high, p90, p95, p99 = (float(x) for x in percentiles)
        return {
            "mean_ms": split_mean(self.times(basis), strata),
            "wall_ms": split_mean(self.times(WALL), strata),
            "cpu_ms": split_mean(self.times(CPU), strata),
            "p50_ms": p50,
            "p90_ms": p90,
            "p95_ms": p95,
            "p99_ms": p99,
            "iqr_ms": high - low,
            "device_ms": None if self.device_ms is None else split_mean(np.median(self.device_ms, 0), strata),
            "syncs": self.syncs,
            "switches": None if self.switches is None else float(self.switches.sum(2).mean() / self.size),
            "n": int(self.wall_ms.size),
            "rounds": self.rounds,
            "basis": basis,
            "contaminated": self.contaminated,
        }

    def _requests(self, basis: str) -> np.ndarray:
        """(rounds, batches, requests) ms from a batch's start to each one's answer; in a batch of one, its time."""
        whole, waits = (self.wall_ms, self.wait_wall_ms) if basis == WALL else (self.cpu_ms, self.wait_cpu_ms)
        return (whole * self.size)[..., None] if waits is None else waits
