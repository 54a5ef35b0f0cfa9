"""What a run asks of its models beside what their cells say, and what is left when a model does not answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from eebench.errors import StorageError, UserError
from eebench.manifest import DamagedError
from eebench.progress import Reporter
from eebench.runs.models import Model
from eebench.runs.plan import Job, Undone
from eebench.runs.questions import Beyond, Clock, Clocked, Question
from eebench.schema import BACKBONE, EAGER
from eebench.timing.blame import pointed_at
from eebench.timing.times import Raised, Times

__all__ = ["Besides"]


class Besides:
    """Asks, and takes an answer that does not come for what it is: one model's, which takes nothing along.

    Args:
        ask: has a question answered, here or in another process.
        keep: writes what there is to read about a failure: of what, of which seed, the text.
        notes: what a reader of the record must know; grows.
        reporter: hears it too.
        runtimes: that models are timed in.
    """

    def __init__(
        self,
        ask: Callable[[Question], Any],
        keep: Callable[[str, int, str], object],
        notes: list[str],
        reporter: Reporter,
        runtimes: tuple[str, ...] = (EAGER,),
    ) -> None:
        self.ask, self.keep, self.notes, self.reporter = ask, keep, notes, reporter
        self.runtimes = runtimes

    def beyond(self, what: Literal["shift", "slowdown"], job: Job, model: Model, plain: Model) -> list[dict[str, Any]]:
        """A model's rows on other inputs than the test split's; none, and a note, where measuring them failed.

        Args:
            what: the inputs, and the table of the rows.
            job: that made the model.
            model: to look at.
            plain: the plain backbone of the same seed.
        """
        found = self.ask(Beyond(job, what, replace(model, chosen=None), replace(plain, chosen=None)))
        if not isinstance(found, Undone):
            return found
        _heed(found)
        label = model.scored.label
        self._remark(f"no {what} of {label} seed {job.seed}: measuring it, {found.reason}")
        self.keep(f"{what}-{label}", job.seed, found.log)
        return []

    def clocked(self, models: Sequence[Model], seed: int, pointer: Path) -> Clocked:
        """What the clock says of a seed's models.

        Whoever ends the process that times is left out (``times.failed``), and the others are timed again.

        Args:
            models: the plain backbone first.
            seed: theirs.
            pointer: a file for the time being that names whoever runs.
        """
        job = Job("timing", "timing", seed)
        failed: dict[str, Raised] = {}
        try:
            while True:
                left = tuple(replace(m, chosen=None) for m in models if m.scored.label not in failed)
                found = self.ask(Clock(job, left, pointer, self.runtimes))
                if isinstance(found, Clocked):
                    found.times.failed |= failed
                    break
                _heed(found)
                label = pointed_at(pointer)
                if label == BACKBONE or label not in {model.scored.label for model in left}:
                    self.keep("timing", seed, found.log)
                    found = Clocked(Times(0, failed=failed), notes=(f"no timings of seed {seed}: {found.reason}",))
                    break
                failed[label] = Raised(found.reason, found.log)
                self.reporter.say(f"{label} seed {seed}: while it was timed, {found.reason}; the others start again")
        finally:
            pointer.unlink(missing_ok=True)
        for note in found.notes:
            if note not in self.notes:
                self._remark(note)
        return found

    def _remark(self, note: str) -> None:
        self.notes.append(note)
        self.reporter.say(note)


def _heed(failure: Undone) -> None:
    """What is no model's fault ends the run: a disk that is full, something that was asked for in vain."""
    if failure.storage:
        raise StorageError(failure.reason)
    if isinstance(failure.error, UserError) and not isinstance(failure.error, DamagedError):
        raise failure.error
