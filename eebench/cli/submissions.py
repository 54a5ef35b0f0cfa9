"""``eebench submit``, ``verify`` and ``leaderboard``: a repository of results that anybody can check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eebench.cli.input import fail_if_broken, run_directory
from eebench.cli.options import Json, Plugins, Results
from eebench.errors import UserError

if TYPE_CHECKING:
    from eebench.exchange.verify import Verdict
    from eebench.plugins.registry import Registry


def submit(
    run: Annotated[Path, typer.Argument(help="A run directory, or its name under --results.")],
    out: Annotated[Path, typer.Argument(help="Folder of the results repository.")],
    by: Annotated[str, typer.Option(help="Who submits: a short name.")],
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="A method as the run names it; repeatable. [all]")
    ] = None,
    results: Results = Path("results"),
    plugin: Plugins = None,
) -> None:
    """Write a run's methods as submissions: record, tables and per-sample answers, no weights."""
    path = run_directory(run, results)
    from eebench.exchange.submission import submit as work

    for place in work(path, out, by=by, methods=methods, registry=_registry(plugin)):
        typer.echo(f"submission: {place}")


def verify(
    folder: Annotated[Path, typer.Argument(help="A submission, or a folder with many.")],
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """Work submissions out again, without GPU or weights: files, tables, MACs. Exit status 2 if one is refused."""
    from eebench.exchange.verify import verify_all

    verdicts = verify_all(folder, _registry(plugin))
    if as_json:
        typer.echo(json.dumps(list(map(_plain, verdicts)), ensure_ascii=False, indent=1))
    else:
        for verdict in verdicts:
            typer.echo(f"{verdict.path}: {verdict.status}{f', {verdict.words}' if verdict.words else ''}")
            for check in verdict.checks:
                typer.echo(f"  {check.status:<8}  {check.name}: {check.words}")
    _refuse(verdicts)


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="A folder with submissions.")],
    out: Annotated[Path, typer.Option(help="Folder of leaderboard.html and leaderboard.md.")] = Path("leaderboard"),
    as_json: Json = False,
    plugin: Plugins = None,
) -> None:
    """Verify every submission below a folder and rank them by MACs, task by task; refused ones are listed apart."""
    from eebench.exchange.leaderboard import leaderboard as work
    from eebench.exchange.leaderboard import standings
    from eebench.exchange.verify import verify_all
    from eebench.files import plain_values

    verdicts = verify_all(folder, _registry(plugin))
    if as_json:
        typer.echo(json.dumps(plain_values(standings(verdicts)), ensure_ascii=False, indent=1))
        return
    for path in work(verdicts, out).values():
        typer.echo(f"leaderboard: {path}")


def _registry(plugin: Plugins) -> Registry:
    from eebench.plugins.registry import Registry

    registry = Registry.installed(plugin)
    fail_if_broken(registry)
    return registry


def _plain(verdict: Verdict) -> dict[str, Any]:
    said = verdict.submission
    who = {} if said is None else {"method": said.method, "by": said.by, "spec_sha256": said.spec_sha256}
    checks = [{"name": check.name, "status": check.status, "words": check.words} for check in verdict.checks]
    return {"path": str(verdict.path), "status": verdict.status, "words": verdict.words, **who, "checks": checks}


def _refuse(verdicts: Sequence[Verdict]) -> None:
    refused = [verdict for verdict in verdicts if verdict.failed is not None]
    if refused:
        first = refused[0].failed
        assert first is not None
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise UserError(f"{refused[0].path} is refused: {first.name}: {first.words}{more}")
