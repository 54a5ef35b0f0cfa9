"""``eebench show``."""

from __future__ import annotations

import sys

import typer

from eebench.cli.options import Plugins


def show(method: str, plugin: Plugins = None) -> None:
    """A method's card: equations, positions, hyper-parameters, what paper and code do, numbers, BibTeX."""
    from eebench.plugins.cards import card_text
    from eebench.plugins.registry import Registry

    text = card_text(Registry.installed(plugin).get(method))
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        typer.echo(text)
