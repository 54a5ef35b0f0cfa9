"""From finished cells to a run's tables: scored, run live, chosen, timed, tabulated. Nothing is trained here."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from eebench.errors import StorageError
from eebench.plugins.cards import read_card
from eebench.plugins.chosen import Chosen
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs.besides import Besides
from eebench.runs.cell import Cell
from eebench.runs.choose import Chooser
from eebench.runs.environment import hold_memory
from eebench.runs.headlines import Seed, headline_rows, pair_rows, widen
from eebench.runs.live import Live
from eebench.runs.maker import line_of
from eebench.runs.models import Model
from eebench.runs.plan import Job, Made, Outcomes, Undone
from eebench.runs.prepare import Prepared
from eebench.runs.questions import Question, Read
from eebench.runs.reader import chooser_of
from eebench.runs.samples import sample_rows
from eebench.runs.store import Store
from eebench.runs.tables import Scored, frontier_of, score_plain, score_static
from eebench.runs.timings import attach_speedups
from eebench.runs.trials import Concluded, recall
from eebench.schema import EAGER, STATIC, TABLES
from eebench.timing.across import runtime_rows
from eebench.timing.times import Times

__all__ = ["Reading"]


class Reading:
    """Reads a run's finished cells, seed by seed.

    Args:
        prepared: the run.
        registry: where its methods come from.
        store: where it is written.
        reporter: hears how it goes.
        plan: the run's jobs.
        outcomes: what became of them.
        ask: has questions answered that a method's own code has to answer, here or in another process.
        runtimes: that it is timed in.

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
        ask: Callable[[Question], Any],
        runtimes: Sequence[str] = (EAGER,),
    ) -> None:
        self.prepared, self.registry, self.store, self.reporter = prepared, registry, store, reporter
        self.spec, self.task, self.depth = prepared.spec, prepared.data.task, prepared.depth
        self.targets = prepared.targets
        self.jobs = {(job.kind, job.label, job.seed): job for job in plan}
        self.outcomes, self.ask = outcomes, ask
        self.besides = Besides(ask, self._keep, prepared.notes, reporter, tuple(runtimes))
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
        for model in models:
            self._beyond(model, models[0], seed)
        times = self._time(models, seed)
        for label, raised in times.failed.items():
            self._lost(label, seed, f"while it was timed: {raised.reason}", raised.log)
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
        found = self.ask(Read(job, cell, base))
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

    def _beyond(self, model: Model, plain: Model, seed: int) -> None:
        """Its rows under shift and attack, where they are asked for and it has exits to attack."""
        if model.static:
            job = next(job for job in self.jobs.values() if job.kind == "static" and job.seed == seed)
        else:
            job = self.jobs["backbone" if model is plain else "method", model.scored.label, seed]
        if self.spec.shift:
            self.tables["shift"] += self.besides.beyond("shift", job, model, plain)
        if self.spec.slowdown and model.chosen is not None:
            self.tables["slowdown"] += self.besides.beyond("slowdown", job, model, plain)

    def _time(self, models: Sequence[Model], seed: int) -> Times:
        if (self.store.path / f"latency-s{seed}.npz").exists():
            self.reporter.say(f"seed {seed}: timed again; these timings take the place of the record's")
        hold_memory()  # as whoever reads the clock does: the record describes this process
        found = self.besides.clocked(models, seed, self.store.path / f".timing-s{seed}")
        self.tables["energy"] += found.energy
        self.timing += found.times.facts
        for note in self.cells:
            if note["seed"] == seed and note.get("live"):
                note["live"]["timed"] = found.times.live(note["label"])
        return found.times

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
                log = "".join(traceback.format_exception(error))
                self._lost(model.scored.label, seed, f"while its tables were made: {line_of(error)}", log)
                continue
            for name, some in rows.items():
                tables[name] += some
            told.append(model)
        self._seeds.append(Seed(seed, {model.scored.label: model.scored for model in told}))
        widen(tables["operating_points"], self._seeds[-1], self.targets, self.spec.choose, self.spec.level)
        attach_speedups(tables["operating_points"], times, seed)
        labels = {model.scored.label for model in told}
        tables["latency"] += [row for row in times.rows(seed) if row["method"] in labels]
        tables["runtimes"] += [row for row in runtime_rows(times, seed) if row["method"] in labels]
        self.raw[f"latency-s{seed}"] = times.raw()

    def _lost(self, label: str, seed: int, reason: str, log: str) -> None:
        """A model that was made, and failed behind its training: its note says so."""
        for note in self.cells:
            mine = note["label"] == label or (label == STATIC and note["label"].startswith(f"{STATIC}["))
            if mine and note["seed"] == seed:
                note |= {"status": "failed", "reason": reason, "live": None}
        self._log(label, seed, reason, log)

    def _failed(self, label: str, seed: int, failure: Undone) -> None:
        if failure.storage:
            raise StorageError(failure.reason)
        self._note(label, seed, "failed", reason=failure.reason)
        self._log(label, seed, failure.reason, failure.log)

    def _log(self, label: str, seed: int, reason: str, text: str) -> None:
        self.reporter.say(f"{label} seed {seed}: FAILED, {reason}; see {self._keep(label, seed, text)}")

    def _keep(self, label: str, seed: int, text: str) -> Path:
        log = self.store.path / f"failed-{self.prepared.cell_id(label, seed, '')}.log"
        log.write_text(text, encoding="utf-8")
        return log

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
