"""The report of a run, rendered from its directory alone: one HTML page, Markdown, figures and tables.

Importing this costs nothing; pandas and matplotlib are loaded when a function is called. torch never is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["comparison_table", "print_comparison", "read_answer", "render"]


def render(run_dir: Path, out_dir: Path, *, samples: bool = True) -> dict[str, Path]:
    """Write the report of ``run_dir`` to ``out_dir``; see :func:`eebench.report.writer.render`."""
    from eebench.report.writer import render as work

    return work(run_dir, out_dir, samples=samples)


def read_answer(run_dir: Path) -> dict[str, Any]:
    """The report's answer as plain values; see :func:`eebench.report.terminal.answer_text`."""
    from eebench.report.terminal import answer_text as work

    return work(run_dir)


def comparison_table(run_dir: Path, target: str | None = None) -> list[dict[str, Any]]:
    """The comparison at one target as plain dictionaries; see :func:`eebench.report.terminal.comparison_table`."""
    from eebench.report.terminal import comparison_table as work

    return work(run_dir, target)


def print_comparison(run_dir: Path, console: Console, target: str | None = None) -> None:
    """Print the comparison in the terminal; see :func:`eebench.report.terminal.print_comparison`."""
    from eebench.report.terminal import print_comparison as work

    work(run_dir, console, target)
