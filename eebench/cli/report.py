"""``eebench report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eebench.cli.input import run_directory, writable
from eebench.cli.options import Reports, Results


def report(
    run: Annotated[Path, typer.Argument(help="A run directory, or its name under --results.")],
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
    no_samples: Annotated[
        bool, typer.Option("--no-samples", help="Show none of the record's test samples (private data).")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer and the comparison as JSON; render nothing.")
    ] = False,
) -> None:
    """Render a run's report again, from its record alone."""
    path = run_directory(run, results)
    if as_json:
        from eebench.report import comparison_table, read_answer

        typer.echo(
            json.dumps({"answer": read_answer(path), "rows": comparison_table(path)}, ensure_ascii=False, indent=1)
        )
        return
    writable("--reports", reports)
    render_and_print(path, reports, samples=not no_samples)


def render_and_print(path: Path, reports: Path, *, samples: bool = True) -> None:
    """Write a run's report; print where it lies, the comparison, and the answer as the last lines."""
    from eebench.report import print_comparison, render

    written = render(path, reports / path.name, samples=samples)
    typer.echo(f"record: {path}")
    for name in ("report.md", "report.html"):
        typer.echo(f"report: {written[name]}")
    from rich.console import Console

    print_comparison(path, Console())
