"""A run from end to end: prepare, train, trace, replay, choose on validation, score on test, time, record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from eebench.backbones.encoder import TextBackbone
from eebench.errors import StorageError, UserError
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs.deployed import ENCODER
from eebench.runs.environment import computing, hold_memory
from eebench.runs.execution import log_of, workers_of
from eebench.runs.executors import Executor, InProcess, Without
from eebench.runs.how import Execution
from eebench.runs.plan import Busy, Job, Made, Outcomes, Undone, make_plan
from eebench.runs.prepare import Prepared, prepare
from eebench.runs.progress_file import ProgressFile, Step
from eebench.runs.reading import Reading
from eebench.runs.record import run_record
from eebench.runs.runtimes import asked_runtimes
from eebench.runs.search import check_search
from eebench.runs.shards import cost_of, own_shard, with_needs
from eebench.runs.spec import RunSpec
from eebench.runs.store import Store
from eebench.runs.talk import Begin
from eebench.runs.together import Free, Published, alone, present
from eebench.runs.unfinished import begin

__all__ = ["Outcome", "execute"]


@dataclass
class Outcome:
    """Where a run's record is, and what became of each cell."""

    path: Path
    cells: list[dict[str, Any]] = field(default_factory=list)
    shard: str | None = None  # what was made of a shard, in words; there is no record yet

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Cells that failed."""
        return [cell for cell in self.cells if cell["status"] == "failed"]


def execute(
    spec: RunSpec,
    registry: Registry,
    results: Path,
    *,
    reporter: Reporter,
    force: bool = False,
    repair: bool = True,
    samples: bool = True,
    how: Execution | None = None,
    runtimes: Sequence[str] = (),
    ready: Callable[[str], None] = lambda name: None,
    given_up: Sequence[tuple[str, int, str]] = (),
) -> Outcome:
    """Do everything a spec asks for, reusing finished cells, and write the run directory.

    Args:
        spec: what to run.
        registry: where methods come from.
        results: folder of run directories.
        reporter: hears what goes on.
        force: redo finished cells.
        repair: set damaged cells aside and make them again, rather than refuse them.
        samples: keep a few test samples in the record for the report.
        how: in workers, as a rule, or in this process.
        runtimes: what to time in beside eager PyTorch.
        ready: called with the run's name before any work; may refuse it.
        given_up: label, seed and reason of cells that failed elsewhere and are not tried again.
    """
    if results.exists() and not results.is_dir():
        raise UserError(f"output directory {results} is a file")
    runtimes = asked_runtimes(runtimes)
    how = how or Execution()
    with ExitStack() as stack:
        workers = stack.enter_context(workers_of(spec, registry, reporter, how))
        prepared = prepare(spec, registry)
        hold_memory(prepared.data.modality)
        if prepared.spec.search is not None:
            check_search(prepared.methods)
        ready(prepared.spec.run_name)
        store = Store(results, prepared.spec.run_name, repair=repair, say=reporter.say)
        stack.enter_context(present(store, force=force))
        published = Published(store.path) if samples and not force and len(runtimes) == 1 else None
        store.check()
        memory = None if force else store.path / "threads.json"
        prepared.notes += stack.enter_context(computing(spec.threads, memory, how.workers))
        executor: Executor
        if workers is None:
            executor = InProcess(prepared, store, reporter, force=force)
        else:
            begin = Begin(results.resolve(), prepared.spec.run_name, torch.get_num_threads(), force, repair)
            workers.begin(begin, lambda job: log_of(store, prepared, job), Free(store.leases))
            executor = workers
        if given_up:
            executor = Without(executor, given_up)
        plan = make_plan(prepared)
        if how.part is not None:
            plan = with_needs(plan, own_shard(plan, cost_of(prepared), *how.part))
        logs = {job.key: None if workers is None else log_of(store, prepared, job).name for job in plan}
        file = ProgressFile(store.path, [step_of(job) for job in plan], 0 if workers is None else how.workers, how.part)
        stack.callback(file.close)
        made = _Made(prepared, reporter, file, logs)
        if how.part is not None:
            return _make_shard(prepared, store, reporter, executor, plan, made, how.part)
        return _execute(prepared, registry, store, reporter, executor, plan, made, runtimes, published, samples=samples)


def _execute(
    prepared: Prepared,
    registry: Registry,
    store: Store,
    reporter: Reporter,
    executor: Executor,
    plan: Sequence[Job],
    made: _Made,
    runtimes: Sequence[str],
    published: Published | None,
    *,
    samples: bool,
) -> Outcome:
    """Plan, make what is missing, read what is made, write the record."""
    started, clock = datetime.now(UTC), time.perf_counter()
    spec, say = prepared.spec, reporter.say
    say(f"run {spec.run_name}: {len(prepared.methods)} methods, seeds {list(spec.seeds)}")
    for line in [*prepared.data.notes, *prepared.weight_lines, *prepared.notes]:
        say(line)
    for label, why in prepared.skips.items():
        say(f"{label}: skipped, {why}")
    for reason in registry.broken.values():
        say(f"set aside: {reason}")
    begun = begin(store, spec)
    with reporter.run(len(plan) + len(spec.seeds)):
        outcomes = made.by(executor, plan)
        with alone(store, say):
            theirs = None if published is None else published.since(outcomes)
            if theirs is not None:
                begun.unlink(missing_ok=True)
                say("another process has read and timed these cells: its record counts for both")
                return Outcome(store.path, [cell.model_dump(mode="json") for cell in theirs])
            reading = Reading(prepared, registry, store, reporter, plan, outcomes, executor.ask, runtimes)
            reading.read(samples=samples)
            seconds, broken = time.perf_counter() - clock, list(registry.broken.values())
            curves = reading.tables["curves"]
            record = run_record(prepared, reading.cells, curves, reading.timing, started, seconds, broken)
            backbone = prepared.backbone()
            if isinstance(backbone, TextBackbone):  # a run that was moved to another machine still opens its texts
                backbone.describe(store.path / ENCODER)
            store.publish(reading.tables, reading.raw, record)
            begun.unlink(missing_ok=True)
    return Outcome(store.path, reading.cells)


def _make_shard(
    prepared: Prepared,
    store: Store,
    reporter: Reporter,
    executor: Executor,
    plan: Sequence[Job],
    made: _Made,
    part: tuple[int, int],
) -> Outcome:
    """Make a shard's cells, and leave reading and timing to whoever joins the shards."""
    reporter.say(f"run {prepared.spec.run_name}, shard {part[0]} of {part[1]}: {len(plan)} cells, with what they need")
    begin(store, prepared.spec)
    with reporter.run(len(plan)):
        outcomes = made.by(executor, plan)
    failed = [(job, found.reason) for job in plan if isinstance(found := outcomes[job.key], Undone)]
    for job, reason in failed:
        reporter.say(f"{job.title}: FAILED, {reason}")
    cells = [{"label": job.label, "seed": job.seed, "status": "failed", "reason": reason} for job, reason in failed]
    done = f"shard {part[0]} of {part[1]}: {len(plan) - len(cells)} of {len(plan)} cells are there"
    return Outcome(store.path, cells, f"{done}; the same command without --shard joins the shards")


