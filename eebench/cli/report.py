"""``eebench report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eebench.cli.input import run_directory, writable
from eebench.cli.options import Reports, Results


def report(
    run: Annotated[Path, typer.Argument(help="A run directory, or its name under --results.")],
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
) -> None:
    """Render a run's report again, from its record alone."""
    path = run_directory(run, results)
    writable("--reports", reports)
    render_and_print(path, reports)


def render_and_print(path: Path, reports: Path) -> None:
    """Write a run's report and print its comparison."""
    from eebench.report import print_comparison, render

    written = render(path, reports / path.name)
    from rich.console import Console

    print_comparison(path, Console())
    for name in ("html", "md"):
        for file in written.values():
            if str(file).endswith(f"report.{name}"):
                typer.echo(f"report: {file}")
    typer.echo(f"record: {path}")
