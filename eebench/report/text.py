"""How numbers are written: one place, so that a figure's caption, a table and the verdict agree to the digit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from eebench.report.frames import Record

__all__ = [
    "DASH",
    "METRICS",
    "Writer",
    "knob",
    "listed",
    "number",
    "one_line",
    "processor",
    "short_name",
    "signed",
    "times",
]

DASH = "–"
METRICS = {
    "accuracy": "accuracy",
    "mcc": "Matthews correlation",
    "f1": "F1",
    "accuracy_f1": "mean of accuracy and F1",
    "pearson_spearman": "mean of Pearson and Spearman correlation",
}


def number(value: Any, digits: int = 2) -> str:
    """``1.42``, or a dash where there is no value."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 1) -> str:
    """``−0.6``, ``+0.2``, ``0.0``; a dash where there is no value."""
    if not math.isfinite(value):
        return DASH
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def times(value: float, digits: int = 2) -> str:
    """``1.42×``."""
    return DASH if not math.isfinite(value) else f"{value:.{digits}f}×"


def one_line(value: Any) -> str:
    """Any value of the record as one line of text: lists joined, dictionaries as ``key value`` pairs."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {one_line(entry)}" for key, entry in value.items()) or DASH
    if isinstance(value, list | tuple):
        return ", ".join(one_line(entry) for entry in value) or DASH
    return " ".join(str(value).split())


class Writer:
    """Number formats that suit one run: as many digits as its test set and its model's size make meaningful."""

    def __init__(self, record: Record) -> None:
        self.metric = record.metric
        self.several = len(record.seeds) > 1
        tested = record.run["data"].get("n_test") or 0
        self.point_digits = 2 if tested >= 10_000 else 1  # one sample of 1,000 is 0.1 points
        gmacs = record.run["backbone"].get("gmacs") or record.plain["gmacs"].mean()
        self.macs_unit, self.macs_scale = ("GMACs", 1.0) if not gmacs < 1 else ("MMACs", 1e3)
        self.macs_digits = _digits(gmacs * self.macs_scale)
        self.ms_digits = _digits(record.single.loc[record.single["path"] == "plain", "mean_ms"].min(), 3)

    @property
    def unit(self) -> str:
        """Unit of a score times 100."""
        return "%" if self.metric == "accuracy" else "×100"

    @property
    def points_of(self) -> str:
        """What a point is a point of: ``accuracy``, ``F1``."""
        return METRICS.get(self.metric, self.metric)

    @property
    def score_name(self) -> str:
        """``accuracy, %`` or the like: heading of a score column, axis of a plot."""
        return f"{METRICS.get(self.metric, self.metric)}, {self.unit}"

    def score(self, value: float) -> str:
        """A score in [0, 1] as per cent (accuracy) or times 100."""
        return number(100 * value, self.point_digits)

    def change(self, drop: float) -> str:
        """A drop as the change a reader thinks in: ``−0.6`` for 0.6 points lost."""
        return signed(-100 * drop, self.point_digits)

    def gain(self, value: float) -> str:
        """A difference of scores in points, with its sign: ``+0.6``."""
        return signed(100 * value, self.point_digits)

    def macs(self, gmacs: float) -> str:
        """Multiply-accumulates in ``macs_unit``, with four significant digits of the plain backbone's."""
        return number(gmacs * self.macs_scale, self.macs_digits)

    def ms(self, value: float) -> str:
        """Milliseconds with three significant digits of the plain backbone's."""
        return number(value, self.ms_digits)

    def spread(self, row: Any, name: str, write: Callable[[float], str]) -> str:
        """`` ± 0.3`` over seeds where there are several, else nothing."""
        std = row.get(f"{name}_std", math.nan)
        return f" ± {write(abs(std))}" if row["seeds"] > 1 and math.isfinite(std) else ""

    def interval(self, row: Any, name: str, write: Callable[[float], str], *, flip: bool = False) -> str:
        """``[−1.1, −0.1]``: the bootstrap bounds (mean over seeds), ends swapped for a change; nothing if absent."""
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        if not (math.isfinite(low) and math.isfinite(high)):
            return ""
        low, high = (high, low) if flip else (low, high)
        return f"[{write(low)}, {write(high)}]"


def _digits(scale: float, significant: int = 4) -> int:
    """Decimals that show ``significant`` digits of ``scale``."""
    if not math.isfinite(scale) or scale <= 0:
        return 3
    return max(0, significant - 1 - math.floor(math.log10(scale)))


def knob(row: Any) -> str:
    """The knob's value, or its range where seeds chose differently."""
    low, high = row["knob_min"], row["knob_max"]
    if math.isnan(low) or math.isnan(high):
        return DASH
    ends = list(dict.fromkeys(f"{end:.4g}".replace("-", "−") for end in (low, high)))
    return " to ".join(ends)


def listed(names: Sequence[str], most: int = 5) -> str:
    """``A, B and C``; beyond ``most`` names ``A, B and 3 others``."""
    names = list(names)
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} others"]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def processor(name: Any) -> str:
    """A processor's name without what says nothing: ``Intel(R) Xeon(R) Processor @ 2.5GHz`` is Intel Xeon."""
    text = re.sub(r"\((?:R|TM)\)|\bCPU\b|\bProcessor\b|@.*", " ", str(name or ""), flags=re.IGNORECASE)
    return " ".join(text.split())


def short_name(name: Any) -> str:
    """The last part of a path, without the scheme of a data set: ``csv:data/trec6`` is trec6."""
    text = str(name)
    scheme, colon, rest = text.partition(":")
    text = rest if colon and len(scheme) > 1 and rest else text
    return text.rstrip("/").rsplit("/", 1)[-1] or text
