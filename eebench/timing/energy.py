"""Energy a sample, by NVML's energy counter over long windows. Measured, never estimated; no counter, no number.

The counter moves every 20 to 100 ms, so one inference cannot be read: work is repeated for at least ten seconds, and
idle power, read just before, is subtracted. Optional: ``pip install 'eebench[energy]'`` and an NVIDIA GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from eebench.errors import UserError

__all__ = ["Energy", "Meter", "NvmlMeter", "measure_energy"]


class Meter(Protocol):
    """An energy counter that only goes up."""

    def joules(self) -> float:
        """Energy used so far."""
        ...


@dataclass(frozen=True)
class Energy:
    """Energy of some repeated work."""

    joules_per_sample: float  # above idle
    gross_joules_per_sample: float  # idle power included
    idle_watts: float
    seconds: float  # of the working window
    samples: int


class NvmlMeter:
    """The total-energy counter of one NVIDIA GPU (Volta or newer).

    Args:
        index: of the device.

    Raises:
        UserError: nvidia-ml-py is missing, or the GPU has no such counter.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            import pynvml
        except ImportError:
            raise UserError("--energy needs nvidia-ml-py: pip install 'eebench[energy]'") from None
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            self.joules()
        except pynvml.NVMLError as error:
            raise UserError(f"--energy: this GPU's energy cannot be read: {error}") from None

    def joules(self) -> float:
        """Energy since the driver was loaded."""
        return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3  # the counter is in millijoules


def measure_energy(
    work: Callable[[], int],
    meter: Meter,
    *,
    seconds: float = 10.0,
    idle_seconds: float = 3.0,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Energy:
    """Repeat work for a window and read what it used.

    Args:
        work: runs inference to its end (synchronised) and returns how many samples it was.
        meter: the counter.
        seconds: least length of the window.
        idle_seconds: how long idle power is read before.
        clock: seconds, monotonic.
        sleep: waits.

    Raises:
        ValueError: no sample was run.
    """
    start, before = clock(), meter.joules()
    sleep(idle_seconds)
    idle_watts = (meter.joules() - before) / (clock() - start)
    samples = 0
    start, before = clock(), meter.joules()
    while clock() - start < seconds:
        samples += work()
    used, took = meter.joules() - before, clock() - start
    if samples < 1:
        raise ValueError("no sample was run")
    return Energy((used - idle_watts * took) / samples, used / samples, idle_watts, took, samples)
