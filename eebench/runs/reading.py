"""From finished cells to a run's tables: scored, run live, chosen, timed, tabulated. Nothing is trained here."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import numpy as np

from eebench.errors import StorageError, UserError
from eebench.files import storage_trouble
from eebench.plugins.cards import read_card
from eebench.plugins.chosen import Chosen
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs.beyond import beyond_rows
from eebench.runs.cell import Cell
from eebench.runs.choose import Chooser
from eebench.runs.headlines import Seed, headline_rows, pair_rows, widen
from eebench.runs.live import Live
from eebench.runs.maker import line_of
from eebench.runs.models import Model
from eebench.runs.plan import Job, Made, Outcomes, Undone
from eebench.runs.prepare import Prepared
from eebench.runs.reader import MethodRead, chooser_of
from eebench.runs.samples import sample_rows
from eebench.runs.store import Store
from eebench.runs.tables import Scored, frontier_of, score_plain, score_static
from eebench.runs.timings import attach_speedups, rounds_of, samples_of
from eebench.runs.trials import Concluded, recall
from eebench.schema import STATIC, TABLES
from eebench.timing.paths import energy_rows, time_seed
from eebench.timing.times import Times

__all__ = ["Reading"]

Found = TypeVar("Found")


class Reading:
    """Reads a run's finished cells, seed by seed.

    Args:
        prepared: the run.
        registry: where its methods come from.
        store: where it is written.
        reporter: hears how it goes.
        plan: the run's jobs.
        outcomes: what became of them.
        read_method: scores one method's cell (:meth:`eebench.runs.reader.Reader.read`, here or in another process).

    Attributes:
        cells: what became of each cell, for the record.
        tables: the rows of each table.
        raw: arrays of the files beside them, raw times and thumbnails, by file name.
        timing: how it was on each seed and device.
    """

    def __init__(
        self,
        prepared: Prepared,
        registry: Registry,
        store: Store,
        reporter: Reporter,
        plan: Sequence[Job],
        outcomes: Outcomes,
        read_method: Callable[[Job, Cell, Cell], MethodRead | Undone],
    ) -> None:
        self.prepared, self.registry, self.store, self.reporter = prepared, registry, store, reporter
        self.spec, self.task, self.depth = prepared.spec, prepared.data.task, prepared.depth
        self.targets = prepared.targets
        self.jobs = {(job.kind, job.label, job.seed): job for job in plan}
        self.outcomes, self.read_method = outcomes, read_method
        self.cells: list[dict[str, Any]] = []
        self.tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        self.raw: dict[str, Mapping[str, np.ndarray]] = {}
        self.timing: list[dict[str, Any]] = []
        self._seeds: list[Seed] = []
        self._searches: dict[str, Concluded] = {}  # by label

    def read(self, *, samples: bool = True) -> None:
        """Everything: each seed, then what they say together, and with ``samples`` some of the data for the report."""
        for job in self.jobs.values():
            if job.kind == "search" and isinstance(self.outcomes[job.key], Made):
                chosen = next(c for c in self.prepared.methods if c.label == job.label)
                self._searches[job.label] = recall(chosen, self.prepared, self.store, job.seed)
        for seed in self.spec.seeds:
            self._read_seed(seed)
            self.reporter.step_done()
        with self.reporter.task("intervals over seeds"):
            self.tables["headlines"] = headline_rows(self._seeds, self.targets, self.spec.choose, self.spec.level)
            self.tables["pairs"], self.tables["tiers"] = pair_rows(self._seeds, self.targets)
        if samples:
            self.tables["samples"], tiles = sample_rows(self._seeds[0], self.prepared.data)
            self.raw |= tiles
        self.tables["search"] = [row for found in self._searches.values() for row in found.rows]

    def _read_seed(self, seed: int) -> None:
        base = self._plain_backbone(seed)
        plain = score_plain(base, self.task, self.depth)
        self.reporter.say(f"backbone seed {seed}: test {self.task.metric} {plain.test('plain')[0].row['score']:.4f}")
        chooser = chooser_of(self.prepared, plain)
        models = [Model(plain, base)]
        static = self._static(seed, base, plain, chooser)
        models += [] if static is None else [static]
        for chosen in self.prepared.methods:
            found = self._method(chosen, base, seed)
            models += [] if found is None else [found]
        none: dict[str, list[dict[str, Any]]] = {}
        besides = partial(beyond_rows, self.prepared, models, self.store.path, self.reporter)
        for name, rows in self._if_possible("shift or slowdown", seed, besides, none).items():
            self.tables[name] += rows
        times = self._time(models, seed)
        for label, error in times.failed.items():
            self._lost(label, seed, f"while it was timed: {line_of(error)}", error)
        self._tabulate([model for model in models if model.scored.label not in times.failed], times, seed)

    def _plain_backbone(self, seed: int) -> Cell:
        job = next(job for job in self.jobs.values() if job.kind == "backbone" and job.seed == seed)
        made = self.outcomes[job.key]
        assert isinstance(made, Made), "a run without its backbone is not read"
        assert made.cell is not None
        self._note(job.label, seed, "done", cell=made.cell)
        return made.cell

    def _static(self, seed: int, base: Cell, plain: Scored, chooser: Chooser) -> Model | None:
        """The smaller models of the same architecture, each trained alone."""
        cells = {}
        for job in self.jobs.values():
            if job.kind != "static" or job.seed != seed:
                continue
            made = self.outcomes[job.key]
            if isinstance(made, Undone):
                self._failed(job.label, seed, made)
                continue
            assert made.cell is not None
            cells[job.blocks] = made.cell
            self._note(job.label, seed, "done", cell=made.cell)
        if not cells:
            return None
        scored = score_static(cells, self.task, self.depth, plain, chooser, self.targets)
        return Model(scored, base, static=cells)

    def _method(self, chosen: Chosen, base: Cell, seed: int) -> Model | None:
        """Score one method; a failure is recorded and the others go on."""
        label = chosen.label
        if label in self.prepared.skips:
            self._note(label, seed, "skipped", reason=self.prepared.skips[label])
            return None
        job = self.jobs["method", label, seed]
        made = self.outcomes[job.key]
        if isinstance(made, Undone):
            self._failed(label, seed, made)
            return None
        cell = made.cell
        assert cell is not None
        found = self.read_method(job, cell, base)
        if isinstance(found, Undone):
            self._failed(label, seed, found)
            return None
        scored, live = found.scored, found.live
        if label in self._searches:
            chosen = self._searches[label].chosen
        dead = [int(block) for block, alive in zip(cell.facts["blocks"], scored.live, strict=True) if not alive]
        self._note(label, seed, "done", cell=cell, live=live, dead=dead)
        if dead:
            self.reporter.say(
                f"{label} seed {seed}: no better than the majority class behind block{'s' * (len(dead) > 1)}"
                f" {', '.join(map(str, dead))}; these exits anchor no comparison"
            )
        return Model(scored, cell, chosen=chosen)

    def _time(self, models: Sequence[Model], seed: int) -> Times:
        prepared, spec = self.prepared, self.spec
        entrants = [entrant for model in models for entrant in model.entrants(prepared)]
        if spec.energy:
            test, size = prepared.data.test, max(spec.latency_batch_sizes)
            work = partial(energy_rows, device=prepared.device, batch_size=size, seed=seed, reporter=self.reporter)
            self.tables["energy"] += self._if_possible("energy", seed, lambda: work(entrants, test), [])
        if (self.store.path / f"latency-s{seed}.npz").exists():
            self.reporter.say(f"seed {seed}: timed again; these timings take the place of the record's")
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
        self.timing += times.facts
        for note in self.cells:
            if note["seed"] == seed and note.get("live"):
                note["live"]["timed"] = times.live(note["label"])
        return times

    def _if_possible(self, what: str, seed: int, measure: Callable[[], Found], none: Found) -> Found:
        """What is measured besides; nothing, and a note, where a method or a meter raised: it takes nothing along."""
        try:
            return measure()
        except Exception as error:
            if isinstance(error, UserError) or storage_trouble(error, self.store.path) is not None:
                raise
            note = f"no {what} of seed {seed}: measuring it raised {line_of(error)}"
            self.prepared.notes.append(note)
            self.reporter.say(note)
            return none

    def _tabulate(self, models: Sequence[Model], times: Times, seed: int) -> None:
        tables, plain = self.tables, models[0].scored
        frontier = frontier_of([pair for model in models for pair in model.scored.static_points()])
        assert frontier is not None, "the plain backbone is always on it"
        told: list[Model] = []
        for model in models:
            try:
                rows = model.rows(plain, frontier, len(self.prepared.data.train))
            except Exception as error:  # one method's failure must not take the others' hours with it
                if model.scored is plain:
                    raise
                self._lost(model.scored.label, seed, f"while its tables were made: {line_of(error)}", error)
                continue
            for name, some in rows.items():
                tables[name] += some
            told.append(model)
        self._seeds.append(Seed(seed, {model.scored.label: model.scored for model in told}))
        widen(tables["operating_points"], self._seeds[-1], self.targets, self.spec.choose, self.spec.level)
        attach_speedups(tables["operating_points"], times, seed)
        labels = {model.scored.label for model in told}
        tables["latency"] += [row for row in times.rows(seed) if row["method"] in labels]
        self.raw[f"latency-s{seed}"] = times.raw()

    def _lost(self, label: str, seed: int, reason: str, error: BaseException) -> None:
        """A model that was made, and failed behind its training: its note says so."""
        for note in self.cells:
            mine = note["label"] == label or (label == STATIC and note["label"].startswith(f"{STATIC}["))
            if mine and note["seed"] == seed:
                note |= {"status": "failed", "reason": reason, "live": None}
        self._log(label, seed, reason, "".join(traceback.format_exception(error)))

    def _failed(self, label: str, seed: int, failure: Undone) -> None:
        if failure.storage:
            raise StorageError(failure.reason)
        self._note(label, seed, "failed", reason=failure.reason)
        self._log(label, seed, failure.reason, failure.log)

    def _log(self, label: str, seed: int, reason: str, text: str) -> None:
        log = self.store.path / f"failed-{self.prepared.cell_id(label, seed, '')}.log"
        log.write_text(text, encoding="utf-8")
        self.reporter.say(f"{label} seed {seed}: FAILED, {reason}; see {log}")

    def _note(
        self,
        label: str,
        seed: int,
        status: str,
        *,
        cell: Cell | None = None,
        reason: str | None = None,
        live: Live | None = None,
        dead: Sequence[int] = (),
    ) -> None:
        note: dict[str, Any] = {"id": cell.id if cell else None, "label": label, "method": label, "seed": seed}
        note |= {"status": status, "reason": reason}
        if cell is not None:
            facts = cell.facts
            note |= {"seconds": cell.seconds, "reused": cell.reused, "params_m": facts["params"] / 1e6}
            note |= {"phases": facts["phases"], "uncounted": facts["uncounted"], "blocks": facts["blocks"]}
        note["dead_exits"] = list(dead)
        if live is not None:
            note["live"] = asdict(live)
        name = label.partition("[")[0]
        if name in self.registry.sources:
            note["search"] = self._searches[label].facts if label in self._searches else None
            note["recipe"] = self.prepared.whose(label)
            note["card"] = read_card(self.registry.get(name))
        self.cells.append(note)
