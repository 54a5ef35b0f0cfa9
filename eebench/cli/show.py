"""``eebench show``."""

from __future__ import annotations

import sys

import typer

from eebench.cli.input import fail_if_broken
from eebench.cli.options import Plugins


def show(method: str, plugin: Plugins = None) -> None:
    """A method's card: equations, positions, hyper-parameters, what paper and code do, numbers, BibTeX."""
    from eebench.plugins.cards import card_text
    from eebench.plugins.registry import Registry

    registry = Registry.installed(plugin)
    fail_if_broken(registry)
    text = card_text(registry.get(method))
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        typer.echo(text)
