"""From finished cells to a run's tables: scored, run live, chosen, timed, tabulated. Nothing is trained here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from eebench.plugins.cards import read_card
from eebench.plugins.chosen import Chosen
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs.beyond import beyond_rows
from eebench.runs.cell import Cell
from eebench.runs.choose import Chooser
from eebench.runs.effort import training_row
from eebench.runs.headlines import Seed, headline_rows, pair_rows, widen
from eebench.runs.live import Live
from eebench.runs.plan import Job, Made, Outcomes, Undone
from eebench.runs.prepare import Prepared
from eebench.runs.reader import MethodRead, chooser_of
from eebench.runs.samples import sample_rows
from eebench.runs.store import Store
from eebench.runs.summaries import conformal_rows, summary_rows
from eebench.runs.tables import Scored, frontier_of, score_plain, score_static
from eebench.runs.timings import attach_speedups, expected_of, rounds_of, samples_of
from eebench.runs.trials import Concluded, recall
from eebench.runs.workshop import open_model, open_static
from eebench.schema import STATIC, TABLES, static_path
from eebench.timing.paths import Entrant, energy_rows, time_seed
from eebench.timing.times import Times

__all__ = ["Reading"]


@dataclass
class _Model:
    """One trained model of a seed (or the static models, as one family) with its scores."""

    scored: Scored
    cell: Cell
    chosen: Chosen | None = None
    static: dict[int, Cell] = field(default_factory=dict)

    def training_rows(self, samples: int) -> list[dict[str, Any]]:
        """Rows of training.csv."""
        return [training_row(cell, samples) for cell in self.static.values() or [self.cell]]


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
        models = [_Model(plain, base)]
        static = self._static(seed, base, plain, chooser)
        models += [] if static is None else [static]
        for chosen in self.prepared.methods:
            found = self._method(chosen, base, seed)
            models += [] if found is None else [found]
        for name, rows in beyond_rows(self.prepared, models, self.store.path, self.reporter).items():
            self.tables[name] += rows
        self._tabulate(models, self._time(models, seed), seed)

    def _plain_backbone(self, seed: int) -> Cell:
        job = next(job for job in self.jobs.values() if job.kind == "backbone" and job.seed == seed)
        made = self.outcomes[job.key]
        assert isinstance(made, Made), "a run without its backbone is not read"
        assert made.cell is not None
        self._note(job.label, seed, "done", cell=made.cell)
        return made.cell

    def _static(self, seed: int, base: Cell, plain: Scored, chooser: Chooser) -> _Model | None:
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
        return _Model(scored, base, static=cells)

    def _method(self, chosen: Chosen, base: Cell, seed: int) -> _Model | None:
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
        return _Model(scored, cell, chosen=chosen)

    def _entrants(self, models: Sequence[_Model]) -> list[Entrant]:
        """Who is timed, and on what."""
        prepared = self.prepared
        entrants = []
        for model in models:
            scored = model.scored
            knobs = {c.target: float(c.test.knob or 0.0) for c in scored.chosen.get("dynamic", [])}
            fixed = {c.target: int(c.test.knob or 0) for c in scored.chosen.get("fixed", [])}
            if model.chosen is not None:
                net, rule = open_model(prepared, model.cell, model.chosen.method), model.chosen.rule(self.task)
                entrants.append(Entrant(scored.label, net, rule, knobs, fixed, expected=expected_of(scored)))
            elif model.static:
                expected = expected_of(scored)
                entrants += [
                    Entrant(STATIC, open_static(prepared, cell, blocks), None, {}, {}, static_path(blocks), expected)
                    for blocks, cell in model.static.items()
                ]
            else:
                entrants.append(Entrant(scored.label, open_model(prepared, model.cell, None), None, {}, {}))
        return entrants

    def _time(self, models: Sequence[_Model], seed: int) -> Times:
        prepared, spec = self.prepared, self.spec
        entrants = self._entrants(models)
        if spec.energy:
            test, largest = prepared.data.test, max(spec.latency_batch_sizes)
            self.tables["energy"] += energy_rows(
                entrants, test, device=prepared.device, batch_size=largest, seed=seed, reporter=self.reporter
            )
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

    def _tabulate(self, models: Sequence[_Model], times: Times, seed: int) -> None:
        tables, plain = self.tables, models[0].scored
        frontier = frontier_of([pair for model in models for pair in model.scored.static_points()])
        assert frontier is not None, "the plain backbone is always on it"
        for model in models:
            scored = model.scored
            tables["curves"] += scored.curve_rows()
            tables["exits"] += scored.exit_rows(model.cell.facts["params_exits"])
            tables["shares"] += scored.share_rows()
            tables["operating_points"] += scored.point_rows(plain, frontier)
            tables["reliability"] += scored.reliability_rows()
            tables["conformal"] += conformal_rows(scored)
            tables["summary"] += summary_rows(scored, plain, frontier)
            tables["training"] += model.training_rows(len(self.prepared.data.train))
        self._seeds.append(Seed(seed, {model.scored.label: model.scored for model in models}))
        widen(tables["operating_points"], self._seeds[-1], self.targets, self.spec.choose, self.spec.level)
        attach_speedups(tables["operating_points"], times, seed)
        tables["latency"] += times.rows(seed)
        self.raw[f"latency-s{seed}"] = times.raw()

    def _failed(self, label: str, seed: int, failure: Undone) -> None:
        self._note(label, seed, "failed", reason=failure.reason)
        log = self.store.path / f"failed-{self.prepared.cell_id(label, seed, '')}.log"
        log.write_text(failure.log, encoding="utf-8")
        self.reporter.say(f"{label} seed {seed}: FAILED, {failure.reason}; see {log}")

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
