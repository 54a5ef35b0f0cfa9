"""``eebench run STUDY``: the runs of a study file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from eebench.cli.input import say, writable
from eebench.errors import UserError

__all__ = ["check_options", "run_file"]


def check_options(context: typer.Context, study: Path) -> None:
    """A run is described in one place: by a study file, or by options.

    Raises:
        UserError: an argument that is no study file, or an option that the file would contradict.
    """
    from eebench.runs.spec import RunSpec
    from eebench.studies.file import SUFFIXES

    if study.suffix not in SUFFIXES:
        raise UserError(
            f"unexpected extra argument '{study}': a study is a file that ends in {', '.join(SUFFIXES)}; methods go to"
            " --methods"
        )
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if name in (*RunSpec.model_fields, "no_static") and source is not None and source.name == "COMMANDLINE":
            raise UserError(f"{parameter.opts[0]}: the study file says what is run; change it there, or use --only")


def run_file(
    path: Path,
    only: Sequence[str],
    plugins: Sequence[Path],
    results: Path,
    reports: Path,
    how: Mapping[str, Any],
    *,
    dry_run: bool = False,
) -> None:
    """Run a study, or print what it would do.

    Args:
        path: of the study file.
        only: parts of it.
        plugins: files beside those that the study names.
        results: folder of run directories.
        reports: folder of rendered reports.
        how: what :func:`eebench.runs.anywhere.execute` takes beside the spec, the same for every run.
        dry_run: only print.
    """
    from eebench.studies.run import open_study, print_study, run_study

    study = open_study(path, plugins, only)
    writable("--results", results)
    writable("--reports", reports)
    if dry_run:
        print_study(study, results)
        return
    from eebench.progress import Reporter
    from eebench.report import read_answer, render

    def finished(run: Path) -> None:
        if (reports / run.name / "report.html").is_file() and not _older(reports / run.name / "report.html", run):
            return
        written = render(run, reports / run.name)
        typer.echo(f"report: {written['report.html']}\n{read_answer(run)['sentence']}")

    outcome = run_study(study, results, reporter=Reporter(), finished=finished, **how)
    typer.echo(f"study: {outcome.path}, {len(outcome.runs)} of {len(study.chosen)} runs finished")
    if len(outcome.runs) > 1:
        typer.echo(f"compare: eebench compare {study.name}")
    for name, reason in outcome.failed.items():
        say(f"failed: {name}: {reason}")
    if outcome.failed:
        raise SystemExit(1)


def _older(report: Path, run: Path) -> bool:
    """Whether a report was made before its run was finished."""
    return report.stat().st_mtime < (run / "run.json").stat().st_mtime
