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
    "static": "",
    "dynamic": "",
    "fixed": "  fixed depth",
    "random": "  random exits",
    "oracle": "  oracle (bound)",
}
_SHORT = {"accuracy": "acc. %", "mcc": "MCC", "f1": "F1", "accuracy_f1": "acc. F1", "pearson_spearman": "corr."}


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
    names = [_SHORT.get(write.metric, "score"), "Δ pt", "GMACs", "×layers", "×MACs"]
    names += [*(f"×{device.upper()}" for device in devices), "exit"]
    lines = [(row["kind"], _name(row), _cells(row, write, devices)) for _, row in _grouped(rows).iterrows()]
    view = Table(box=None, padding=(0, 1, 0, 0))
    widths = [max([len(name), *(len(cells[i]) for _, _, cells in lines)]) for i, name in enumerate(names)]
    room = max(12, console.width - sum(widths) - len(widths))  # only the names give way on a narrow console
    view.add_column("method", no_wrap=True, overflow="ellipsis", max_width=room)
    for name, width in zip(names, widths, strict=True):
        view.add_column(name, justify="right", no_wrap=True, min_width=width)
    for kind, name, cells in lines:
        style = {"dynamic": "bold", "plain": "bold cyan"}.get(kind, "dim")
        view.add_row(*(Text(text) for text in (name, *cells)), style=style)
    console.print(Text(f"{record.run['run']}: {TARGETS.get(target, target)}", style="italic"))
    console.print(view)
    for cell in record.cells:
        if cell["status"] != "done":
            text = f"{record.labels[cell['method']]}, seed {cell['seed']}: {cell['status']}, {cell.get('reason')}"
            console.print(Text(text), style="yellow")
    console.print(Text(_legend(rows, write)), style="dim")


def _name(row: pd.Series) -> str:
    return f"{_NAMES[row['kind']] or row['label']}{' †' if row['met'] < row['seeds'] else ''}"


def _cells(row: pd.Series, write: Writer, devices: list[str]) -> list[str]:
    """The row's numbers as text."""
    change = f"{'~' if row['unsure_drop'] else ''}{write.change(row['drop'])}" if row["kind"] != "plain" else ""
    return [
        f"{write.score(row['score'])}{write.spread(row, 'score', write.score)}",
        change,
        f"{write.gmacs(row['gmacs'])}{' ★' if row['front_macs'] else '  '}",
        times(row["speedup_layers"]),
        times(row["speedup_macs"]),
        *(f"{'~' if row[f'unsure_{d}'] else ''}{times(row[f'speedup_{d}'])}" for d in devices),
        number(row["mean_exit"], 1),
    ]


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
