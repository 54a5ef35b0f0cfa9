"""Makes a plan's jobs in this process, one at a time: the one place where a job becomes work."""

from __future__ import annotations

import traceback
from pathlib import Path

from eebench.files import storage_trouble
from eebench.leases import InUseError, LeaseLostError
from eebench.progress import Reporter
from eebench.runs.cell import Cell
from eebench.runs.plan import Busy, Job, Made, Outcomes, Undone
from eebench.runs.prepare import Prepared
from eebench.runs.search import Search
from eebench.runs.store import Store
from eebench.runs.tables import score_plain
from eebench.runs.trials import recall, trials_file
from eebench.runs.workshop import Workshop

__all__ = ["Maker", "line_of", "undone"]


class Maker:
    """Makes cells, or finds them finished.

    Args:
        prepared: the run.
        store: where cells lie.
        reporter: hears what is trained and what is reused.
        force: make finished cells again.
    """

    def __init__(self, prepared: Prepared, store: Store, reporter: Reporter, *, force: bool = False) -> None:
        self.prepared, self.store = prepared, store
        self.workshop = Workshop(prepared, store, reporter, force=force)
        self._methods = {chosen.label: chosen for chosen in prepared.methods}

    def make(self, job: Job, before: Outcomes) -> Made | Undone | Busy:
        """Do one job, unless another process is at it; whatever goes wrong is that job's.

        Args:
            job: what to do.
            before: what became of the jobs it needs.
        """
        said = len(self.prepared.notes)
        try:
            cell = self._make(job, before)
        except InUseError as error:
            owner = error.owner
            return Busy(error.name) if owner is None else Busy(error.name, owner.host, owner.pid)
        except LeaseLostError as error:  # this process slept so long that another one went on with the cell
            self.store.say(f"{job.title}: {error}")
            return Busy("")
        except Exception as error:  # one cell's failure must not take the others' hours with it
            return undone(error, self.store.path)
        notes = tuple(self.prepared.notes[said:])
        del self.prepared.notes[said:]
        return Made(cell, notes)

    def _make(self, job: Job, before: Outcomes) -> Cell | None:
        if job.kind == "backbone":
            return self.workshop.backbone(job.seed)
        base = next(made.cell for key in job.needs if isinstance(made := before[key], Made) and made.cell is not None)
        if job.kind == "static":
            return self.workshop.static(job.seed, job.blocks, base)
        chosen = self._methods[job.label]
        if job.kind == "search":
            trials = trials_file(chosen, self.prepared, self.store, base.seed)
            with self.store.leases.holding(trials.stem, **self.store.about("search")):
                plain = score_plain(base, self.prepared.data.task, self.prepared.depth)
                Search(self.workshop, base, plain.val("plain")[0].row["gmacs"]).best(chosen)
            return None
        if self.prepared.spec.search is not None:
            chosen = recall(chosen, self.prepared, self.store, self.prepared.spec.seeds[0]).chosen
        return self.workshop.method(chosen, job.seed, base)


def line_of(error: BaseException) -> str:
    """What went wrong, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def undone(error: Exception, run: Path) -> Undone:
    """A job that raised this; whether the job failed or the disk under the run.

    Args:
        error: caught.
        run: the run's folder.
    """
    trouble = storage_trouble(error, run)
    log = "".join(traceback.format_exception(error))
    return Undone(line_of(error), log, error) if trouble is None else Undone(trouble, log, error, storage=True)
