"""How plots look and how they get into a page: palette, files, and SVG that follows the reader's colour scheme."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

__all__ = [
    "GHOST",
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "PARTS",
    "Series",
    "bubbles",
    "grid",
    "inline",
    "joined",
    "new",
    "palette",
    "save",
    "style",
    "thin",
]

# Okabe & Ito's colours without yellow (too faint on white) and black (kept for the plain backbone).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d")
_DASHES = ("-", (0, (5, 1.2, 1, 1.2)), (0, (8, 1.5)))
PARTS = {"backbone": ("#56B4E9", ""), "heads": ("#E69F00", "//"), "gates": ("#D55E00", "xx")}

INK, MUTED, GRID, GHOST, PAPER = "#1a1c21", "#595f69", "#dfe2e7", "#c3c8d0", "#fefefd"
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", GHOST: "--ghost", PAPER: "--paper", "#0072b2": "--blue"}


@dataclass(frozen=True)
class Series:
    """How one method is drawn everywhere; ``index`` links it to its legend entry in the page."""

    index: int
    method: str
    label: str
    colour: str
    marker: str
    dash: Any  # a matplotlib line style

    @property
    def gid(self) -> str:
        """The SVG group name that :func:`inline` turns into the class ``s<index>``."""
        return f"series-{self.index}"


def palette(methods: Sequence[str], labels: dict[str, str]) -> dict[str, Series]:
    """A colour, a marker and a line style a method; no two of the first 18 share all of colour and style."""
    return {
        method: Series(
            i,
            method,
            labels[method],
            _COLOURS[i % len(_COLOURS)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[i // len(_COLOURS) % len(_DASHES)],
        )
        for i, method in enumerate(methods)
    }


@contextmanager
def style() -> Iterator[None]:
    """The settings all plots are drawn and saved under, whatever the user's own matplotlibrc says.

    Seaborn's white grid, with the report's own colours and sizes on top.
    """
    import seaborn

    settings: dict[str, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "eebench",
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titley": 1.0,  # a fixed place saves measuring every label of every panel
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "figure.facecolor": PAPER,
        "legend.frameon": False,
        "lines.linewidth": 1.7,
        "lines.markeredgecolor": PAPER,
        "lines.markeredgewidth": 0.7,
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


def grid(count: int, *, height: float = 2.2, key: bool = True) -> tuple[Figure, list[Axes]]:
    """Small multiples: ``count`` axes with shared scales, at most four a row, room for a legend on top if ``key``."""
    columns = count if count <= 3 else 3 if count in (5, 6, 9) else 4
    rows = -(-count // columns)
    top = 0.75 if key else 0.35
    total = rows * height + top + 0.5
    figure = new(max(9.4 if count > 1 else 5.5, 2.4 * columns), total)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(0.075, 0.55 / total, 0.99, 1 - top / total, wspace=0.08, hspace=0.75 / height)
    flat = list(axes.flat)
    for extra in flat[count:]:
        above = flat[flat.index(extra) - columns]
        above.tick_params(labelbottom=True)
        extra.set_visible(False)
    return figure, flat[:count]


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write ``name``.svg and ``name``.png (150 dpi) under ``folder``; returns the SVG's text. Same plot, same bytes."""
    path = folder / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
    svg = path.read_text(encoding="utf-8")
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[^>]+>", _shorter, svg)
    path.write_text(svg, encoding="utf-8")
    return svg


def _shorter(tag: re.Match[str]) -> str:
    """Coordinates to a tenth of a point: a third of the file, no visible change."""
    return re.sub(r"-?\d+\.\d{2,}", lambda n: f"{float(n[0]):.1f}".removesuffix(".0"), tag[0])


def inline(svg: str, name: str, prefix: str, classes: dict[str, str]) -> str:
    """The SVG for a page: no prolog or background, unique ids, colours by CSS variable.

    Every ``style`` becomes a class: a plot repeats few of them thousands of times, and a page without inline styles
    can forbid them. ``classes`` (declarations to class name) grows and is shared by all plots of the page; ``prefix``
    is this plot's own. The page has its heading under the id ``title-<name>``.
    """
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None, "matplotlib wrote no viewBox"
    svg = re.sub(r"^.*?<svg[^>]*>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="patch_1">.*?</g>', "", svg, count=1, flags=re.DOTALL)  # the figure's background
    svg = svg.replace("xlink:href=", "href=")
    svg = _short_ids(re.sub(r'id="series-(\d+)"', r'class="s\1"', svg), prefix)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"font: (?:bold |700 )?([\d.]+px) [^;\"]+", _font, svg)
    svg = re.sub(r"font-family: [^;\"]+; ", "", svg)
    svg = re.sub(r'style="([^"]*)"', lambda m: f'class="{classes.setdefault(m[1], f"k{len(classes)}")}"', svg)
    svg = re.sub(r' d="[^"]*"', lambda m: re.sub(r"\s*([MLCQz\"])\s*", r"\1", m[0]).replace(" -", "-"), svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r">\s+<", "><", svg)
    for _ in range(4):  # groups that hold nothing or a single element, and say nothing
        svg = re.sub(r"<g>(<(?:path|use)[^>]*/>|<text[^>]*>[^<]*</text>|)</g>|<g/>", r"\1", svg)
    return f'<svg viewBox="{box[1]}" role="img" aria-labelledby="title-{name}">{svg.strip()}'


def _short_ids(svg: str, prefix: str) -> str:
    """Ids that something refers to become ``prefix-1`` …, unique in the page; the others go."""
    used = dict.fromkeys(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    short = {old: f"{prefix}-{i}" for i, old in enumerate(used)}
    svg = re.sub(r'\sid="([^"]+)"', lambda m: f' id="{short[m[1]]}"' if m[1] in short else "", svg)
    return re.sub(r'(url\(#|href="#)([^)"]+)', lambda m: m[1] + short[m[2]], svg)


def _font(declaration: re.Match[str]) -> str:
    """Size and weight stay, the family is the page's."""
    bold = "; font-weight: bold" if declaration[0].startswith(("font: bold", "font: 700")) else ""
    return f"font-size: {declaration[1]}{bold}"


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


def bubbles(axes: Axes, x: ArrayLike, y: ArrayLike, shares: ArrayLike, **looks: Any) -> None:
    """Circles whose area says how large a share of the samples each stands for, in four sizes."""
    x, y, shares = (np.asarray(values, float) for values in (x, y, shares))
    edges = (0.0, 0.03, 0.1, 0.3, np.inf)
    for low, high, area in zip(edges, edges[1:], (8, 26, 70, 150), strict=False):
        here = (shares > low) & (shares <= high) & np.isfinite(y)
        if here.any():
            axes.scatter(x[here], y[here], area, **looks)
