"""How a run's work is done, as it is asked for. No result depends on it. Nothing heavy is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eebench.errors import UserError

__all__ = ["Execution"]


@dataclass(frozen=True)
class Execution:
    """How a run's work is done.

    Args:
        in_process: make cells in this process instead of a worker's.
        cell_timeout: seconds that a cell may take in a worker; None: for ever.

    Raises:
        UserError: what is asked for makes no sense.
    """

    in_process: bool = False
    cell_timeout: float | None = None

    def __post_init__(self) -> None:
        if self.cell_timeout is None:
            return
        if not 0 < self.cell_timeout < math.inf:
            raise UserError(f"--cell-timeout: {self.cell_timeout:g} is no number of seconds")
        if self.in_process:
            raise UserError("--cell-timeout needs a worker process: leave --in-process out")
