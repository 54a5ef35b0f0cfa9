"""``eebench status``."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from eebench.cli.options import Results
from eebench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from eebench.runs.progress_file import Progress

LOOK = 2.0  # seconds between two looks with --watch


def status(
    run: Annotated[Path, typer.Argument(help="A run: its folder, or its name under --results.")],
    watch: Annotated[bool, typer.Option("--watch", help="Look again until the run ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    results: Results = Path("results"),
) -> None:
    """How far a run is: what is done, what runs where, what failed, and how long the rest may take."""
    from eebench.runs.progress_file import read_progress

    if watch and as_json:
        raise UserError("--watch and --json contradict each other: give one of them")
    path = run if run.is_dir() else results / run
    if not path.is_dir():
        known = [p.name for p in results.glob("*") if p.is_dir()] if results.is_dir() else []
        raise UserError(f"no run at {run}{did_you_mean(run.name, known)}")
    progress = read_progress(path)
    if as_json:
        now = time.time()
        about: dict[str, float | bool | None] = {
            "done": progress.count("done"),
            "failed": progress.count("failed"),
            "cells": len(progress.steps),
        }
        about |= {"remaining_seconds": progress.remaining(now), "gone": progress.gone(now)}
        typer.echo(json.dumps(about | asdict(progress), indent=1))
        return
    console = Console(highlight=False)
    said = None
    while True:
        lines = _lines(progress, time.time())
        if lines[1:] != said:
            console.print(escape("\n".join(lines)), soft_wrap=True)
        said = lines[1:]
        if not watch or progress.stage == "over" or progress.gone(time.time()):
            return
        time.sleep(LOOK)
        progress = read_progress(path)


def _lines(progress: Progress, now: float) -> list[str]:
    counts = {state: progress.count(state) for state in ("done", "running", "failed", "waiting")}
    head = f"{len(progress.steps)} cells: " + ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    left = progress.remaining(now)
    if progress.stage == "over":
        head += "; the run has ended"
    elif progress.gone(now):
        head += f"; process {progress.pid} on {progress.host} is gone: the same command goes on from here"
    elif progress.stage == "reading":
        head += "; being read and timed"
    elif left is not None:
        head += f"; about {_span(left)} to go, then reading and timing"
    lines = [head]
    for step in progress.steps:
        if step.state == "running":
            lines.append(
                f"running: {step.title}, process {step.pid} on {step.host or progress.host}, log {step.log or 'none'}"
            )
        elif step.state == "failed":
            lines.append(f"failed: {step.title}: {step.reason}")
    return lines


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
