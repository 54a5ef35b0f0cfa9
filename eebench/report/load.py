"""What a service would see: recorded times replayed against random requests, for two methods and one static model."""

from __future__ import annotations

import pandas as pd

from eebench.report.blocks import Cell, Column, Row, Section, Table, Text
from eebench.report.frames import BACKBONE, STATIC
from eebench.report.scene import Scene
from eebench.report.targets import target
from eebench.report.text import number, times
from eebench.schema import static_path
from eebench.serving import COLUMNS, LOADS, load_table

__all__ = ["load"]

SHOWN = {"dynamic": 2, "static": 1}
REQUESTS = 20_000  # simulated at each load


def load(scene: Scene) -> list[Section]:
    """The section, where a run has its raw readings and a method whose speed-up on the CPU may be shown."""
    record = scene.record
    raw = all((record.path / f"latency-s{seed}.npz").is_file() for seed in record.seeds)
    methods = _methods(scene)
    if not raw or not methods or record.unfinished or record.run["schema_version"] != 3:
        return []
    knobs = scene.table.drop_duplicates("method").set_index("method")["knob"]
    paths = [scene.main, *(static_path(int(knobs[method])) for method in methods if _is_static(method))]
    timed = [STATIC if _is_static(method) else method for method in methods]
    found = load_table(record.path, methods=timed, targets=paths, requests=REQUESTS)
    found["method"] = found["method"].replace(dict(zip(timed, methods, strict=True)))
    means = found.groupby(["method", "load"]).mean(numeric_only=True)
    return [Section("load", "Under load", [Text(_told(scene, means, methods)), _table(scene, means, methods)])]


def _is_static(method: str) -> bool:
    return method.startswith(f"{STATIC}[")


def _methods(scene: Scene) -> list[str]:
    """The fastest on the CPU among those that kept to the main target: methods first, then the static model to beat."""
    rows = scene.table
    rows = rows[(rows["target"] == scene.main) & rows["met"].astype(bool) & rows["speedup_cpu"].notna()]
    rows = rows.sort_values("speedup_cpu", ascending=False)
    found = {kind: rows[rows["kind"] == kind]["method"].head(shown) for kind, shown in SHOWN.items()}
    return [] if found["dynamic"].empty else [str(method) for methods in found.values() for method in methods]


def _told(scene: Scene, means: pd.DataFrame, methods: list[str]) -> str:
    highest = {method: float(means.loc[method]["highest_load"].mean()) for method in (BACKBONE, *methods)}
    limit = float(means["limit_ms"].mean())
    borne = {method: times(bears / highest[BACKBONE]) for method, bears in highest.items() if highest[BACKBONE] > 0}
    if not borne:
        return f"No load keeps 99 of 100 answers of the plain backbone within {scene.write.ms(limit)} ms."
    statics = list(filter(_is_static, methods))
    best = max((method for method in methods if method not in statics), key=lambda method: highest[method])
    beside = f"; {scene.record.labels[statics[0]]}: {borne[statics[0]]}" if statics else ""
    return (
        f"With 99 of 100 answers within {scene.write.ms(limit)} ms, {scene.record.labels[best]} bears"
        f" {borne[best]} the traffic that the plain backbone bears, {target(scene.main).title}{beside}."
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
