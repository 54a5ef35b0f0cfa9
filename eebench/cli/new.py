"""``eebench new``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(help="Name of the method, a Python identifier in lower case.")],
    file: Annotated[bool, typer.Option("--file", help="One plugin file instead of an installable folder.")] = False,
    folder: Annotated[Path, typer.Option("--in", help="Where to write it.")] = Path(),
) -> None:
    """Write the start of a method of your own; it passes 'eebench check' as it stands."""
    from eebench.plugins.scaffold import write_method

    for line in write_method(name, folder, one_file=file):
        typer.echo(line)
