"""``eebench check``."""

from __future__ import annotations

from typing import Annotated

import typer

from eebench.cli.input import fail_if_broken, one_of, say
from eebench.cli.options import Plugins


def check(
    methods: Annotated[
        str, typer.Argument(help="Methods to check, as for run; empty: those of --plugin, else all.")
    ] = "",
    plugin: Plugins = None,
    backbone: Annotated[str, typer.Option(help="Only these kinds: vit, deit, swin, resnet, text.")] = "",
) -> None:
    """Does a method keep the contract? Prints what holds and what does not, in words."""
    from eebench.plugins.registry import Registry

    registry = Registry.installed(plugin)
    fail_if_broken(registry)
    mine = [name for name, source in registry.sources.items() if source.cls is not None]
    chosen = registry.choose(methods or ",".join(mine) or "all")
    from eebench.plugins.check import KINDS, check_method

    kinds = tuple(one_of("--backbone", k.strip(), KINDS) for k in backbone.split(",") if k.strip()) or KINDS
    broken = 0
    for method in chosen:
        typer.echo(method.label)
        for finding in check_method(method, kinds):
            mark = {"holds": "ok  ", "broken": "FAIL", "skipped": "skip"}[finding.status]
            typer.echo(f"  {mark} {finding.backbone:<6} {finding.words}")
            broken += finding.status == "broken"
    if broken:
        raise SystemExit(say(f"{broken} promises do not hold", 1))
