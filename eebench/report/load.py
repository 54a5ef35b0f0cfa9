"""What a service would see: recorded times replayed against requests that come at random, for two methods at most."""

from __future__ import annotations

import math

import pandas as pd

from eebench.report.blocks import Cell, Column, Row, Section, Table, Text
from eebench.report.frames import BACKBONE
from eebench.report.scene import Scene
from eebench.report.targets import target
from eebench.report.text import number, times
from eebench.serving import COLUMNS, LOADS, load_table

__all__ = ["load"]

SHOWN = 2  # methods
REQUESTS = 20_000  # simulated at each load


def load(scene: Scene) -> list[Section]:
    """The section, where a run has its raw readings and a method whose speed-up on the CPU may be shown."""
    record = scene.record
    raw = all((record.path / f"latency-s{seed}.npz").is_file() for seed in record.seeds)
    methods = _methods(scene)
    if not raw or not methods or record.unfinished or record.run["schema_version"] != 3:
        return []
    found = load_table(record.path, methods=methods, targets=[scene.main], requests=REQUESTS)
    means = found.groupby(["method", "load"]).mean(numeric_only=True)
    return [Section("load", "Under load", [Text(_told(scene, means, methods)), _table(scene, means, methods)])]


def _methods(scene: Scene) -> list[str]:
    """The fastest on the CPU among those that kept to the main target."""
    rows = scene.table
    rows = rows[(rows["target"] == scene.main) & (rows["kind"] == "dynamic") & rows["met"].astype(bool)]
    rows = rows[rows["speedup_cpu"].notna()].sort_values("speedup_cpu", ascending=False)
    return [str(method) for method in rows["method"].head(SHOWN)]


def _told(scene: Scene, means: pd.DataFrame, methods: list[str]) -> str:
    highest = {method: float(means.loc[method]["highest_load"].mean()) for method in (BACKBONE, *methods)}
    best = max(methods, key=lambda method: highest[method])
    limit = float(means["limit_ms"].mean())
    more = highest[best] / highest[BACKBONE] if highest[BACKBONE] > 0 else math.nan
    return (
        f"With 99 of 100 answers within {scene.write.ms(limit)} ms, {scene.record.labels[best]} bears"
        f" {times(more)} the traffic that the plain backbone bears, {target(scene.main).title}."
    )


def _table(scene: Scene, means: pd.DataFrame, methods: list[str]) -> Table:
    columns = [Column("Method", numeric=False)]
    columns += [Column(f"p50 / p99 at load {share:g}, ms", f"{COLUMNS['p50_ms']}; p99 alike") for share in LOADS]
    columns.append(Column("Highest load", COLUMNS["highest_load"], first="descending"))
    body = []
    for method in (BACKBONE, *methods):
        cells = [Cell(scene.record.labels[method])]
        for share in LOADS:
            p50, p99 = (float(means[name].loc[(method, share)]) for name in ("p50_ms", "p99_ms"))
            cells.append(Cell(f"{scene.write.ms(p50)} / {scene.write.ms(p99)}", sort=p99))
        highest = float(means.loc[method]["highest_load"].mean())
        cells.append(Cell(number(highest), sort=highest))
        body.append(Row(cells, "plain" if method == BACKBONE else "method"))
    limit = float(means["limit_ms"].mean())
    caption = (
        "One server that answers one request at a time, in eager PyTorch on the CPU; requests come at random (Poisson)."
        " Load 1 is what the plain backbone can just answer. Simulated on this run's own readings; highest load: with"
        f" p99 within {scene.write.ms(limit)} ms, ten times the plain backbone's time. Other arrivals, limits and"
        " methods: eebench queue."
    )
    return Table("load", caption, columns, body)
