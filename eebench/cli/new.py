"""``eebench new``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eebench.errors import UserError


def new(
    name: Annotated[
        str, typer.Argument(help="Name of the method, a Python identifier in lower case; or 'study': a study file.")
    ],
    file: Annotated[bool, typer.Option("--file", help="One plugin file instead of an installable folder.")] = False,
    folder: Annotated[Path, typer.Option("--in", help="Where to write it.")] = Path(),
) -> None:
    """Write the start of a method of your own, which passes 'eebench check' as it stands, or a commented study file."""
    if name == "study":
        if file:
            raise UserError("--file is for methods; a study is one file anyway")
        from eebench.studies.scaffold import write_new_study

        for line in write_new_study(folder):
            typer.echo(line)
        return
    from eebench.plugins.scaffold import write_method

    for line in write_method(name, folder, one_file=file):
        typer.echo(line)
