"""``eebench merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eebench.cli.input import fail_if_broken, run_directory
from eebench.cli.options import Plugins, Results
from eebench.errors import UserError


def merge(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, or their names under --results; the new one's folder last.")
    ],
    results: Results = Path("results"),
    plugin: Plugins = None,
) -> None:
    """Make one run of several that differ in seeds or methods alone; its tables are computed anew."""
    if len(runs) < 3:
        raise UserError("merge takes two runs or more, then the folder of the new one: eebench merge A B OUT")
    paths = [run_directory(run, results) for run in runs[:-1]]
    from eebench.plugins.registry import Registry
    from eebench.studies.merging import merge as work

    registry = Registry.installed(plugin)
    fail_if_broken(registry)
    typer.echo(f"record: {work(paths, runs[-1], registry)}")
