"""``eebench reproduce``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eebench.cli.input import set_aside
from eebench.cli.options import Json, Plugins
from eebench.errors import UserError, did_you_mean


def reproduce(
    method: Annotated[str | None, typer.Argument(help="Only this method's published cells. [all]")] = None,
    file: Annotated[
        list[Path] | None, typer.Option("--file", help="A TOML file of published cells instead; repeatable.")
    ] = None,
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """Check published numbers as far as this machine can, and say what the others need. Exit status 1 if one fails."""
    from eebench.plugins.registry import Registry
    from eebench.published.register import register

    registry = Registry.installed(plugin)
    set_aside(registry)
    cells = register(registry, file)
    methods = {cell.method for cell in cells}
    if method is not None and method not in methods:
        raise UserError(f"no published cell of '{method}'{did_you_mean(method, methods)}")
    from eebench.published.check import check_cells

    findings = check_cells([cell for cell in cells if method in (None, cell.method)], registry)
    if as_json:
        rows = [{**f.cell.model_dump(mode="json"), "status": f.status, "words": f.words} for f in findings]
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
    else:
        for finding in findings:
            typer.echo(f"{finding.status:<8}  {finding.cell.id}: {finding.cell.setting}")
            typer.echo(f"          {finding.words}")
        count = {status: sum(f.status == status for f in findings) for status in ("holds", "fails", "not here")}
        typer.echo(f"{len(findings)} published cells: " + ", ".join(f"{n} {status}" for status, n in count.items()))
    if any(finding.status == "fails" for finding in findings):
        raise typer.Exit(1)
