"""Where a run keeps traces of other inputs than its splits': ``shift/<model>/<inputs>``, a sealed folder each."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PROBES", "cell_of", "probed", "words_for"]

PROBES = ("shift", "slowdown")


def probed(run: Path) -> list[str]:
    """Sealed folders with such traces, by their path within a run."""
    found = (path for probe in PROBES for path in sorted((run / probe).glob("*/[!.]*")))
    return [path.relative_to(run).as_posix() for path in found if path.is_dir()]


def cell_of(unit: str) -> str:
    """The cell whose model such a trace is of: its folder is called by the cell and what its weights are."""
    return unit.split("/")[1].rpartition("-")[0]


def words_for(unit: str, label: str) -> str:
    """Such a trace for people."""
    probe, _, inputs = unit.split("/")
    return f"{label}, {probe} {inputs}"
