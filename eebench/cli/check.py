"""``eebench check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eebench.cli.input import fail_if_broken, one_of, say
from eebench.cli.options import Plugins


def check(
    methods: Annotated[
        str, typer.Argument(help="Methods to check, as for run; empty: those of --plugin, else all.")
    ] = "",
    plugin: Plugins = None,
    backbone: Annotated[str, typer.Option(help="Only these kinds: vit, deit, swin, resnet, text, regression.")] = "",
    dataset: Annotated[str, typer.Option(help="Check this data set instead of methods.")] = "",
    data_dir: Annotated[Path | None, typer.Option(help="Where the data set lies.")] = None,
) -> None:
    """Does a method, or a data set, keep the contract? Prints what holds and what does not, in words."""
    if dataset:
        return _check_data(dataset, data_dir, plugin)
    from eebench.plugins.registry import Registry

    registry = Registry.installed(plugin)
    fail_if_broken(registry)
    mine = [name for name, source in registry.sources.items() if source.cls is not None]
    chosen = registry.choose(methods or ",".join(mine) or "all")
    from eebench.plugins.cards import card_faults
    from eebench.testing import KINDS, check_method

    kinds = tuple(one_of("--backbone", k.strip(), KINDS) for k in backbone.split(",") if k.strip()) or KINDS
    broken = 0
    for method in chosen:
        typer.echo(method.label)
        for fault in card_faults(registry.get(method.label.partition("[")[0])):
            typer.echo(f"  FAIL {'card':<10} {fault}")
            broken += 1
        for finding in check_method(method, kinds):
            mark = {"holds": "ok  ", "broken": "FAIL", "skipped": "skip"}[finding.status]
            typer.echo(f"  {mark} {finding.backbone:<10} {finding.words}")
            for line in finding.where:
                typer.echo(f"       {'':<10} {line}")
            broken += finding.status == "broken"
    if broken:
        raise SystemExit(say(f"{broken} promises do not hold", 1))
    return None


def _check_data(name: str, data_dir: Path | None, plugin: list[Path] | None) -> None:
    from eebench import data

    data.check(name, data_dir, plugins=plugin or ())
    from eebench.plugins.check_data import check_data

    findings = check_data(name, data_dir=data_dir, plugins=plugin)
    typer.echo(name)
    for finding in findings:
        typer.echo(f"  {'ok  ' if finding.status == 'holds' else 'FAIL'} {finding.words}")
    broken = sum(finding.status == "broken" for finding in findings)
    if broken:
        raise SystemExit(say(f"{broken} promises do not hold", 1))
