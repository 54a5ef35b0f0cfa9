"""A run from end to end: prepare, train, trace, replay, choose on validation, score on test, time, record."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eebench.errors import UserError
from eebench.plugins.cards import read_card
from eebench.plugins.registry import Chosen, Registry
from eebench.progress import Reporter
from eebench.runs.cell import Cell
from eebench.runs.choose import Chooser
from eebench.runs.environment import computing, hold_memory
from eebench.runs.finished import read
from eebench.runs.headlines import Seed, headline_rows, pair_rows, widen
from eebench.runs.live import Live, compare_live, spread
from eebench.runs.prepare import Prepared, prepare
from eebench.runs.record import run_record
from eebench.runs.search import Search, check_search
from eebench.runs.spec import RunSpec
from eebench.runs.store import Store
from eebench.runs.summaries import conformal_rows, summary_rows
from eebench.runs.tables import Scored, frontier_of, score_method, score_plain, score_static
from eebench.runs.timings import attach_speedups, expected_of, rounds_of, samples_of
from eebench.runs.workshop import Workshop, open_model, open_static
from eebench.schema import STATIC, TABLES, static_path
from eebench.targets import Target
from eebench.timing.paths import Entrant, energy_rows, time_seed
from eebench.timing.times import Times

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Outcome", "execute", "run"]


@dataclass
class Outcome:
    """Where a run's record is, and what became of each cell."""

    path: Path
    cells: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Cells that failed."""
        return [cell for cell in self.cells if cell["status"] == "failed"]


def run(
    spec: RunSpec | None = None,
    *,
    results: str | Path = "results",
    plugins: Sequence[str | Path] | None = None,
    force: bool = False,
    quiet: bool = True,
    **values: Any,
) -> dict[str, pd.DataFrame]:
    """Run a benchmark from Python.

    Args:
        spec: what to run; or give its fields as keywords: ``run(methods=("pabee",), budget="smoke")``.
        results: folder of run directories.
        plugins: files with further methods.
        force: redo finished cells.
        quiet: no progress.
        **values: fields of a RunSpec, when ``spec`` is not given.

    Returns:
        The run's tables by name (see ``eebench.schema.TABLES``) as data frames; ``.attrs["path"]`` of each is the run
        directory, ``.attrs["failed"]`` the methods that failed and why, which is warned of as well.

    Raises:
        UserError: anything wrong with the input, before any work is done.
    """
    from eebench.runs.spec import make_spec

    if spec is not None and values:
        raise TypeError("give a spec or its fields, not both")
    outcome = execute(
        spec or make_spec(**values),
        Registry.installed([Path(p) for p in plugins or []]),
        Path(results),
        reporter=Reporter(quiet=quiet),
        force=force,
    )
    for cell in outcome.failed:
        warnings.warn(f"{cell['label']} seed {cell['seed']} failed: {cell['reason']}", RuntimeWarning, stacklevel=2)
    return read(outcome.path)


def execute(
    spec: RunSpec,
    registry: Registry,
    results: Path,
    *,
    reporter: Reporter,
    force: bool = False,
) -> Outcome:
    """Do everything a spec asks for, reusing finished cells, and write the run directory."""
    if results.exists() and not results.is_dir():
        raise UserError(f"output directory {results} is a file")
    hold_memory()
    prepared = prepare(spec, registry)
    prepared.notes += _unswept(prepared)
    if prepared.spec.search is not None:
        check_search(prepared.methods)
    store = Store(results, prepared.spec.run_name)
    with computing(spec.threads, None if force else store.path / "threads.json") as remarks:
        prepared.notes += remarks
        return _Run(prepared, registry, store, reporter, force).execute()


def _unswept(prepared: Prepared) -> list[str]:
    """Who cannot follow ``--thresholds``: a knob in whole numbers (patience) keeps its own grid.

    Raises:
        UserError: nobody can.
    """
    if prepared.spec.thresholds is None:
        return []
    task = prepared.data.task
    asked = [chosen for chosen in prepared.methods if chosen.label not in prepared.skips]
    own = [c.label for c in asked if c.pinned is not None or c.rule(task).knob.integer]
    if asked and len(own) == len(asked):
        raise UserError(f"--thresholds: none of {', '.join(own)} has a threshold to sweep")
    return [f"--thresholds do not apply to {', '.join(own)}: their knobs keep their own values"] if own else []


@dataclass
class _Model:
    """One trained model of a seed (or the static models, as one family) with its scores."""

    scored: Scored
    cell: Cell
    chosen: Chosen | None = None
    static: dict[int, Cell] = field(default_factory=dict)

    def training_rows(self, samples: int) -> list[dict[str, Any]]:
        """Rows of training.csv."""
        rows = []
        for cell in self.static.values() or [self.cell]:
            facts = cell.facts
            epochs = sum(phase["epochs"] for phase in facts["phases"])
            row = {"method": cell.label, "seed": cell.seed, "seconds": cell.seconds, "epochs": epochs}
            row |= {"passes": epochs * samples, "params_m": facts["params"] / 1e6, "reused": cell.reused}
            rows.append(row)
        return rows


class _Run:
    """The state of one run while it goes on."""

    def __init__(self, prepared: Prepared, registry: Registry, store: Store, reporter: Reporter, force: bool) -> None:
        self.prepared, self.registry, self.store = prepared, registry, store
        self.reporter = reporter
        self.workshop = Workshop(prepared, store, reporter, force=force)
        self.spec = prepared.spec
        self.depth = prepared.depth
        self.blocks = self.spec.static_blocks(self.depth)
        self.targets = [Target.parse(name) for name in self.spec.targets]
        self.outcome = Outcome(store.path)
        self.search: Search | None = None  # made on the first seed
        self.searched: dict[str, Chosen] = {}  # methods as the search chose them
        self.seeds: list[Seed] = []
        self.tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        self.timing: list[dict[str, Any]] = []  # how it was on each seed and device

    def execute(self) -> Outcome:
        started = datetime.now(UTC)
        clock = time.perf_counter()
        say = self.reporter.say
        say(f"run {self.spec.run_name}: {len(self.prepared.methods)} methods, seeds {list(self.spec.seeds)}")
        for line in [*self.prepared.data.notes, *self.prepared.weight_lines, *self.prepared.notes]:
            say(line)
        for label, why in self.prepared.skips.items():
            say(f"{label}: skipped, {why}")
        for reason in self.registry.broken.values():
            say(f"set aside: {reason}")
        steps = len(self.spec.seeds) * (len(self.prepared.methods) + len(self.blocks) + 2)
        with self.reporter.run(steps):
            for seed in self.spec.seeds:
                self._seed(seed)
        judged = (self.targets, self.spec.choose, self.spec.level)
        with self.reporter.task("intervals over seeds"):
            self.tables["headlines"] = headline_rows(self.seeds, *judged)
            self.tables["pairs"], self.tables["tiers"] = pair_rows(self.seeds, self.targets)
        self.tables["search"] = [] if self.search is None else self.search.rows
        for name, rows in self.tables.items():
            self.store.table(name, rows)
        seconds = time.perf_counter() - clock
        broken = list(self.registry.broken.values())
        self.store.record(
            run_record(self.prepared, self.outcome.cells, self.tables["curves"], self.timing, started, seconds, broken)
        )
        return self.outcome

    def _seed(self, seed: int) -> None:
        prepared, task = self.prepared, self.prepared.data.task
        base = self.workshop.backbone(seed)
        self._note(base.label, seed, "done", cell=base)
        self.reporter.step_done()
        plain = score_plain(base, task, self.depth)
        self.reporter.say(f"backbone seed {seed}: test {task.metric} {plain.test('plain')[0].row['score']:.4f}")
        chooser = Chooser(plain.val("plain")[0], self.spec.choose, self.spec.level)
        if self.spec.search is not None and self.search is None:
            self.search = Search(self.workshop, base, plain.val("plain")[0].row["gmacs"])
        models = [_Model(plain, base)]
        static = self._static(seed, base, plain, chooser)
        models += [] if static is None else [static]
        for chosen in prepared.methods:
            found = self._method(chosen, base, chooser, seed)
            models += [] if found is None else [found]
            self.reporter.step_done()
        times = self._time(models, seed)
        self._tabulate(models, times, seed)
        self.reporter.step_done()

    def _static(self, seed: int, base: Cell, plain: Scored, chooser: Chooser) -> _Model | None:
        """The smaller models of the same architecture, each trained alone."""
        cells = {}
        for blocks in self.blocks:
            cells[blocks] = self.workshop.static(seed, blocks, base)
            self._note(cells[blocks].label, seed, "done", cell=cells[blocks])
            self.reporter.step_done()
        if not cells:
            return None
        scored = score_static(cells, self.prepared.data.task, self.depth, plain, chooser, self.targets)
        return _Model(scored, base, static=cells)

    def _method(self, chosen: Chosen, base: Cell, chooser: Chooser, seed: int) -> _Model | None:
        """Train and score one method; a failure is recorded and the others go on."""
        if chosen.label in self.prepared.skips:
            self._note(chosen.label, seed, "skipped", reason=self.prepared.skips[chosen.label])
            return None
        task = self.prepared.data.task
        try:
            chosen = self._searched(chosen)
            cell = self.workshop.method(chosen, seed, base)
            rule = chosen.rule(task)
            scored = score_method(
                cell,
                rule,
                task,
                self.depth,
                chooser,
                self.targets,
                thresholds=self.spec.thresholds,
                pinned=chosen.pinned,
            )
            model = open_model(self.prepared, cell, chosen.method)
            points = [*(c.test for c in scored.chosen["dynamic"]), *spread(scored.test("dynamic"))]
            live = compare_live(model, rule, self.prepared.data.test, points, self.spec.latency_batch_sizes, seed)
        except Exception as error:  # one method's failure must not take the others' hours with it
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._note(chosen.label, seed, "failed", reason=reason)
            log = self.store.path / f"failed-{self.prepared.cell_id(chosen.label, seed, '')}.log"
            log.write_text(traceback.format_exc(), encoding="utf-8")
            self.reporter.say(f"{chosen.label} seed {seed}: FAILED, {reason}; see {log}")
            return None
        dead = [int(block) for block, alive in zip(cell.facts["blocks"], scored.live, strict=True) if not alive]
        self._note(chosen.label, seed, "done", cell=cell, live=live, dead=dead)
        if dead:
            self.reporter.say(
                f"{chosen.label} seed {seed}: no better than the majority class behind block{'s' * (len(dead) > 1)}"
                f" {', '.join(map(str, dead))}; these exits anchor no comparison"
            )
        return _Model(scored, cell, chosen=chosen)

    def _searched(self, chosen: Chosen) -> Chosen:
        """The method with the parameters its search chose, searched for on the first seed; as it is without one."""
        if self.search is None:
            return chosen
        if chosen.label not in self.searched:
            self.searched[chosen.label] = self.search.best(chosen)
        return self.searched[chosen.label]

    def _entrants(self, models: Sequence[_Model]) -> list[Entrant]:
        """Who is timed, and on what."""
        prepared = self.prepared
        entrants = []
        for model in models:
            scored = model.scored
            knobs = {c.target: float(c.test.knob or 0.0) for c in scored.chosen.get("dynamic", [])}
            fixed = {c.target: int(c.test.knob or 0) for c in scored.chosen.get("fixed", [])}
            if model.chosen is not None:
                net, rule = open_model(prepared, model.cell, model.chosen.method), model.chosen.rule(prepared.data.task)
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
            self.tables["energy"] += energy_rows(
                entrants,
                prepared.data.test,
                device=prepared.device,
                batch_size=max(spec.latency_batch_sizes),
                seed=seed,
                reporter=self.reporter,
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
        for note in self.outcome.cells:
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
        self.seeds.append(Seed(seed, {model.scored.label: model.scored for model in models}))
        widen(tables["operating_points"], self.seeds[-1], self.targets, self.spec.choose, self.spec.level)
        attach_speedups(tables["operating_points"], times, seed)
        tables["latency"] += times.rows(seed)
        raw: dict[str, Any] = dict(times.raw())
        np.savez_compressed(self.store.path / f"latency-s{seed}.npz", **raw)

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
            note["search"] = None if self.search is None else self.search.facts.get(label)
            note["recipe"] = self.prepared.whose(label)
            note["card"] = read_card(self.registry.get(name))
        self.outcome.cells.append(note)
