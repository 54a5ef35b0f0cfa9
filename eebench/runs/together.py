"""Several processes at one run: who is there, whose turn it is to read and time, and whose record counts for all."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from eebench.errors import UserError
from eebench.leases import InUseError, Leases
from eebench.manifest import faults_of_run
from eebench.record import CellFacts, read_record
from eebench.runs.plan import Busy, Made, Outcomes
from eebench.runs.store import Store

__all__ = ["Free", "Published", "alone", "present"]

LOOK = 1.0  # seconds between two looks at what others do


class Free:
    """Whether what another process was at is over; looked up now and then.

    Args:
        leases: of the results.
        clock: seconds, rising.
    """

    def __init__(self, leases: Leases, clock: Callable[[], float] = time.monotonic) -> None:
        self.leases, self.clock = leases, clock
        self._live: set[str] = set()
        self._looked = float("-inf")

    def __call__(self, busy: Busy) -> bool:
        now = self.clock()
        if now - self._looked >= LOOK:
            self._live, self._looked = set(self.leases.live()), now
        return busy.lease not in self._live


@contextmanager
def present(store: Store, *, force: bool) -> Iterator[None]:
    """Be seen to be at work on a run in this block.

    Args:
        store: of the run.
        force: finished cells are replaced, which nobody may read meanwhile.

    Raises:
        UserError: others are at work on it and cells are to be replaced, by this process or by one of them.
    """
    name = f"run-{store.path.name}-{uuid.uuid4().hex[:12]}"
    with store.leases.holding(name, **store.about("run", force=force)) as own:
        for other in store.others("run"):
            if other == own.owner:
                continue
            if force:
                raise UserError(f"{other} is at work on this run, and --force would replace what it reads")
            if other.about.get("force"):
                raise UserError(f"{other} makes this run anew, with --force; run this again when it has ended")
        yield


@contextmanager
def alone(store: Store, say: Callable[[str], None], look: float = LOOK) -> Iterator[None]:
    """Wait until nobody makes, reads or times anything of a run; then nobody else does so in this block.

    Args:
        store: of the run.
        say: hears what is waited for.
        look: seconds between two looks.
    """
    said: set[str] = set()

    def wait_for(words: str) -> None:
        if words not in said:
            said.add(words)
            say(f"waiting: {words}")
        time.sleep(look)

    while True:
        try:
            with store.recording():  # from here on nobody begins anything
                while others := store.others("cell", "search"):
                    wait_for(f"{others[0]} makes a cell of this run, and nothing is timed beside that")
                yield
                return
        except InUseError as error:
            if error.name != store.record_lease:
                raise
            wait_for(f"{error.owner or 'another process'} reads and times this run")


class Published:
    """The record of a run, as it was when this was made; later, whether another process has written one since.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._before = self._state()

    def _state(self) -> tuple[int, int] | None:
        try:
            about = (self.run / "run.json").stat()
        except OSError:
            return None
        return about.st_ino, about.st_mtime_ns

    def since(self, outcomes: Outcomes) -> list[CellFacts] | None:
        """The cells of a record that was written since, is whole, and has every cell that these outcomes have."""
        state = self._state()
        if state is None or state == self._before or faults_of_run(self.run) != []:
            return None
        found = read_record(self.run).cells
        here = {made.cell.id for made in outcomes.values() if isinstance(made, Made) and made.cell is not None}
        return found if here <= {cell.id for cell in found if cell.status == "done"} else None
