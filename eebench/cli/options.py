"""Options that several commands share, and what they mean, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eebench.runs.spec import RunSpec

__all__ = [
    "Augment",
    "BackboneName",
    "DatasetName",
    "ImageSize",
    "Json",
    "Limit",
    "Methods",
    "PatchSize",
    "Plugins",
    "Pool",
    "Reports",
    "Results",
    "field",
]


def folder(text: str | Path) -> Path:
    """A folder as it is typed: never nothing, which would mean the working directory."""
    if not str(text).strip():
        raise typer.BadParameter("give a folder, such as results; for this one: .")
    if "\0" in str(text):
        raise typer.BadParameter("a name holds no NUL")
    return Path(text)


def field(name: str, *flags: str, form: str = "") -> Any:
    """The option for a field of a run's spec, which says what it means.

    Args:
        name: of the field.
        flags: as typed, where they are not the parameter's own name.
        form: how its value is typed, where that is not plain.
    """
    return typer.Option(*flags, help=" ".join([RunSpec.model_fields[name].description or "", form]).rstrip())


Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file with methods, backbones or data sets; repeatable."),
]
Methods = Annotated[
    list[str] | None,
    typer.Option("--methods", "-m", help="Comma-separated, with options: 'pabee[patience=3],lgvit'; repeatable. [all]"),
]
BackboneName = Annotated[str, field("backbone", "--backbone", "-b")]
DatasetName = Annotated[str, field("dataset", "--dataset", "-d")]
LARGEST = 2048  # pixels a side: 16,384 patches of 16 pixels, whose attention alone takes a gigabyte a head and image
ImageSize = Annotated[int | None, typer.Option(min=1, max=LARGEST, help="Side of the input image in pixels.")]
PatchSize = Annotated[int | None, typer.Option(min=1, max=LARGEST, help="Side of a patch in pixels.")]
Pool = Annotated[
    str, typer.Option(help="Text: what exits and classifier read: cls, mean, or what the checkpoint says (auto).")
]
Augment = Annotated[
    str | None, typer.Option(help="none, shift, crop, crop+mirror or randaugment, instead of the data set's default.")
]
Limit = Annotated[int | None, typer.Option(help="Most training samples: a fixed choice, class by class.")]
Json = Annotated[bool, typer.Option("--json", help="JSON and nothing else on standard output.")]
Results = Annotated[Path, typer.Option(parser=folder, metavar="FOLDER", help="Folder of run directories.")]
Reports = Annotated[Path, typer.Option(parser=folder, metavar="FOLDER", help="Folder of rendered reports.")]
