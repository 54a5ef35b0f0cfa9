"""``eebench cost``."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from eebench.cli.input import fail_if_broken, one_of, set_aside
from eebench.cli.options import BackboneName, ImageSize, Json, Methods, PatchSize, Plugins, Pool


def cost(
    methods: Methods = None,
    backbone: BackboneName = "vit_b",
    classes: Annotated[int, typer.Option(min=1, max=1_000_000, help="Classes of the classifiers.")] = 100,
    image_size: ImageSize = None,
    patch_size: PatchSize = None,
    pool: Pool = "auto",
    tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="Text backbones: length in tokens.")] = 128,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """What early exit would cost, before anything is trained."""
    from eebench.plugins.registry import Registry

    registry = Registry.installed(plugin)
    fail_if_broken(registry)
    from eebench.runs.cost import cost_tables

    chosen = registry.choose(",".join(methods or ["all"]))
    set_aside(registry)
    pooling = one_of("--pool", pool, ("auto", "cls", "mean"))
    tables = cost_tables(chosen, backbone, classes, image_size, patch_size, tokens, pooling)
    print_costs(tables, backbone, as_json=as_json)


def print_costs(tables: dict[str, dict[str, Any]], backbone: str, *, as_json: bool) -> None:
    """Tables on standard output, or one JSON object and nothing else."""
    if as_json:
        json.dump(tables, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False)  # labels have square brackets of their own
    for label, table in tables.items():
        if "skipped" in table:
            console.print(f"{label} on {backbone}: skipped, {table['skipped']}\n")
            continue
        own = f"{table['params_backbone_m']:.2f} M of them the backbone's"
        title = f"{label} on {backbone}: {table['params_m']:.2f} M parameters, {own}"
        grid = Table(title=title, title_justify="left")
        for name in ("exit", "GMACs", "backbone", "heads", "gates", "layers", "MACs"):
            grid.add_column(name + (" speed-up" if name in ("layers", "MACs") else ""), justify="right")
        for row in table["exits"]:
            parts = [f"{row[k]:.4g}" for k in ("gmacs", "gmacs_backbone", "gmacs_heads", "gmacs_gates")]
            grid.add_row(str(row["exit"]), *parts, f"{row['speedup_layers']:.2f}x", f"{row['speedup_macs']:.2f}x")
        console.print(grid)
