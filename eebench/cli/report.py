"""``eebench report``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from eebench.cli.input import about_run, run_directory, writable
from eebench.cli.options import Plugins, Reports, Results


def report(
    run: Annotated[Path, typer.Argument(help="A run directory, or its name under --results; finished or not.")],
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
    no_samples: Annotated[
        bool, typer.Option("--no-samples", help="Show none of the record's test samples (private data).")
    ] = False,
    plugin: Plugins = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer and the comparison as JSON; render nothing.")
    ] = False,
) -> None:
    """Render a run's report again, from its record alone. Of an unfinished run: what its cells say so far."""
    if not as_json:
        writable("--reports", reports)
    with _record(run, results, plugin) as (path, stays):
        if not as_json:
            render_and_print(path, reports, samples=not no_samples, stays=stays)
            return
        from eebench.report import comparison_table, read_answer

        about = about_run(path)
        told = about | {"answer": read_answer(path), "rows": [about | row for row in comparison_table(path)]}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=1))


@contextmanager
def _record(run: Path, results: Path, plugins: list[Path] | None) -> Iterator[tuple[Path, bool]]:
    """The record of a run, and whether it stays: of an unfinished run one of its cells so far goes again."""
    begun = next((path for path in (run, results / run) if _unfinished(path)), None)
    if begun is None:
        yield run_directory(run, results), True
        return
    from eebench.plugins.registry import Registry
    from eebench.progress import Reporter
    from eebench.runs.unfinished import read_unfinished

    with tempfile.TemporaryDirectory() as folder:
        yield read_unfinished(begun.resolve(), Path(folder), Registry.installed(plugins), Reporter()), False


def _unfinished(path: Path) -> bool:
    """Whether a folder is a run that began (see :mod:`eebench.runs.unfinished`) and has no record yet."""
    return (path / "spec.json").is_file() and not (path / "run.json").exists()


def render_and_print(path: Path, reports: Path, *, samples: bool = True, stays: bool = True) -> None:
    """Write a run's report; print where it lies, the comparison, and the answer as the last lines.

    Args:
        path: the record.
        reports: the folder of reports.
        samples: whether the record's test samples are shown.
        stays: whether the record is there afterwards.
    """
    from eebench.report import print_comparison, render

    written = render(path, reports / path.name, samples=samples)
    typer.echo(f"record: {path}" if stays else f"unfinished run: {path.name}")
    for name in ("report.md", "report.html"):
        typer.echo(f"report: {written[name]}")
    from rich.console import Console

    print_comparison(path, Console())
