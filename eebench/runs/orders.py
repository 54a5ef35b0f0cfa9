"""What is handed to a cluster: an order a task, and what a task answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eebench.discovery import Plugin
from eebench.runs.spec import RunSpec

__all__ = ["Answer", "CarryOut", "Cluster", "Lost", "Order", "Ticket"]


@dataclass(frozen=True)
class Order:
    """What one task does."""

    spec: RunSpec
    plugins: tuple[Plugin, ...]
    results: Path  # absolute
    folder: Path  # where relative paths of the spec begin
    shard: str | None = None  # ``i/n``; None: read, time and write the record
    given_up: tuple[tuple[str, int, str], ...] = ()  # label, seed and reason of cells that failed in a shard
    cell_timeout: float | None = None
    repair: bool = True
    samples: bool = True
    runtimes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"shard {self.shard}" if self.shard else "reading and timing"


@dataclass(frozen=True)
class Answer:
    """What a task says at its end."""

    failed: tuple[tuple[str, int, str], ...] = ()  # label, seed and reason of cells that failed
    refused: str = ""  # why it could not be carried out at all, in one line


@dataclass(frozen=True)
class Lost:
    """A task that ended without an answer, as often as the cluster tried it."""

    reason: str  # one line


CarryOut = Callable[[Order], Answer]


class Ticket(Protocol):
    """A task that was handed to a cluster."""

    name: str  # as the cluster knows it

    def look(self) -> Answer | Lost | None:
        """How it ended; None while it is waiting or running."""


class Cluster(Protocol):
    """Where tasks run."""

    hint: str  # what becomes of the tasks when the one who waits for them ends, in words

    def submit(self, carry_out: CarryOut, orders: Sequence[Order], *, exclusive: bool) -> list[Ticket]:
        """Hand over one task an order.

        Args:
            carry_out: does what an order says; importable on the machines of the cluster.
            orders: as many as tasks.
            exclusive: nothing else may run on the task's node.
        """

    def close(self) -> None:
        """Let go of the cluster."""
