"""Method cards: the README.md of a method's folder, with a short YAML header that lists and reports read."""

from __future__ import annotations

import ast
import inspect
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eebench.plugins.registry import Source

__all__ = ["card_faults", "card_text", "read_card", "summary"]

DEEPEST = 8  # levels of a card's header
_KINDS: dict[str, tuple[type, str]] = {
    "title": (str, "text"), "summary": (str, "text"), "paper": (str, "text"), "link": (str, "text"),
    "modalities": (list, "a list"), "claims": (list, "a list of mappings"),
}  # fmt: skip


def read_card(source: Source) -> dict[str, Any]:
    """The card's header (title, summary, paper, link, modalities, claims) and its BibTeX; just a title where none.

    Whatever a stranger wrote there, values are as JSON has them and the known ones of the kind that readers expect:
    what is not is left out, and ``card_faults`` names it.
    """
    path = source.card()
    if path is None:
        return {"title": source.name, "summary": _docstring(source)}
    found, body, _ = _read(path)
    bibtex = re.search(r"```bibtex\n(.*?)```", body, re.DOTALL)
    return {"title": source.name, **found, "bibtex": bibtex.group(1).strip() if bibtex else None}


def card_faults(source: Source) -> list[str]:
    """What is wrong with a card's header, a few words each."""
    path = source.card()
    return [] if path is None else _read(path)[2]


def _read(path: Path) -> tuple[dict[str, Any], str, list[str]]:
    """Header, body, and what was wrong with the header."""
    import yaml

    try:
        header, body = _split(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return {"summary": "(its card cannot be read)"}, "", [f"it cannot be read: {' '.join(str(error).split())}"]
    try:
        given = dict(yaml.safe_load(header) or {})
    except (yaml.YAMLError, TypeError, ValueError, RecursionError):  # must not take the list of methods with it
        return {"summary": "(its card's header is no YAML mapping)"}, body, ["its header is no YAML mapping"]
    found, faults = {}, []
    for key, value in given.items():
        kind, words = _KINDS.get(str(key), (object, ""))
        value = _plain(value)
        if key == "claims" and isinstance(value, list) and not all(isinstance(claim, dict) for claim in value):
            kind = dict
        if value is None or isinstance(value, kind):
            found[str(key)] = value
        elif kind is str and not isinstance(value, (list, dict)):
            found[str(key)] = str(value)
        else:
            faults.append(f"its {key} must be {words}, not {str(value)[:40]!r}")
    return found, body, faults


def _plain(value: Any, depth: int = 0) -> Any:
    """As JSON has it: dates and whatever else YAML knows as text; what holds itself ends at some depth."""
    if depth > DEEPEST:
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def summary(source: Source) -> str:
    """One line about a method, without importing it."""
    return str(read_card(source).get("summary") or "").strip()


def card_text(source: Source) -> str:
    """The card without its header, as Markdown; the docstring for a method without a card."""
    path = source.card()
    if path is None:
        return f"# {source.name}\n\n{_docstring(source) or 'This method has no card.'}"
    return _read(path)[1].strip() or "This method's card is empty, or cannot be read."


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
