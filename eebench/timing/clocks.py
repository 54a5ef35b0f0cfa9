"""What is read beside the wall clock, so that a machine that others use is seen."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from eebench.api import ExitOutput, ExitRule, Rows
from eebench.machine import Neighbours, cores

try:
    import resource
except ImportError:  # Windows counts no context switches
    resource = None  # type: ignore[assignment]

__all__ = ["Clocks", "Stopwatch"]

FINE_NS = 50_000  # a CPU clock that moves in larger steps than this says nothing about one inference
ROOM = 0.5  # cores that others may take before threads are thought to be in each other's way
PATIENCE_NS = 60_000_000  # the coarsest CPU clocks move every 10 to 16 ms


class Clocks:
    """Wall clock, CPU time and context switches of the work that is timed.

    With one torch thread the CPU time is the calling thread's: all the work is done there, and what other threads and
    processes do is not in it. With more, it is the whole process's, which also counts threads that wait for each other
    busily: what the work cost, not how long it takes.

    Args:
        threads: torch's.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.wall = time.perf_counter_ns
        self.cpu = time.thread_time_ns if threads == 1 else time.process_time_ns
        self.look_around()
        self._who = None if resource is None else resource.RUSAGE_SELF
        if threads == 1 and hasattr(resource, "RUSAGE_THREAD"):
            self._who = resource.RUSAGE_THREAD

    def switches(self) -> tuple[int, int] | None:
        """Context switches so far, voluntary and involuntary; None where the system counts none."""
        if resource is None or self._who is None:
            return None
        used = resource.getrusage(self._who)
        return used.ru_nvcsw, used.ru_nivcsw

    def look_around(self) -> None:
        """From now on it counts what others use."""
        self._neighbours = Neighbours()
        self.others: list[float] = []  # cores that others used, a round each

    def crowded(self) -> bool:
        """Whether, since the last look, others used cores that this process's threads needed."""
        self.others.append(self._neighbours.cores())
        return self.others[-1] + self.threads > cores() + ROOM

    def fine(self) -> bool:
        """Whether the CPU clock's steps are small enough for one inference."""
        started, first = self.wall(), self.cpu()
        while (second := self.cpu()) == first:
            if self.wall() - started > PATIENCE_NS:
                return False
        return second - first <= FINE_NS


class Stopwatch(ExitRule):
    """A rule that notes when each of its decisions was made: a request that stops there has its answer then.

    Args:
        rule: the rule that decides.
        clocks: to read.
    """

    def __init__(self, rule: ExitRule, clocks: Clocks) -> None:
        self.rule, self.knob, self._clocks = rule, rule.knob, clocks
        self.stamps: list[tuple[int, int]] = []  # (wall, CPU) nanoseconds, a decision each, since ``start``

    def start(self) -> None:
        """Forget the batch before."""
        self.stamps = []

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """What the rule observes."""
        return self.rule.observe(output, exit, ids)

    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        """What the rule decides, and when."""
        decided = self.rule.step(state, seen, knob)
        self.stamps.append((self._clocks.wall(), self._clocks.cpu()))
        return decided

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """The rule's own."""
        return self.rule.grid(seen)
