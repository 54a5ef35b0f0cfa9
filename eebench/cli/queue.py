"""``eebench queue``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eebench.cli.input import numbers, run_directory, writable
from eebench.cli.options import Json, Results
from eebench.errors import UserError


def queue(
    run: Annotated[Path, typer.Argument(help="A run directory, or its name under --results.")],
    method: Annotated[list[str] | None, typer.Option(help="A method as the run names it; repeatable. [all]")] = None,
    target: Annotated[list[str] | None, typer.Option(help="An operating point: drop_1; repeatable. [all]")] = None,
    loads: Annotated[str, typer.Option(help="Rates of arrival, as shares of the plain backbone's capacity.")] = (
        "0.3,0.6,0.9"
    ),
    burst: Annotated[float | None, typer.Option(help="Mean requests that come at once. [1: one by one]")] = None,
    arrivals: Annotated[Path | None, typer.Option(help="A trace: a file of arrival times, one a line.")] = None,
    limit: Annotated[
        float | None, typer.Option(help="ms that p99 must keep within. [ten times the plain backbone's time]")
    ] = None,
    servers: Annotated[int, typer.Option(min=1, help="Equal servers behind one queue.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda: whose readings.")] = "cpu",
    csv: Annotated[Path | None, typer.Option(help="Write the whole table there as well.")] = None,
    json: Json = False,
    results: Results = Path("results"),
) -> None:
    """What a service would see under load: p50, p99 and throughput, by simulation of a queue. No model is run."""
    path = run_directory(run, results)
    shares = numbers("--loads", loads, float)
    if not all(0 < share < float("inf") for share in shares):
        raise UserError("--loads: shares of the plain backbone's capacity must be above 0")
    if burst is not None and not 1 <= burst < float("inf"):
        raise UserError(f"--burst must be at least 1, not {burst:g}")
    if burst is not None and arrivals is not None:
        raise UserError("--arrivals says when requests come: leave --burst out")
    if limit is not None and not 0 < limit < float("inf"):
        raise UserError(f"--limit must be above 0 ms, not {limit:g}")
    if csv is not None:
        writable("--csv", csv.parent)
    from eebench.serving import Arrivals, load_table, read_trace

    come = Arrivals(burst or 1.0, None if arrivals is None else read_trace(arrivals))
    table = load_table(
        path,
        methods=method or (),
        targets=target or (),
        loads=shares,
        arrivals=come,
        limit_ms=limit,
        servers=servers,
        device=device,
    )
    if csv is not None:
        table.to_csv(csv, index=False)
    if json:
        typer.echo(table.to_json(orient="records"))
        return
    typer.echo(f"one queue, {servers} server{'s' * (servers > 1)}; p99 within {table['limit_ms'].iloc[0]:.3g} ms up to")
    for (name, seed, at), rows in table.groupby(["method", "seed", "path"], sort=False):
        first = rows.iloc[0]
        cells = "  ".join(f"{row.load:g}: {row.p50_ms:.3g} / {row.p99_ms:.3g} ms" for row in rows.itertuples())
        typer.echo(f"  {name} {at} seed {seed}: load {first.highest_load:.2f};  p50 / p99 at load {cells}")
