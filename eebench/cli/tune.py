"""``eebench tune``."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from eebench.cli.input import about_run, fail_if_broken, one_of, run_directory
from eebench.cli.options import Json, Plugins, Results
from eebench.errors import UserError
from eebench.files import plain_values


def tune(
    run: Annotated[Path, typer.Argument(help="A run directory, or its name under --results.")],
    method: Annotated[str, typer.Option(help="The method, as the run names it.")],
    max_drop: Annotated[
        float | None, typer.Option(help="Accuracy that may be lost: 0.01, the default, is one point.")
    ] = None,
    delta: Annotated[float | None, typer.Option(help="Probability with which more may be lost (0.1).")] = None,
    bound: Annotated[
        str | None, typer.Option(help="ltt, the default, ucb, crc (in expectation) or naive (no guarantee).")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Instead: per-exit thresholds for this share of the backbone's MACs.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Training seed; the run's first when not given.")] = None,
    json: Json = False,
    results: Results = Path("results"),
    plugin: Plugins = None,
) -> None:
    """Choose a knob with a guarantee: at most so much accuracy lost, with probability 1 - delta."""
    kind = one_of("--bound", "ltt" if bound is None else bound, ("ltt", "ucb", "crc", "naive"))
    if budget is not None and (max_drop, delta, bound) != (None, None, None):
        raise UserError(
            "--budget solves for a cost and promises no accuracy: leave --max-drop, --delta and --bound out"
        )
    path = run_directory(run, results)
    from eebench.plugins.registry import Registry
    from eebench.runs.tune import tune as choose
    from eebench.runs.tune import tune_budget

    if budget is not None:
        quotas = tune_budget(path, method, budget, seed=seed)
        if json:
            typer.echo(dumps(plain_values(about_run(path) | asdict(quotas))))
            return
        typer.echo(f"{quotas.method} seed {quotas.seed}: stop where the top probability reaches")
        for block, threshold in zip(quotas.blocks, quotas.thresholds, strict=False):
            typer.echo(f"  block {block:>3}: {'never' if threshold > 1 else f'{threshold:.5f}'}")
        typer.echo(
            f"  on test data: accuracy {quotas.accuracy:.4f} at {quotas.share:.3f} of the plain backbone's MACs "
            f"({quotas.val_share:.3f} on validation data)"
        )
        return
    registry = Registry.installed(plugin)
    fail_if_broken(registry)
    found = choose(
        path,
        method,
        max_drop=0.01 if max_drop is None else max_drop,
        delta=0.1 if delta is None else delta,
        bound=kind,
        seed=seed,
        registry=registry,
    )
    if json:
        typer.echo(dumps(plain_values(about_run(path) | asdict(found))))
        return
    typer.echo(f"{found.method} seed {found.seed}: {found.knob_name} = {found.knob:g}")
    typer.echo(f"  {found.promise}")
    typer.echo(f"  calibrated on {found.samples} validation samples that proposed no knob value")
    typer.echo(
        f"  on test data: {100 * found.drop:+.2f} points lost against the full model, {found.gmacs:.4g} GMACs, "
        f"{found.speedup_macs:.2f}x fewer MACs than the plain backbone, mean exit {found.mean_exit:.1f}"
    )
