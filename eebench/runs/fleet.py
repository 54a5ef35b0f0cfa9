"""A run on more machines than one: its shards as tasks of a cluster, then one task that reads and times.

A task is an order: the spec, and which shard of the cells to make. Whoever carries it out does what ``--shard i/n``
does, under the same leases and checkpoints on the same results folder, and loses no more than a shard would: one that
dies is tried again by the cluster and goes on from its last checkpoint, and what a lost task never made, the last one
makes. That one has its node to itself, so that nothing is timed beside training. A method's own error is no
failure of a task: it stands in what the task answers, is not tried again, and stops nobody else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from eebench.errors import UserError
from eebench.runs.orders import Answer, CarryOut, Cluster, Lost, Order, Ticket
from eebench.runs.remote_options import Ray, Slurm

__all__ = ["cluster_of", "dispatch"]

PULSE = 2.0  # seconds between two looks at the tasks


@contextmanager
def cluster_of(asked: Slurm | Ray, logs: Path) -> Iterator[Cluster]:
    """The cluster that is asked for, reached.

    Args:
        asked: its options.
        logs: folder for what tasks print.

    Raises:
        UserError: its package is not installed, or it cannot be reached.
    """
    cluster: Cluster
    if isinstance(asked, Slurm):
        from eebench.runs.slurm import SlurmCluster

        cluster = SlurmCluster(asked, logs)
    else:
        from eebench.runs.ray_cluster import RayCluster

        cluster = RayCluster(asked)
    try:
        yield cluster
    finally:
        cluster.close()


@dataclass
class _Following:
    """Tasks that are waited for."""

    say: Callable[[str], None]
    beat: Callable[[], None]

    def all(self, orders: Sequence[Order], tickets: Sequence[Ticket]) -> list[Answer | Lost]:
        """Wait for every task, and say how each ends."""
        ends: dict[int, Answer | Lost] = {}
        for order, ticket in zip(orders, tickets, strict=True):
            self.say(f"{order.title}: task {ticket.name}")
        while len(ends) < len(orders):
            for number, (order, ticket) in enumerate(zip(orders, tickets, strict=True)):
                if number in ends or (end := ticket.look()) is None:
                    continue
                ends[number] = end
                self.say(f"{order.title}: {_words(end)}")
            self.beat()
        return [ends[number] for number in range(len(orders))]


def dispatch(
    cluster: Cluster,
    carry_out: CarryOut,
    order: Order,
    tasks: int,
    say: Callable[[str], None],
    beat: Callable[[], None] = lambda: time.sleep(PULSE),
) -> Answer:
    """Have a run made: its shards, then the record.

    Args:
        cluster: where.
        carry_out: does what an order says.
        order: the whole run.
        tasks: how many shards.
        say: hears what becomes of tasks.
        beat: called between two looks; waits a moment.

    Returns:
        What the last task says, with every cell that failed.

    Raises:
        UserError: the last task was lost or could not be carried out; the cells that were made stay.
    """
    following = _Following(say, beat)
    shards = [replace(order, shard=f"{number}/{tasks}") for number in range(1, tasks + 1)]
    try:
        ends = following.all(shards, cluster.submit(carry_out, shards, exclusive=False))
        for end in ends:
            if isinstance(end, Answer) and end.refused:
                raise UserError(end.refused)
        failed = tuple(dict.fromkeys(cell for end in ends if isinstance(end, Answer) for cell in end.failed))
        if lost := sum(isinstance(end, Lost) for end in ends):
            say(f"{lost} of {tasks} tasks were lost: what they did not make, the last task makes")
        last = replace(order, given_up=failed)
        (end,) = following.all([last], cluster.submit(carry_out, [last], exclusive=True))
    except (KeyboardInterrupt, SystemExit):
        say(cluster.hint)
        raise
    if isinstance(end, Lost):
        raise UserError(f"the task that reads and times was lost: {end.reason}; the same command goes on")
    if end.refused:
        raise UserError(end.refused)
    return end


def _words(end: Answer | Lost) -> str:
    if isinstance(end, Lost):
        return f"lost, {end.reason}"
    if end.refused:
        return f"refused, {end.refused}"
    return f"ended, {len(end.failed)} of its cells failed" if end.failed else "ended"
