"""A run that is not finished: which cells are made, and a record of what they say so far, without a clock."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from eebench.errors import UserError
from eebench.files import read_json, write_json
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs.cell import Cell
from eebench.runs.fingerprint import method_sha256
from eebench.runs.live import Live
from eebench.runs.maker import line_of
from eebench.runs.models import Model
from eebench.runs.plan import Job, Made, Undone, make_plan
from eebench.runs.prepare import Prepared, prepare
from eebench.runs.questions import Question, Read
from eebench.runs.reader import MethodRead, chooser_of
from eebench.runs.reading import Reading
from eebench.runs.record import run_record
from eebench.runs.spec import RunSpec
from eebench.runs.store import Store
from eebench.runs.tables import score_method, score_plain
from eebench.schema import BACKBONE
from eebench.timing.times import Times

__all__ = ["SPEC", "begin", "read_unfinished"]

SPEC = "spec.json"
"""What a run is about, in its directory while it goes on."""

_MISSING = "not made yet"


def begin(store: Store, spec: RunSpec) -> Path:
    """Say in a run's directory what the run is about, before its first cell is made; the record takes its place."""
    return write_json(store.path / SPEC, spec.model_dump(mode="json"))


def read_unfinished(run: Path, root: Path, registry: Registry, reporter: Reporter) -> Path:
    """Write a record of an unfinished run's cells so far: scored by replay, not run live, not timed.

    Nothing in the run's own directory changes.

    Args:
        run: the run's directory.
        root: where the record goes, in a folder of the run's name.
        registry: where the run's methods come from.
        reporter: hears how it goes.

    Returns:
        The record's folder.

    Raises:
        UserError: it cannot be told what the run is about, or no plain backbone is trained yet.
    """
    path = run / SPEC
    try:
        spec = RunSpec(**read_json(path))
    except (ValidationError, TypeError):
        raise UserError(f"{path} is no run's specification; run the benchmark again to go on with it") from None
    began = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    prepared = prepare(spec, registry)
    asked, jobs = prepared.spec, [job for job in make_plan(prepared) if job.kind != "search"]
    found = _cells(run, prepared, jobs)
    plan = [job for job in jobs if (BACKBONE, job.seed) in found]
    if not plan:
        raise UserError(
            f"{run.name} is unfinished, and its plain backbone is not trained yet, by this eebench and here"
        )
    made = sum((job.label, job.seed) in found for job in plan)
    prepared.notes.append(f"unfinished: {made} of {len(jobs)} cells are made, and nothing was timed yet")
    seeds = tuple(dict.fromkeys(job.seed for job in plan))
    prepared.spec = asked.model_copy(update={"seeds": seeds, "shift": False, "slowdown": False})
    store = Store(root, run.name)
    outcomes = {job.key: _outcome(job, found) for job in plan}
    reading = _SoFar(prepared, registry, store, reporter, plan, outcomes, _Replay(prepared).ask)
    reading.read(samples=False)
    for job in jobs:
        if job not in plan:
            reading._note(job.label, job.seed, "missing", reason=_MISSING)
    for note in reading.cells:
        note["id"] = None  # the cells lie elsewhere
    prepared.spec = asked
    seconds = (datetime.now(UTC) - began).total_seconds()
    record = run_record(prepared, reading.cells, reading.tables["curves"], [], began, seconds, [])
    store.publish(reading.tables, {}, record)
    return store.path


def _cells(run: Path, prepared: Prepared, jobs: Sequence[Job]) -> dict[tuple[str, int], Cell]:
    """The finished cells among those that the run would make, by label and seed; stale ones are not among them."""
    methods = {chosen.label: chosen for chosen in prepared.methods}
    found = {}
    for job in jobs:
        if job.kind != "method":
            names = [prepared.cell_id(job.label, job.seed, "")]
        else:
            chosen = methods[job.label]
            names = [prepared.cell_id(chosen.trained, job.seed, method_sha256(type(chosen.method)))]
        if job.kind == "method" and prepared.spec.search is not None:  # what a search found is in the cell's name
            names = [path.name for path in run.glob(f"cells/{names[0].rpartition('-')[0]}-*")]
        for name in names:
            path = run / "cells" / name
            if (path / "cell.json").is_file():
                seconds = float(read_json(path / "cell.json")["seconds"])
                found[job.label, job.seed] = Cell(name, job.label, job.seed, path, seconds, reused=True)
    return found


def _outcome(job: Job, found: dict[tuple[str, int], Cell]) -> Made | Undone:
    cell = found.get((job.label, job.seed))
    return Undone(_MISSING) if cell is None else Made(cell)


class _Replay:
    """Scores methods' cells by replay alone, with the methods as they were asked for."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.methods = {chosen.label: chosen for chosen in prepared.methods}

    def ask(self, question: Question) -> MethodRead | Undone:
        """What a method's cell gives, or why it gives nothing."""
        assert isinstance(question, Read), "nothing else is asked of what is unfinished"
        cell, base, prepared, chosen = question.cell, question.base, self.prepared, self.methods[question.job.label]
        task, depth = prepared.data.task, prepared.depth
        try:
            chooser = chooser_of(prepared, score_plain(base, task, depth))
            rule, knobs = chosen.rule(task), prepared.spec.thresholds
            scored = score_method(
                cell, rule, task, depth, chooser, prepared.targets, thresholds=knobs, pinned=chosen.pinned
            )
        except Exception as error:  # as in a finished run: one method's failure leaves the others
            return Undone(line_of(error), traceback.format_exc(), error)
        return MethodRead(scored, Live(0, 0, 0))


class _SoFar(Reading):
    """Reads what is there: nothing is run, and what is not made is no failure."""

    def _time(self, models: Sequence[Model], seed: int) -> Times:
        return Times(0)

    def _failed(self, label: str, seed: int, failure: Undone) -> None:
        if failure.reason == _MISSING:
            self._note(label, seed, "missing", reason=_MISSING)
        else:
            super()._failed(label, seed, failure)
