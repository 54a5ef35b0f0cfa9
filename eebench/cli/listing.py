"""``eebench list``."""

from __future__ import annotations

from typing import Annotated

import typer

from eebench.cli.input import one_of, set_aside
from eebench.cli.options import Plugins


def listing(
    what: Annotated[str, typer.Argument(help="methods, backbones or datasets")],
    plugin: Plugins = None,
) -> None:
    """What there is to choose from."""
    kind = one_of("list", what, ("methods", "backbones", "datasets"))
    rows: dict[str, str] = {}
    others: tuple[str, ...] = ()
    if kind == "methods":
        from eebench.plugins.cards import summary
        from eebench.plugins.registry import Registry

        registry = Registry.installed(plugin)
        for name, source in registry.sources.items():
            fault = source.fault()
            if fault is None:
                rows[name] = summary(source)
            else:
                registry.broken[name] = fault
        set_aside(registry)
    elif kind == "backbones":
        from eebench import backbones

        rows, others = backbones.known(plugin or ()), backbones.OTHERS
    else:
        from eebench import data

        rows = data.known(plugin or ())
    width = max(map(len, rows), default=0)
    for name, text in rows.items():
        typer.echo(f"{name:<{width}}  {text}")
    for sentence in others:
        typer.echo(sentence)
