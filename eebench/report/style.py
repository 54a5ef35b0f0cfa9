"""How plots are drawn: for a page and for the two widths of a paper's columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from eebench.report.looks import GHOST, GRID, INK, MUTED, PAPER

__all__ = [
    "COLUMN", "PAGE", "TEXT", "Medium", "axes_in", "bubbles", "captioned", "ghost_key", "grid", "joined", "new",
    "style", "thin",
]  # fmt: skip


@dataclass(frozen=True)
class Medium:
    """Where a plot goes: its width in inches, its type size in points, how many panels stand side by side."""

    name: str
    width: float
    size: float
    columns: int

    @property
    def scale(self) -> float:
        """Everything that is not width shrinks with the type."""
        return self.size / PAGE_SIZE

    def type(self, share: float) -> float:
        """A share of the type size, never below what journals print: 7 points."""
        return max(SMALLEST, self.size * share)


SMALLEST = 7.0
PAGE_SIZE = 9.5
PAGE = Medium("page", 9.4, PAGE_SIZE, 4)
TEXT = Medium("6.9in", 6.9, 7.5, 4)
COLUMN = Medium("3.3in", 3.3, 7.0, 2)


@contextmanager
def style(medium: Medium = PAGE) -> Iterator[None]:
    """The settings all plots are drawn and saved under, whatever the user's own matplotlibrc says.

    Seaborn's white grid, with the report's own colours and sizes on top.
    """
    import seaborn

    s = medium.scale
    settings: dict[str, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "eebench",
        "pdf.fonttype": 42,  # TrueType, embedded: journals refuse type 3
        "font.family": "DejaVu Sans",
        "font.size": medium.size,
        "axes.titlesize": medium.type(1.05),
        "axes.labelsize": medium.size,
        "xtick.labelsize": medium.type(0.95),
        "ytick.labelsize": medium.type(0.95),
        "legend.fontsize": medium.type(0.95),
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titley": 1.0,  # a fixed place saves measuring every label of every panel
        "axes.titlepad": 4 * s,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8 * s,
        "grid.color": GRID,
        "grid.linewidth": 0.8 * s,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "figure.facecolor": PAPER,
        "legend.frameon": False,
        "legend.handlelength": 2.2,
        "lines.linewidth": 1.7 * s,
        "lines.markersize": 6 * s,
        "lines.markeredgecolor": PAPER,
        "lines.markeredgewidth": 0.7 * s,
        "hatch.color": PAPER,
        "hatch.linewidth": 0.8,
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(seaborn.axes_style("whitegrid"))
        mpl.rcParams.update(settings)  # type: ignore[arg-type]
        yield


def new(width: float, height: float) -> Figure:
    """An empty figure, in inches, that no pyplot state knows of: nothing pops up in a notebook."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def axes_in(figure: Figure, left: float, bottom: float, right: float, top: float) -> Axes:
    """Axes with these margins in inches: what type needs does not grow with the plot."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height))


def grid(medium: Medium, count: int, *, height: float = 2.2, key: int = 1) -> tuple[Figure, list[Axes]]:
    """Small multiples with shared scales and room for ``key`` lines of legend on top.

    Args:
        medium: where they go.
        count: panels.
        height: of a panel with its title, in inches on the page.
        key: lines of the legend, counted for a page; a narrow column needs twice as many.
    """
    s = medium.scale
    columns = min(count, medium.columns)
    if medium.columns == 4 and count in (5, 6, 9):
        columns = 3
    rows = -(-count // columns)
    if medium.columns < 4:
        key *= 2
    top, bottom, left = (0.34 + 0.22 * key) * s, 0.55 * s, 0.68 * s
    total = rows * height * s + top + bottom
    figure = new(medium.width, total)
    width = medium.width if count > 1 else min(medium.width, 5.5 * s)
    figure.set_figwidth(width)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(
        left / width, bottom / total, 1 - 0.08 / width, 1 - top / total, wspace=0.08, hspace=0.8 / height
    )
    flat = list(axes.flat)
    for extra in flat[count:]:
        above = flat[flat.index(extra) - columns]
        above.tick_params(labelbottom=True)
        extra.set_visible(False)
    return figure, flat[:count]


def captioned(figure: Figure, medium: Medium, x: str, y: str) -> None:
    """One label for all horizontal scales, one for all vertical ones."""
    size, height = medium.size, figure.get_figheight()
    figure.supxlabel(x, fontsize=size, y=0.1 * medium.scale / height, va="bottom")
    figure.supylabel(y, fontsize=size, x=0.08 * medium.scale / figure.get_figwidth(), ha="left")


def joined(lines: Sequence[np.ndarray]) -> np.ndarray:
    """Several polylines (N, 2) as one with gaps, (M, 2): one SVG path instead of many."""
    gap = np.full((1, 2), np.nan)
    return np.concatenate([part for line in lines for part in (line, gap)]) if lines else np.empty((0, 2))


def thin(line: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` points of a polyline (N, 2) sorted by x, evenly spaced in x, both ends kept."""
    if len(line) <= most:
        return line
    even = np.linspace(line[0, 0], line[-1, 0], most)
    return line[np.unique(abs(line[:, 0] - even[:, None]).argmin(1))]


def bubbles(axes: Axes, x: ArrayLike, y: ArrayLike, shares: ArrayLike, scale: float, **looks: Any) -> None:
    """Circles whose area says how large a share of the samples each stands for, in four sizes, none cut off."""
    x, y, shares = (np.asarray(values, float) for values in (x, y, shares))
    edges = (0.0, 0.03, 0.1, 0.3, np.inf)
    for low, high, area in zip(edges, edges[1:], (8, 26, 70, 150), strict=False):
        here = (shares > low) & (shares <= high) & np.isfinite(y)
        if here.any():
            axes.scatter(x[here], y[here], area * scale**2, clip_on=False, **looks)


def ghost_key(count: int) -> list[Line2D]:
    """The legend's entry for the other methods' lines, where there are any."""
    return [Line2D([], [], color=GHOST, label="other methods")] if count > 1 else []
