"""A study from end to end: every run by the machinery of a single run, those that are finished left as they are."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.record import read_record
from eebench.runs.anywhere import execute
from eebench.runs.estimate import needs, print_run
from eebench.runs.runner import Outcome
from eebench.studies.expand import Entry, Selection, entries_of, narrowed
from eebench.studies.file import StudyFile, read_study
from eebench.studies.frames import open_frames
from eebench.studies.plan import Planned, plan_study, prepared_entry
from eebench.studies.record import STUDY, StudyRecord, StudyRun, read_study_record, write_study_record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Study", "StudyOutcome", "open_study", "print_study", "run_study", "run_study_file"]


@dataclass(frozen=True)
class Study:
    """A study file, read and multiplied out."""

    file: StudyFile
    registry: Registry
    entries: list[Entry]  # all of them
    chosen: list[Entry]  # by --only

    @property
    def name(self) -> str:
        """Name of its folder."""
        assert self.file.name is not None
        return self.file.name


@dataclass
class StudyOutcome:
    """What became of a study."""

    path: Path  # the study's folder
    runs: list[Path] = field(default_factory=list)  # finished ones, in order
    failed: dict[str, str] = field(default_factory=dict)  # what failed, and why: runs, or methods of runs


def open_study(path: Path, plugins: Sequence[Path] = (), only: Sequence[str] = ()) -> Study:
    """Read a study file.

    Args:
        path: of the file.
        plugins: files beside those that the study names.
        only: selections such as ``backbone=vit_ti,method=lgvit``; what any of them chooses is chosen.

    Raises:
        UserError: whatever is wrong with it, in one line.
    """
    file = read_study(path)
    registry = Registry.installed(list(dict.fromkeys([*plugins, *map(Path, file.plugins)])))
    for reason in registry.broken.values():
        raise UserError(reason)
    selections = [Selection.parse(text) for text in only]
    try:
        entries = entries_of(file, registry)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Study(file, registry, entries, narrowed(entries, selections))


def run_study_file(
    path: str | Path,
    *,
    results: str | Path = "results",
    plugins: Sequence[str | Path] | None = None,
    only: str | Sequence[str] = (),
    force: bool = False,
    repair: bool = True,
    quiet: bool = True,
) -> dict[str, pd.DataFrame]:
    """Run a study file from Python, or go on with it.

    Args:
        path: of the study file.
        results: folder of run directories.
        plugins: files with further methods, beside those that the study names.
        only: a part of it, such as ``"backbone=vit_ti,method=lgvit"``, or several.
        force: run again what is finished, and redo its cells.
        repair: set damaged cells aside and make them again, rather than refuse them.
        quiet: no progress.

    Returns:
        The tables of its runs, as :func:`eebench.open` gives them; what failed is warned of.

    Raises:
        UserError: anything wrong with the study, before any work is done, or none of its runs finished.
    """
    study = open_study(Path(path), [Path(p) for p in plugins or ()], (only,) if isinstance(only, str) else only)
    outcome = run_study(study, Path(results), reporter=Reporter(quiet=quiet), force=force, repair=repair)
    for name, reason in outcome.failed.items():
        warnings.warn(f"{name} failed: {reason}", RuntimeWarning, stacklevel=2)
    if not outcome.runs:
        raise UserError(f"no run of the study '{study.name}' was finished")
    return open_frames(*outcome.runs)


def print_study(study: Study, results: Path) -> None:
    """Print every run's cells, what of them is finished, and about what the rest takes; nothing is started."""
    console = Console(markup=False)
    planned = plan_study(study.chosen, study.registry, results)
    seconds, disk, memory, cells, done = 0.0, 0, 0, 0, 0
    for number, one in enumerate(planned, 1):
        state = ": finished" if one.finished else ""
        console.print(f"{number} of {len(planned)}, {one.title}{state}", highlight=False)
        found = print_run(prepared_entry(one.entry, study.registry), results, console)
        seconds, disk, memory = seconds + found.seconds, disk + found.disk, max(memory, found.memory)
        cells, done = cells + found.cells, done + found.done
        last = found
    last.seconds, last.disk, last.memory = seconds, disk, memory
    finished = sum(one.finished for one in planned)
    console.print(
        f"study {study.name}: {len(planned)} runs, {finished} finished; {cells} cells, {done} of them finished; about"
        f" {seconds / 60:.1f} minutes of training, then tracing and latency; {needs(last)}; nothing was started",
        highlight=False,
    )


def run_study(
    study: Study,
    results: Path,
    *,
    reporter: Reporter,
    force: bool = False,
    execute: Callable[..., Outcome] = execute,
    finished: Callable[[Path], None] = lambda run: None,
    **how: Any,
) -> StudyOutcome:
    """Run what is not finished of a study, one run after the other.

    Every run is checked before the first begins. One that then fails does not keep the others from running.

    Args:
        study: what to run.
        results: folder of run directories; the study's own folder is made there too.
        reporter: hears what goes on.
        force: run again what is finished, and redo its cells.
        execute: runs one spec, as :func:`eebench.runs.anywhere.execute` does.
        finished: is called with each run directory as it is finished, or found finished.
        **how: what else ``execute`` takes.

    Raises:
        UserError: something is wrong with a run, or the study's folder is another run's; nothing was written.
    """
    if results.exists() and not results.is_dir():
        raise UserError(f"output directory {results} is a file")
    folder = results / study.name
    if (folder / "run.json").exists() or (folder.exists() and not (folder / STUDY).exists()):
        raise UserError(f"study '{study.name}': {folder} is something else; give the study another name")
    planned = plan_study(study.chosen, study.registry, results)
    _write(study, planned, results)
    outcome = StudyOutcome(folder)
    for number, one in enumerate(planned, 1):
        where = f"{number} of {len(planned)}, {one.title}"
        if one.finished and not force and not _untimed(results / one.run, how.get("runtimes", ())):
            reporter.say(f"{where}: finished before")
            outcome.runs.append(results / one.run)
            finished(results / one.run)
            continue
        reporter.say(where)
        try:
            done = execute(one.entry.spec, study.registry, results, reporter=reporter, force=force, **how)
        except UserError as error:  # the other runs' hours must not go with it
            reporter.say(f"{where}: FAILED, {error}")
            outcome.failed[one.title] = str(error)
            continue
        outcome.failed |= {f"{c['label']} seed {c['seed']} of {one.run}": c["reason"] for c in done.failed}
        if done.shard is None:
            outcome.runs.append(done.path)
            finished(done.path)
        else:
            reporter.say(done.shard)
    return outcome


def _untimed(run: Path, runtimes: Sequence[str]) -> bool:
    """Whether a finished run was not timed in some of these runtimes."""
    return any(not {*runtimes} <= {*facts.runtimes} for facts in read_record(run).timing)


def _write(study: Study, planned: Sequence[Planned], results: Path) -> None:
    """The study's record names all its runs, whatever part of them is run now."""
    folder = results / study.name
    before = read_study_record(folder).runs if (folder / STUDY).exists() else []
    known = {json.dumps(one.spec, sort_keys=True): one.run for one in before}
    known |= {_spec_text(one.entry): one.run for one in planned}
    runs = [
        StudyRun(run=known.get(_spec_text(entry)), apart=entry.apart, spec=entry.spec.model_dump(mode="json"))
        for entry in study.entries
    ]
    write_study_record(results, StudyRecord(name=study.name, runs=runs))


def _spec_text(entry: Entry) -> str:
    return json.dumps(entry.spec.model_dump(mode="json"), sort_keys=True)
