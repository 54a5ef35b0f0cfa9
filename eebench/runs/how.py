"""How a run's work is done, as it is asked for. No result depends on it. Nothing heavy is imported."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from eebench.errors import UserError
from eebench.runs.remote_options import Ray, Slurm, remote_of

__all__ = ["Execution"]

LOCAL = re.compile(r"local(?:\[workers=(\d{1,4})\])?")
SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")
MOST = 256  # workers on one machine


@dataclass(frozen=True)
class Execution:
    """How a run's work is done.

    Args:
        in_process: make cells in this process instead of a worker's.
        executor: ``local``, worker processes on this machine: one, or ``local[workers=N]``. ``slurm[…]`` and ``ray[…]``
            have shards made by tasks of a cluster, see :mod:`eebench.runs.remote_options`.
        cell_timeout: seconds that a cell may take in a worker; None: for ever.
        shard: ``i/n``: make the i-th of n shards of the cells, and read nothing; None: everything.

    Raises:
        UserError: what is asked for makes no sense.
    """

    in_process: bool = False
    cell_timeout: float | None = None
    executor: str = "local"
    shard: str | None = None

    @property
    def remote(self) -> Slurm | Ray | None:
        """Options of the cluster whose tasks make the cells; None: they are made on this machine."""
        return remote_of(self.executor)

    @property
    def part(self) -> tuple[int, int] | None:
        """Which shard, and of how many; None: everything."""
        found = None if self.shard is None else SHARD.fullmatch(self.shard)
        return None if found is None else (int(found[1]), int(found[2]))

    @property
    def workers(self) -> int:
        """How many workers at a time; 0: none."""
        found = LOCAL.fullmatch(self.executor)
        return 0 if self.in_process or found is None else int(found[1] or 1)

    def __post_init__(self) -> None:
        found, remote = LOCAL.fullmatch(self.executor), self.remote
        if remote is None and (found is None or not 1 <= int(found[1] or 1) <= MOST):
            raise UserError(
                f"--executor: '{self.executor}' is none; use local[workers=N], N up to {MOST}, slurm[…] or ray[…]"
            )
        if self.in_process and (found is None or found[1]):
            raise UserError("--executor needs worker processes: leave --in-process out")
        if remote is not None and self.shard is not None:
            raise UserError(f"--shard and --executor {remote.name} contradict each other: its tasks are the shards")
        if self.shard is not None and (self.part is None or not 1 <= self.part[0] <= self.part[1]):
            raise UserError(f"--shard: '{self.shard}' is no shard; use i/n, with i from 1 to n")
        if self.cell_timeout is None:
            return
        if not 0 < self.cell_timeout < math.inf:
            raise UserError(f"--cell-timeout: {self.cell_timeout:g} is no number of seconds")
        if self.in_process:
            raise UserError("--cell-timeout needs a worker process: leave --in-process out")
