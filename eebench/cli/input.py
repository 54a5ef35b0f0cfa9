"""What the command line checks before any work: numbers, choices, folders, plugins. Nothing heavy is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from eebench.errors import UserError, did_you_mean, shown

if TYPE_CHECKING:
    from eebench.plugins.registry import Registry

__all__ = ["about_run", "fail_if_broken", "numbers", "one_of", "run_directory", "say", "set_aside", "writable"]


LONGEST, DEEPEST = 255, 4000  # bytes of a name and of a path that file systems take
MOST = 1000  # numbers in a range: more is a slip of the finger


def run_directory(run: Path, results: Path) -> Path:
    """The run itself, or the run of that name under ``results``."""
    path = run if os.path.isfile(run / "run.json") else results / run  # os.path: a name too long is no run either
    if not os.path.isfile(path / "run.json"):
        known = [p.parent.name for p in results.glob("*/run.json")] if os.path.isdir(results) else []
        raise UserError(f"no run at {shown(run)} (no run.json){did_you_mean(run.name, known)}")
    return path.resolve() if path.name in ("", "..") else path  # a report is called as its run is


def about_run(run: Path) -> dict[str, str]:
    """What tells a run's rows from another's, as :func:`eebench.open` names it."""
    from eebench.record import read_record

    record = read_record(run)
    return {"run": record.run, "backbone": record.backbone.name, "dataset": record.data.name}


def numbers(option: str, text: str, kind: type) -> tuple[Any, ...]:
    """Numbers separated by commas, at least one; of whole numbers also ranges, such as 0-4 for 0,1,2,3,4."""
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise UserError(f"{option}: empty; give at least one number")
    found: list[Any] = []
    try:
        for item in items:
            first, dash, last = item.partition("-")
            if kind is int and dash and first and last:
                found += _range(option, int(first), int(last))
            else:
                found.append(kind(item))
        return tuple(found)
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise UserError(f"{option}: '{text}' is not a list of {what} separated by commas") from None


def _range(option: str, first: int, last: int) -> range:
    if not first <= last < first + MOST:
        raise UserError(f"{option}: the range {first}-{last} must go up, over at most {MOST} numbers")
    return range(first, last + 1)


def one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    """The value, if it is among the known ones."""
    if value not in known:
        near = did_you_mean(value, known)
        raise UserError(f"{option}: '{value}' is not one of {', '.join(known)}{near if 'did you mean' in near else ''}")
    return value


def writable(option: str, folder: Path) -> None:
    """A folder that is a file, or lies where nothing may be written, is an error before hours of work, not after."""
    long = [part for part in folder.parts if len(os.fsencode(part)) > LONGEST]
    if long or len(os.fsencode(folder)) > DEEPEST:
        raise UserError(f"{option}: {shown(folder)[:40]}… is a longer name than file systems take")
    if os.path.exists(folder) and not folder.is_dir():
        raise UserError(f"{option}: {shown(folder)} is a file")
    parent = folder
    while not os.path.exists(parent):
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{option}: {shown(folder)} cannot be written to")


def fail_if_broken(registry: Registry) -> None:
    """A plugin file is named on the command line, so it was asked for."""
    for reason in registry.broken.values():
        raise UserError(reason)


def set_aside(registry: Registry) -> None:
    """Say which plugin files were left out, and go on."""
    for reason in registry.broken.values():
        say(f"set aside: {reason}")


def say(text: str, status: int = 0) -> int:
    """One line on standard error; returns the exit status it goes with."""
    typer.echo(shown(text), err=True)  # names may hold signs that a terminal obeys
    return status
