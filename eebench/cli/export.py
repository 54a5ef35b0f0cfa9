"""``eebench export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eebench.cli.input import one_of, run_directory
from eebench.cli.options import Plugins, Results
from eebench.errors import UserError


def export(
    run: Annotated[Path, typer.Argument(help="A run directory, or its name under --results.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; it must not be there yet.")],
    method: Annotated[str, typer.Option(help="The method, as the run names it; 'backbone' for the plain one.")],
    target: Annotated[str | None, typer.Option(help="The operating point: drop_1, macs_50. [the run's first]")] = None,
    knob: Annotated[float | None, typer.Option(help="Instead: any value of the rule's knob.")] = None,
    format: Annotated[str, typer.Option(help="onnx, or torch (torch.export programs).")] = "onnx",
    opset: Annotated[int, typer.Option(help="Version of ONNX's operators.")] = 20,
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Refuse a rule that would have to be a Python file in the folder.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Read the test split again and compare with live inference on all of it.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Training seed; the run's first when not given.")] = None,
    results: Results = Path("results"),
    plugin: Plugins = None,
) -> None:
    """Export a tuned model as segments that ONNX Runtime runs, with rule, preprocessing and card."""
    kind = one_of("--format", format, ("onnx", "torch"))
    path = run_directory(run, results)
    from eebench.runs.exporting import export as export_run

    made = export_run(
        path,
        method,
        out,
        target=target,
        knob=knob,
        seed=seed,
        format=kind,
        opset=opset,
        data_only=data_only,
        plugins=plugin,
    )
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    at = f" at {made.knob_name} = {made.knob:g}" + (f" ({made.target})" if made.target else "") if made.rule else ""
    typer.echo(f"{out}: {method}{at}, {len(made.segments)} segments, {size:.1f} MB")
    if compare:
        from eebench.deploy import Runner, TorchRunner
        from eebench.runs.agreement import agreement

        opened = Runner(out) if kind == "onnx" else TorchRunner(out)
        found = agreement(path, method, opened, seed=seed, plugins=plugin)
        typer.echo(f"  {found}")
        if not found.agrees:
            raise UserError(f"{out} does not answer as live inference does")
