"""Method cards: the README.md of a method's folder, with a short YAML header that lists and reports read."""

from __future__ import annotations

import ast
import inspect
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eebench.plugins.registry import Source

__all__ = ["card_text", "read_card", "summary"]


def read_card(source: Source) -> dict[str, Any]:
    """The card's header (title, summary, paper, link, modalities, claims) and its BibTeX; just a title where none."""
    path = source.card()
    if path is None:
        return {"title": source.name, "summary": _docstring(source)}
    import yaml

    text = path.read_text(encoding="utf-8")
    header, body = _split(text)
    try:
        found = dict(yaml.safe_load(header) or {})
    except (yaml.YAMLError, TypeError, ValueError):  # a stranger's card must not take the list of methods with it
        found = {"summary": "(its card's header is no YAML mapping)"}
    bibtex = re.search(r"```bibtex\n(.*?)```", body, re.DOTALL)
    return {"title": source.name, **found, "bibtex": bibtex.group(1).strip() if bibtex else None}


def summary(source: Source) -> str:
    """One line about a method, without importing it."""
    return str(read_card(source).get("summary") or "").strip()


def card_text(source: Source) -> str:
    """The card without its header, as Markdown; the docstring for a method without a card."""
    path = source.card()
    if path is None:
        return f"# {source.name}\n\n{_docstring(source) or 'This method has no card.'}"
    return _split(path.read_text(encoding="utf-8"))[1].strip()


def _split(text: str) -> tuple[str, str]:
    match = re.match(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL)
    return (match.group(1), match.group(2)) if match else ("", text)


def _docstring(source: Source) -> str:
    """First paragraph of the class's docstring, or of the module's, read from the source text."""
    if source.cls is not None:
        text = inspect.getdoc(source.cls) or ""
    else:
        import importlib.util

        assert source.entry is not None
        try:
            found = importlib.util.find_spec(source.entry.module)
            with open(found.origin, encoding="utf-8") as file:  # type: ignore[union-attr, arg-type]
                text = ast.get_docstring(ast.parse(file.read())) or ""
        except (Exception, SystemExit):  # finding a module imports the packages around it; loading will say why
            return ""
    return " ".join(text.split("\n\n")[0].split())
