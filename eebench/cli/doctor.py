"""``eebench doctor``."""

from __future__ import annotations

import json
from dataclasses import asdict
from os.path import isdir, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eebench.cli.options import Json, Results
from eebench.errors import did_you_mean, shown

if TYPE_CHECKING:
    from eebench.runs.doctor import Health


def doctor(
    run: Annotated[Path, typer.Argument(help="A run directory, or its name under --results.")],
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Compare a run with its checksums; say what the same command would make again. Exit status 1: something."""
    from eebench.errors import UserError
    from eebench.runs.doctor import examine

    found = [path for path in (run, results / run) if isfile(path / "run.json") or isdir(path / "cells")]
    if not found:
        near = did_you_mean(run.name, [path.parent.name for path in results.glob("*/run.json")])
        raise UserError(f"no run at {shown(run)} (neither run.json nor cells){near}")
    health = examine(found[0])
    if as_json:
        typer.echo(json.dumps(asdict(health) | {"again": health.again, "well": health.well}, indent=1))
    else:
        _print(health)
    if not health.well:
        raise SystemExit(1)


def _print(health: Health) -> None:
    for state in ("whole", "record only", "unverified"):
        number = sum(cell.state == state for cell in health.cells)
        if number:
            typer.echo(f"{number} cell{'s' * (number > 1)} {_MEANING[state]}")
    whole = sum(trace.state == "whole" for trace in health.traces)
    if whole:
        typer.echo(f"{whole} trace{'s' * (whole > 1)} of other inputs as they were written")
    for cell in (*health.cells, *health.traces):
        if cell.state in ("damaged", "missing"):
            typer.echo(f"{cell.state}: {cell.label}: {cell.fault}")
    if health.record == "whole":
        typer.echo("run.json and tables as they were written")
    else:
        typer.echo(f"{health.record}: record: {health.fault}")
    for name in health.failed:
        typer.echo(f"failed, and tried again by the same command: {name}")
    for name in health.unfinished:
        typer.echo(f"cut short, and gone on with by the same command: {name}")
    for name in health.set_aside:
        typer.echo(f"set aside earlier: {name}")
    if health.well:
        typer.echo("nothing to mend")
    else:
        typer.echo(f"the same eebench run would make again: {', '.join(health.again)}")


_MEANING = {
    "whole": "as they were written",
    "record only": "without weights and traces, as published records are; their facts as they were written",
    "unverified": "without checksums, as an older eebench wrote them: unverified",
}