class _Made:
    """What becomes of a plan's jobs, told to whoever looks on; a run whose backbone failed ends here."""

    def __init__(
        self, prepared: Prepared, reporter: Reporter, file: ProgressFile, logs: Mapping[str, str | None]
    ) -> None:
        self.prepared, self.reporter, self.file, self.logs = prepared, reporter, file, logs
        self._said: set[str] = set()

    def by(self, executor: Executor, plan: Sequence[Job]) -> Outcomes:
        """Have the jobs made."""
        outcomes = executor.execute(plan, self._ended, self._began, self.file.beat)
        for outcome in outcomes.values():  # in the order of the plan, whatever ended first
            if isinstance(outcome, Made):
                self.prepared.notes += outcome.notes
        self.file.reading()
        return outcomes

    def _began(self, job: Job, pid: int) -> None:
        log = self.logs[job.key]
        self.file.began((job.kind, job.label, job.seed), pid, None if log is None else f"logs/{log}")

    def _ended(self, job: Job, outcome: Made | Undone | Busy) -> None:
        if isinstance(outcome, Busy):
            self._elsewhere(job, outcome)
            return
        self.reporter.step_done()
        reused = isinstance(outcome, Made) and outcome.cell is not None and outcome.cell.reused
        reason = outcome.reason if isinstance(outcome, Undone) else None
        self.file.ended((job.kind, job.label, job.seed), reused=reused, reason=reason)
        if isinstance(outcome, Undone) and outcome.storage:
            raise StorageError(outcome.reason)
        if isinstance(outcome, Undone) and job.kind == "backbone":
            raise outcome.error or UserError(f"{job.title} failed: {outcome.reason}")

    def _elsewhere(self, job: Job, busy: Busy) -> None:
        if busy.pid is None:  # it was over a moment ago
            return
        self.file.elsewhere((job.kind, job.label, job.seed), busy.host, busy.pid)
        if job.key not in self._said:
            self._said.add(job.key)
            self.reporter.say(f"{job.title}: process {busy.pid} on {busy.host} is at it")


def step_of(job: Job) -> Step:
    """A job as ``eebench status`` shows it."""
    return Step(job.title, job.kind, job.label, job.seed)
