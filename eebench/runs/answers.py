"""Answers what is asked of finished cells: the one place, beside a cell's making, where methods' code runs."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from eebench.errors import UserError
from eebench.files import storage_trouble
from eebench.progress import Reporter
from eebench.runs.environment import hold_memory
from eebench.runs.maker import line_of, undone
from eebench.runs.models import Model
from eebench.runs.prepare import Prepared
from eebench.runs.probes import subjects
from eebench.runs.questions import Beyond, Clock, Clocked, Question, Read
from eebench.runs.reader import Reader, settled
from eebench.runs.runtimes import in_other_runtimes
from eebench.runs.score import Row
from eebench.runs.shift import Shift, shift_rows, shifts
from eebench.runs.slowdown import slowdown_rows
from eebench.runs.store import Store
from eebench.runs.timings import rounds_of, samples_of
from eebench.timing.blame import pointing
from eebench.timing.entrant import Entrant
from eebench.timing.paths import energy_rows, time_seed

__all__ = ["Answers"]


class Answers:
    """Answers questions about one run's cells.

    Args:
        prepared: the run.
        store: where its cells lie, and where traces of other inputs are kept.
        reporter: hears how it goes.
    """

    def __init__(self, prepared: Prepared, store: Store, reporter: Reporter) -> None:
        self.prepared, self.store, self.reporter = prepared, store, reporter
        self.reader = Reader(prepared, store)
        self._methods = {chosen.label: chosen for chosen in prepared.methods}

    def to(self, question: Question) -> Any:
        """The answer that the question's class names, or an ``Undone``: whatever goes wrong is that question's."""
        try:
            if isinstance(question, Read):
                return self.reader.read(question.job, question.cell, question.base)
            return self._beyond(question) if isinstance(question, Beyond) else self._clock(question)
        except Exception as error:  # what is measured besides takes nothing along
            return undone(error, self.store.path)

    @cached_property
    def _shifts(self) -> list[Shift]:
        return shifts(self.prepared.data)

    def _with_method(self, model: Model) -> Model:
        chosen = self._methods.get(model.scored.label)
        return model if chosen is None else replace(model, chosen=settled(chosen, self.prepared, self.store))

    def _beyond(self, question: Beyond) -> list[Row]:
        plain, model = question.plain, self._with_method(question.model)
        alone = model.scored.label == plain.scored.label
        asked = subjects(self.prepared, [plain] if alone else [plain, model])
        if question.what == "slowdown":
            return slowdown_rows(asked, self.store, self.reporter)
        rows = shift_rows(asked, self._shifts, self.store, self.reporter)
        return [row for row in rows if row["method"] == model.scored.label]

    def _clock(self, question: Clock) -> Clocked:
        spec, prepared, seed = self.prepared.spec, self.prepared, question.job.seed
        hold_memory()
        models = [self._with_method(model) for model in question.models]
        with pointing(question.pointer):
            entrants = [entrant for model in models for entrant in model.entrants(prepared)]
            energy, notes = self._energy(entrants, seed) if spec.energy else ([], ())
            with in_other_runtimes(entrants, question.runtimes, self.reporter):
                times = time_seed(
                    entrants,
                    prepared.data.test,
                    device=prepared.device,
                    samples=samples_of(spec),
                    rounds=rounds_of(spec),
                    batch_sizes=spec.latency_batch_sizes,
                    reporter=self.reporter,
                    seed=seed,
                )
        times.facts = [facts | {"runtimes": list(question.runtimes)} for facts in times.facts]
        for other in times.others.values():
            notes += tuple(f"{who} was not timed in {other.runtime}: {why}" for who, why in other.absent.items())
        return Clocked(times, energy, notes)

    def _energy(self, entrants: list[Entrant], seed: int) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """Rows of energy.csv; none, and a note, where a method or the meter raised."""
        size, device = max(self.prepared.spec.latency_batch_sizes), self.prepared.device
        test = self.prepared.data.test
        try:
            return energy_rows(entrants, test, device=device, batch_size=size, seed=seed, reporter=self.reporter), ()
        except Exception as error:
            if isinstance(error, UserError) or storage_trouble(error, self.store.path) is not None:
                raise
            return [], (f"no energy of seed {seed}: measuring it raised {line_of(error)}",)
