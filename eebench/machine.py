"""What the machine has free: cores this process may use, what others use of them, and threads that wait quietly."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, MutableMapping

__all__ = ["Neighbours", "cores", "free_threads", "load", "oversubscribed", "wait_quietly", "waits_quietly"]

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def wait_quietly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Tell OpenMP that waiting threads sleep instead of spinning; what the user has set stays.

    OpenMP reads this once, when torch is loaded: call it before. Spinning threads of two busy processes take each
    other's cores, and everything slows down manyfold.
    """
    for name, value in _WAITING.items():
        environment.setdefault(name, value)


def waits_quietly(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether OpenMP was told so."""
    return environment.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"


def cores() -> int:
    """Cores this process may use: of its CPU affinity, its control group's quota, the machine, the least."""
    import joblib

    return int(joblib.cpu_count())


def load() -> float | None:
    """The machine's load average over a minute; None where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def free_threads(most: int) -> tuple[int, str]:
    """How many threads to compute with when nobody said, and why it is fewer than there could be.

    Args:
        most: torch's own choice (one a physical core, or what OMP_NUM_THREADS says).

    Returns:
        Threads, at least 1; and one clause, empty where nothing is in the way.
    """
    machine, allowed, busy = os.cpu_count() or 1, cores(), load() or 0.0
    threads = max(1, min(most, allowed, round(machine - busy)))
    if threads >= most:
        return threads, oversubscribed(threads)
    if threads < min(most, allowed):
        return threads, f"others use this machine (load {busy:.1f} on {machine} cores)"
    return threads, f"this process may use {allowed} of {machine} cores"


def oversubscribed(threads: int) -> str:
    """One clause where others leave fewer cores free than these threads need; empty where they do not."""
    machine, busy = os.cpu_count() or 1, load() or 0.0
    if busy + threads <= machine + 1:
        return ""
    return f"the machine is busy (load {busy:.1f} on {machine} cores): expect long times, and some timings withheld"


class Neighbours:
    """How many cores other processes used, from one call to the next."""

    def __init__(self) -> None:
        self.cores()

    def cores(self) -> float:
        """Cores that others kept busy on average since the last call, waiting for the hypervisor included."""
        import psutil

        now, own = time.perf_counter(), time.process_time()
        busy = psutil.cpu_percent(None) / 100 * (psutil.cpu_count() or 1)
        before, used = getattr(self, "_last", (now, own))
        self._last = (now, own)
        return max(0.0, busy - (own - used) / (now - before)) if now > before else 0.0
