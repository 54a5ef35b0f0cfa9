"""``eebench import`` and ``eebench export-predictions``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eebench.cli.input import fail_if_broken, one_of, run_directory, writable
from eebench.cli.options import Plugins, Reports, Results


def import_(
    folder: Annotated[Path, typer.Argument(help="A folder with card.json and arrays; see docs/predictions.md.")],
    beside: Annotated[
        Path | None, typer.Option(help="A finished run on the same samples, to be compared with in one report.")
    ] = None,
    targets: Annotated[str, typer.Option(help="What knobs are chosen for: drop_1,macs_50,... [as for a run]")] = "",
    choose: Annotated[str, typer.Option(help="upper or naive, as for a run.")] = "upper",
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
    plugin: Plugins = None,
) -> None:
    """Predictions of models that eebench never ran: checked, scored and reported as a run, costs as declared."""
    one_of("--choose", choose, ("upper", "naive"))
    writable("--results", results)
    writable("--reports", reports)
    against = None if beside is None else run_directory(beside, results)
    from eebench.cli.report import render_and_print
    from eebench.exchange.importing import import_predictions
    from eebench.plugins.registry import Registry

    registry = Registry.installed(plugin)
    fail_if_broken(registry)
    names = [name.strip() for name in targets.split(",") if name.strip()] or None
    path = import_predictions(folder, results=results, targets=names, choose=choose, beside=against, registry=registry)
    render_and_print(path, reports)


def export_predictions(
    run: Annotated[Path, typer.Argument(help="A run directory, or its name under --results.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="A method as the run names it; repeatable. [all]")
    ] = None,
    logits: Annotated[bool, typer.Option(help="Write logits where the run kept them.")] = True,
    by: Annotated[str | None, typer.Option(help="Who stands for the numbers.")] = None,
    results: Results = Path("results"),
    plugin: Plugins = None,
) -> None:
    """Write what a run's exits said and cost, in the format that 'eebench import' reads."""
    path = run_directory(run, results)
    from eebench.exchange.exporting import export_predictions as work
    from eebench.plugins.registry import Registry

    registry = Registry.installed(plugin)
    fail_if_broken(registry)
    typer.echo(f"predictions: {work(path, out, methods=methods, logits=logits, by=by, registry=registry)}")
