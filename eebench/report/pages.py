"""The page as one HTML file and as Markdown, from the same blocks."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eebench.report.blocks import Section
from eebench.report.style import Series

__all__ = ["Page", "html", "markdown"]

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """Everything a template needs. ``svgs`` are ready for a page, ``classes`` what they look like."""

    title: str
    run: str
    sections: Sequence[Section]
    svgs: dict[str, str]
    classes: dict[str, str]
    series: Sequence[Series]


def html(page: Page) -> str:
    """One file that loads nothing: styles, script and plots are inside, and its policy forbids all else."""
    css = (_HERE / "report.css").read_text(encoding="utf-8") + _plot_rules(page)
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src {_hash(css)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    svgs = {name: Markup(svg) for name, svg in page.svgs.items()}
    looks = {series.method: f"b{series.index}" for series in page.series}
    template = _environment().get_template("report.html.jinja")
    return template.render(page=page, svgs=svgs, looks=looks, css=Markup(css), script=Markup(script), policy=policy)


def markdown(page: Page) -> str:
    """The same sections for GitHub: plots as PNG files beside it, everything a reader may skip folded away."""
    text = _environment().get_template("report.md.jinja").render(page=page)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _plot_rules(page: Page) -> str:
    """Looks of the plots' elements, and the legend that hides a method without any script."""
    rules = [f".{name}{{{declarations}}}" for declarations, name in page.classes.items()]
    for series in page.series:
        i, colour = series.index, series.colour.lower().replace("#0072b2", "var(--blue)")
        fill = colour if series.dash == "-" else f"repeating-linear-gradient(90deg,{colour} 0 5px,transparent 5px 7px)"
        rules.append(f".w{i}{{background:{fill}}}.verdicts .b{i}{{border-color:{colour}}}")
        rules.append(f"body:has(#show{i}:not(:checked)) .s{i}{{display:none}}")
    return "\n".join(rules) + "\n"


def _hash(text: str) -> str:
    """A source expression of the content security policy that allows just this text."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=lambda name: bool(name and name.endswith(".html.jinja")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = _escape
    environment.filters["fence"] = _fence
    return environment


def _escape(text: str) -> str:
    """Text as GitHub shows it: no markup, no table cell broken, no single tilde that strikes out half a line."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|~$#\[\]])", r"\\\1", text)


def _fence(text: str, language: str) -> str:
    """A code fence longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
