"""Plots as files, and as SVG inside a page that follows the reader's colour scheme."""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure

from eebench.report.looks import GHOST, GRID, INK, MUTED, PAPER

__all__ = ["VARIABLES", "dark", "inline", "save", "save_pdf"]

VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", GHOST: "--ghost", PAPER: "--paper"}
_DARK = {INK: "#e8eaee", MUTED: "#a7aeb9", GRID: "#343941", GHOST: "#4d545f", PAPER: "#15171b"}


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


def save_pdf(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name``.pdf with its fonts embedded and no date in it."""
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})


def dark(svg: str) -> str:
    """The same file for a dark page."""
    return re.sub("|".join(_DARK), lambda colour: _DARK[colour[0]], svg)


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
    for colour, variable in VARIABLES.items():
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
