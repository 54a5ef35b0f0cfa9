"""What a method bought, in one sentence: measured speed first, what the paper would have claimed beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from eebench.report.frames import Record
from eebench.report.text import DASH, TILDE, Writer, number, one_line, times

__all__ = ["TARGET", "Verdict", "verdicts"]

TARGET = "drop_1"
_LIMIT = 0.01
_KIND_WORDS = {"cpu": "CPU", "gpu": "GPU"}


@dataclass(frozen=True)
class Verdict:
    """``label: headline``, with remarks that put it in its place."""

    method: str
    label: str
    headline: str
    remarks: tuple[str, ...]
    met: bool

    @property
    def line(self) -> str:
        """The one-line form."""
        return f"{self.label}: {self.headline}"


def verdicts(record: Record, table: pd.DataFrame, write: Writer) -> list[Verdict]:
    """One verdict a method from :func:`eebench.report.derive.compare`.

    Targets met come first, the fastest of them on top; methods without any result come last, with the reason.
    """
    rows = table[table["target"] == TARGET] if len(table) else table
    found = []
    for _, row in rows[rows["kind"] == "dynamic"].iterrows() if len(rows) else ():
        fixed = rows[(rows["kind"] == "fixed") & (rows["method"] == row["method"])]
        speed = row["speedup_cpu"] if math.isfinite(row["speedup_cpu"]) else row["speedup_macs"]
        verdict = Verdict(
            row["method"],
            row["label"],
            _headline(row, write),
            tuple(_remarks(row, fixed.iloc[0] if len(fixed) else None, write)),
            row["met"] == row["seeds"],
        )
        found.append((not verdict.met, -speed, verdict))
    measured = [verdict for *_, verdict in sorted(found, key=lambda entry: entry[:2])]
    return measured + _unmeasured(record, {verdict.method for verdict in measured})


def _unmeasured(record: Record, measured: set[str]) -> list[Verdict]:
    """Skipped and failed methods, once each."""
    rest = {cell["method"]: cell for cell in record.cells if cell["method"] not in measured}
    return [
        Verdict(
            method, record.labels[method], f"{cell['status']}, no result: {one_line(cell.get('reason'))}", (), False
        )
        for method, cell in rest.items()
    ]


def _headline(row: pd.Series, write: Writer) -> str:
    text = ", ".join(_walls(row, write))
    macs, layers = row["speedup_macs"], row["speedup_layers"]
    cost = f"{times(macs)} fewer MACs" if macs >= 1 else f"{times(1 / macs)} the MACs"
    cost += f", {times(layers)} by layer count"
    text = f"{text} ({cost})" if text else f"{cost}, not timed,"
    change = f"{_tilde(row, 'drop')}{write.change(row['drop'])}{write.spread(row, 'drop', write.score)} pt"
    interval = "" if row["seeds"] > 1 else write.interval(row, "drop", write.change, flip=True)
    change = f"{change} {interval}".strip()
    if row["met"] == 0:
        return f"no knob value met the target on validation data; the nearest one: {text} at {change}"
    return f"{text} at {change}"


def _walls(row: pd.Series, write: Writer) -> list[str]:
    """``1.42 ± 0.03× on CPU`` for each device that was timed; one seed shows its interval instead of ±."""
    parts = []
    for device, name in _KIND_WORDS.items():
        value = row[f"speedup_{device}"]
        if not math.isfinite(value):
            continue
        spread = write.spread(row, f"speedup_{device}", number)
        interval = "" if row["seeds"] > 1 else " " + write.interval(row, f"speedup_{device}", number)
        unsure = _tilde(row, device)
        slower = " (slower than the plain backbone)" if value < 1 and not unsure else ""
        parts.append(f"{unsure}{number(value)}{spread}×{interval.rstrip()} on {name}{slower}")
    return parts


def _tilde(row: pd.Series, name: str) -> str:
    return TILDE if row[f"unsure_{name}"] else ""


def _remarks(row: pd.Series, fixed: pd.Series | None, write: Writer) -> list[str]:
    remarks = []
    if 0 < row["met"] < row["seeds"]:
        remarks.append(f"Validation data met the target in {row['met']} of {row['seeds']} seeds only.")
    elif row["met"] and row["drop"] > _LIMIT + 1e-9:
        inside = "" if row["drop_low"] > _LIMIT else ", though 1 point is within its interval"
        remarks.append(f"On validation data at most 1 point was lost; on test data it is more{inside}.")
    if math.isfinite(row["over_fixed"]):
        remarks.append(_deciding(row, write))
    if fixed is not None:
        remarks.append(_against_fixed(row, fixed, write))
    remarks.append(f"Knob: {row['knob_name']} {knob(row)}.")
    if row["cpu_noisy"] or row["gpu_noisy"]:
        remarks.append("The timing behind it was noisy.")
    return remarks


def _deciding(row: pd.Series, write: Writer) -> str:
    """What the exit rule adds to the exits."""
    gain = f"{_tilde(row, 'over_fixed')}{write.gain(row['over_fixed'])}"
    gain += f"{write.spread(row, 'over_fixed', write.score)} pt"
    interval = "" if row["seeds"] > 1 else f" {write.interval(row, 'over_fixed', write.gain)}".rstrip()
    return f"Over a fixed depth of the same model at the same MACs: {gain}{interval}."


def _against_fixed(row: pd.Series, fixed: pd.Series, write: Writer) -> str:
    """The same target without any deciding: the trivial baseline every dynamic method has to beat."""
    wall = f"{times(fixed['speedup_cpu'])} on CPU" if math.isfinite(fixed["speedup_cpu"]) else ""
    macs = f"{times(fixed['speedup_macs'])} by MACs"
    text = f"Everyone stopping at block {knob(fixed)} of the same model: {wall or macs}"
    text += f" ({macs})" if wall else ""
    text += f" at {write.change(fixed['drop'])} pt"
    cost = "speedup_cpu" if wall and math.isfinite(row["speedup_cpu"]) else "speedup_macs"
    faster, better = row[cost] - fixed[cost], fixed["drop"] - row["drop"]
    if faster <= 0 and better <= 0 and (faster < 0 or better < 0):
        return f"{text}, at least as fast and as good without deciding anything."
    if faster >= 0 and better >= 0:
        return f"{text}; deciding per sample gains on both."
    return f"{text}."


def knob(row: pd.Series) -> str:
    """The knob's value, or its range where seeds chose differently."""
    low, high = row["knob_min"], row["knob_max"]
    if math.isnan(low) or math.isnan(high):
        return DASH
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
