"""``eebench ls`` and ``eebench clean``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from eebench.cli.input import one_of, say
from eebench.cli.options import Json, Results
from eebench.errors import UserError

__all__ = ["clean", "ls"]


def ls(results: Results = Path("results"), as_json: Json = False) -> None:
    """Which runs and studies are here, what of them is done, and how big they are."""
    from eebench.studies.shelf import look

    found = look(results)
    if as_json:
        typer.echo(json.dumps(found.values(), indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200)
    if not found.runs and not found.studies:
        console.print(f"{results}: no runs")
        return
    table = Table("run", "state", "methods", "seeds", "cells", "size", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for run in found.runs:
        cells = f"{run.done} done" + "".join(
            f", {number} {word}"
            for word, number in (("failed", run.failed), ("skipped", run.skipped), ("unfinished", run.unfinished))
            if number
        )
        seeds = ",".join(map(str, run.seeds))
        table.add_row(run.run, run.state, str(len(run.methods) or ""), seeds, cells, size(run.bytes))
    console.print(table)
    for study in found.studies:
        console.print(f"study {study.study}: {study.done} of {len(study.runs)} runs have a record")
    for reason in (*(run.reason for run in found.runs), *(study.reason for study in found.studies)):
        if reason:
            console.print(f"damaged: {reason}", soft_wrap=True)
    console.print(f"{size(found.bytes)} in all; cells that runs share are counted once")


def clean(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Only these runs; all under --results when not given.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="Also weights: none, losing (of what a report names neither best nor tied), all.")
    ] = "none",
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also what was begun and not finished, checkpoints included.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    results: Results = Path("results"),
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON and nothing else on standard output; removes only with --yes.")
    ] = False,
) -> None:
    """Remove what can be made again: stale cells, leftovers, and as asked for weights and unfinished work."""
    from eebench.cli.input import run_directory
    from eebench.studies.cleaning import Wanted, find, remove

    one_of("--weights", weights, ("none", "losing", "all"))
    kind = cast("Literal['none', 'losing', 'all']", weights)
    if not results.is_dir():
        raise UserError(f"no results folder {results}")
    chosen = None if not runs else [run_directory(run, results) for run in runs]
    found = find(results, Wanted(weights=kind, unfinished=unfinished), chosen)
    if as_json:
        freed = remove(found) if yes else None
        rows = [{"path": str(one.path), "why": one.why, "bytes": one.bytes} for one in found.things]
        typer.echo(json.dumps({"things": rows, "bytes": found.bytes, "removed": freed is not None}, indent=1))
        return
    for one in found.things:
        typer.echo(f"{size(one.bytes):>10}  {one.path}  ({one.why})")
    if not found.things:
        typer.echo("nothing to remove")
        return
    typer.echo(f"{size(found.bytes):>10}  freed in all; the records stay")
    if not yes and not typer.confirm("Remove these?"):
        say("nothing was removed")
        return
    remove(found)
    typer.echo("removed")


def size(count: int) -> str:
    """Bytes for people."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"
