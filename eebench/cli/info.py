"""``eebench info``."""

from __future__ import annotations

import typer


def info() -> None:
    """Versions, hardware, and what is missing."""
    from eebench.runs.environment import OPTIONAL, describe, versions

    missing = [name for name in OPTIONAL if versions()[name] is None]
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name, value in describe(device).items():
        typer.echo(f"{name:<14} {value if value is not None else '-'}")
    if missing:
        typer.echo(f"missing, optional: {', '.join(missing)}")
    if device == "cpu":
        typer.echo("no CUDA device: the GPU columns of a report stay empty")
