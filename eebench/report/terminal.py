"""The comparison in the terminal, at the end of a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from eebench.errors import UserError, did_you_mean
from eebench.report.derive import compare
from eebench.report.frames import load
from eebench.report.text import Writer, number, times
from eebench.report.verdicts import TARGET
from eebench.schema import TARGETS

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["comparison_table", "print_comparison"]

_NAMES = {
    "plain": "",
    "dynamic": "",
    "fixed": "  fixed depth",
    "random": "  random exits",
    "oracle": "  oracle (bound)",
}


def comparison_table(run_dir: Path, target: str = TARGET) -> list[dict[str, Any]]:
    """The comparison at one target, a dictionary a row: the columns of the report's tables/comparison.csv.

    Means over seeds; ``x_std`` beside them where several seeds ran, ``x_low``/``x_high`` the mean bootstrap bounds,
    ``None`` where a value does not apply. Scores and drops are shares, not points.

    Raises:
        UserError: no such target, or a record that cannot be read.
    """
    if target not in TARGETS:
        raise UserError(f"unknown target {target}{did_you_mean(target, TARGETS)}")
    table = compare(load(Path(run_dir)))
    rows = table[table["target"] == target].to_dict("records") if len(table) else []
    return [{str(k): None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]


def print_comparison(run_dir: Path, console: Console, target: str = TARGET) -> None:
    """Print the comparison at one target as a table that fits the console."""
    from rich.table import Table
    from rich.text import Text

    record = load(Path(run_dir))
    write, table = Writer(record), compare(record)
    rows = table[table["target"] == target] if len(table) else table
    devices = [d for d in ("cpu", "gpu") if len(rows) and rows[f"speedup_{d}"].notna().any()]
    columns = [write.score_name, "Δ pt", "GMACs", "× layers", "× MACs", *(f"× {d.upper()}" for d in devices), "exit"]
    view = Table(
        title=f"{record.run['run']}: {TARGETS.get(target, target)}", title_justify="left", box=None, pad_edge=False
    )
    view.add_column("method", no_wrap=True, overflow="ellipsis", min_width=14)
    for name in columns:
        view.add_column(name, justify="right", no_wrap=True)
    for _, row in _grouped(rows).iterrows():
        name = _NAMES[row["kind"]] or row["label"]
        unmet = " †" if row["met"] < row["seeds"] else ""
        cells = [f"{write.score(row['score'])}{write.spread(row, 'score', write.score)}"]
        change = f"{'~' if row['unsure_drop'] else ''}{write.change(row['drop'])}"
        cells.append(change if row["kind"] != "plain" else "")
        cells.append(f"{write.gmacs(row['gmacs'])}{' ★' if row['front_macs'] else '  '}")
        cells += [times(row["speedup_layers"]), times(row["speedup_macs"])]
        cells += [f"{'~' if row[f'unsure_{d}'] else ''}{times(row[f'speedup_{d}'])}" for d in devices]
        cells.append(number(row["mean_exit"], 1))
        style = {"dynamic": "bold", "plain": "bold cyan"}.get(row["kind"], "dim")
        view.add_row(*(Text(text) for text in [f"{name}{unmet}", *cells]), style=style)
    console.print(view)
    for cell in record.cells:
        if cell["status"] != "done":
            text = f"{record.labels[cell['method']]}, seed {cell['seed']}: {cell['status']}, {cell.get('reason')}"
            console.print(Text(text), style="yellow")
    console.print(Text(_legend(rows, write)), style="dim")


def _grouped(rows: pd.DataFrame) -> pd.DataFrame:
    """Each method followed by its baselines, oracles included."""
    if rows.empty:
        return rows
    methods = {method: i for i, method in enumerate(dict.fromkeys(rows["method"]))}
    return rows.iloc[rows["method"].map(methods).argsort(kind="stable")]


def _legend(rows: pd.DataFrame, write: Writer) -> str:
    parts = ["★ on the front of score against MACs", "~ interval holds no change"]
    if len(rows) and (rows["met"] < rows["seeds"]).any():
        parts.append("† target not met on validation data, nearest shown")
    parts.append("± std over seeds" if write.several else "one seed")
    return "; ".join(parts)
