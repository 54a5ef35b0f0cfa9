"""Names, units and short definitions of the numbers in summary.csv."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from eebench.report.text import number, signed, times

__all__ = ["Measure", "measure"]


@dataclass(frozen=True)
class Measure:
    """How a summary number is headed, explained and written."""

    title: str
    text: str
    write: Callable[[float], str]
    anytime: bool = False  # about what happens between exits, not about the curve


def _hundred(value: float) -> str:
    return number(100 * value, 1)


def _points(value: float) -> str:
    return signed(100 * value, 2)


_ANYTIME = ("overthinking", "hindsight", "conditional")
_KNOWN: dict[str, tuple[str, str, Callable[[float], str]]] = {
    r"gain_over_fixed_depth": (
        "gain over fixed depth, pt",
        "mean over the curve of its score minus the fixed-depth curve's at the same MACs, after ELUE's score",
        _points,
    ),
    r"gain_over_random": (
        "gain over random, pt",
        "mean over the curve of its score minus that of exits drawn at random at the same rate",
        _points,
    ),
    r"area_under_curve": (
        "area under curve, ×100",
        "test score at the knob chosen on validation within each budget, mean over 25 to 100 % of the backbone's MACs",
        _hundred,
    ),
    r"area_covered": ("area covered, %", "share of that range of budgets in which the method has a point", _hundred),
    r"hypervolume": (
        "hypervolume, ×100",
        "the same over 0 to 100 %: the area that the chosen points dominate in (share of MACs, score), from (1, 0)",
        _hundred,
    ),
    r"speedup_at_drop_([\d.]+)": (
        "× MACs at ≤ {} pt",
        "MAC speed-up on test data at the knob that lost at most {} points on validation data",
        times,
    ),
    r"score_at_(\d+)": (
        "score at {} % MACs, ×100",
        "test score at the best knob within {} % of the plain backbone's MACs on validation data",
        _hundred,
    ),
    r"overthinking_destructive": (
        "destructive overthinking, %",
        "of the full model's mistakes, the share that an earlier exit had right",
        _hundred,
    ),
    r"overthinking_wasteful": (
        "wasteful overthinking, %",
        "share of the full model's compute that stopping every sample at its first right exit would save",
        _hundred,
    ),
    r"hindsight_improvability": (
        "hindsight improvability, %",
        "of the last exit's mistakes, the share that some earlier exit had right",
        _hundred,
    ),
    r"conditional_fall_([\d.]+)": (
        "falls by > {}, %",
        "share of samples whose probability of the true class falls by more than {} from some exit to a later one",
        _hundred,
    ),
}


def measure(name: str) -> Measure:
    """What is known of a summary number; an unknown one keeps its own name and four significant digits."""
    for pattern, (title, text, write) in _KNOWN.items():
        match = re.fullmatch(pattern, name)
        if match:
            words = match.groups()
            return Measure(title.format(*words), text.format(*words), write, name.startswith(_ANYTIME))
    return Measure(name.replace("_", " "), "", lambda value: f"{value:.4g}")
