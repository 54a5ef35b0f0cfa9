"""The page as one HTML file that loads nothing."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eebench.report.blocks import Section
from eebench.report.gallery import Sheet

__all__ = ["HERE", "LIBRARIES", "Page", "environment", "html"]

HERE = Path(__file__).parent
LIBRARIES = ("d3-7.9.0.min.js", "plot-0.6.17.umd.min.js")
_FIGURE_CLASS = "plot-figure"  # the class that js/explorer.js gives to every drawing


@dataclass(frozen=True)
class Page:
    """Everything a template needs.

    Attributes:
        title: of the page.
        run: its name.
        sections: in the order of the reader's questions.
        svgs: plots ready for a page, by name.
        classes: what they look like: declarations to class name.
        tips: points of each plot in its own coordinates, with what they are.
        data: JSON for the interactive part; empty for none.
        sheet: thumbnails of samples; None for none.
    """

    title: str
    run: str
    sections: Sequence[Section]
    svgs: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    tips: dict[str, list[tuple[float, float, str]]] = field(default_factory=dict)
    data: str = ""
    sheet: Sheet | None = None


def html(page: Page) -> str:
    """One file: styles, scripts and plots are inside, and its policy forbids all else."""
    css = (HERE / "report.css").read_text(encoding="utf-8") + _rules(page)
    scripts = [_script(name) for name in ("state", "tables", "hover")]
    styles = [css]
    if page.data:
        scripts += [_script("choose"), _script("explorer"), _script("load")]
        styles += _library_styles()
    allowed = [*scripts, *(_library(name) for name in LIBRARIES if page.data)]
    style_src, script_src = (" ".join(map(_hash, texts)) for texts in (styles, allowed))
    packed = [_packed(name) for name in LIBRARIES if page.data]
    images = "img-src data:; " if page.sheet else ""
    policy = f"default-src 'none'; style-src {style_src}; script-src {script_src}; {images}"
    policy += "base-uri 'none'; form-action 'none'"
    tips = json.dumps(page.tips, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c") if page.tips else ""
    return environment().get_template("report.html.jinja").render(
        page=page, svgs={name: Markup(svg) for name, svg in page.svgs.items()}, css=Markup(css),
        scripts=[Markup(script) for script in scripts], policy=policy, packed=packed, data=Markup(page.data),
        tips=Markup(tips),
    )  # fmt: skip


def _rules(page: Page) -> str:
    """Looks of the plots' elements, and the widths of magnitude bars."""
    rules = [f".{name}{{{declarations}}}" for declarations, name in page.classes.items()]
    rules += [f".w{i}{{background-size:{5 * i}% 3px}}" for i in range(1, 21)]
    return "\n".join(rules) + "\n" + (page.sheet.rules() if page.sheet else "")


@cache
def _script(name: str) -> str:
    return (HERE / "js" / f"{name}.js").read_text(encoding="utf-8")


@cache
def _library(name: str) -> str:
    """A vendored library as released."""
    return (HERE / "vendor" / name).read_text(encoding="utf-8")


@cache
def _packed(name: str) -> str:
    """The same compressed, in Base64: less than half the size; js/load.js unpacks it."""
    return base64.b64encode(gzip.compress(_library(name).encode("utf-8"), 9, mtime=0)).decode()


@cache
def _library_styles() -> list[str]:
    """The style element that the plotting library puts into each drawing, word for word, so that its hash is known."""
    found = re.search(r"`(:where\(\.\$\{\w+\}\) \{\\n  --plot-background.*?)`", _library(LIBRARIES[1]), re.DOTALL)
    assert found is not None, "the plotting library's style is not where it was"
    return [re.sub(r"\$\{\w+\}", _FIGURE_CLASS, found[1]).replace("\\n", "\n")]


def _hash(text: str) -> str:
    """A source expression of the content security policy that allows just this text."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def environment() -> Environment:
    """Templates beside this file; those of HTML escape what they are given."""
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=lambda name: bool(name and name.endswith(".html.jinja")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
