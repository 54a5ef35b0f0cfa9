"""Pages that are made, not written: one a method from its card, every column from the schema, every command's options.

What a page says about the code is read from the code each time the site is built, so it cannot fall behind.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
METHODS = "methods/"  # the nav's entry that stands for all pages of methods


def on_config(config: Any) -> Any:
    """Put the methods' pages where the nav names their folder."""
    cards = _cards()
    for section in config.nav:
        if isinstance(section, dict) and section.get("Methods") == METHODS:
            section["Methods"] = [
                {"All methods": f"{METHODS}index.md"},
                *({card["title"]: f"{METHODS}{name}.md"} for name, card in cards.items()),
            ]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add every page that is made."""
    pages = {
        "columns.md": columns(),
        "command-line.md": command_line(),
        "api/measures.md": measures(),
        "study.schema.json": schema(),
        "contributing.md": _beside("CONTRIBUTING.md"),
        "changelog.md": _beside("CHANGELOG.md"),
        f"{METHODS}index.md": all_methods(),
        **{f"{METHODS}{name}.md": method(name, card) for name, card in _cards().items()},
    }
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def columns() -> str:
    """Every table of the record, from ``eebench.schema``."""
    from eebench.schema import KINDS, PROTOCOL_VERSION, SCHEMA_VERSION, TABLES

    lines = [
        "# Tables and columns",
        "",
        "A run directory holds `run.json` and one CSV file a table, long and tidy: one observation a row.",
        "An empty cell means that the column does not apply there (no GPU, a regression task, a target out of reach).",
        f"This is version {SCHEMA_VERSION} of the tables, made by version {PROTOCOL_VERSION} of the rules that numbers",
        "are made by. `eebench.read(RUN)` gives the tables as pandas data frames.",
        "",
        "## Kinds of rows",
        "",
        *_table(("`kind`", "meaning"), ((f"`{kind}`", words) for kind, words in KINDS.items())),
    ]
    for name, table in TABLES.items():
        rows = ((f"`{column}`", words) for column, words in table.items())
        lines += ["", f"## {name}.csv", "", *_table(("column", "meaning"), rows)]
    return "\n".join(lines)


def command_line() -> str:
    """Every command with its arguments and options, from the command line itself."""
    from typer.main import get_command

    from eebench.cli import app

    group: Any = get_command(app)
    lines = ["# Command line", "", "A mistake in what you type ends in one line and exit status 2, before any work."]
    for name, command in group.commands.items():
        if command.hidden:
            continue
        lines += ["", f"## eebench {name}", "", _paragraphs(command.help)]
        rows = [_option(parameter) for parameter in command.params if "--help" not in parameter.opts]
        if rows:
            lines += ["", *_table(("", "", "default"), rows)]
    return "\n".join(lines)


def schema() -> str:
    """The JSON schema of a study file, from the models that check it."""
    import json

    from eebench.studies.file import json_schema

    return json.dumps(json_schema(), indent=1)


def measures() -> str:
    """Every public measure, module by module, with its docstring."""
    package = importlib.import_module("eebench.measure")
    homes: dict[str, list[str]] = {}
    for name in package.__all__:
        homes.setdefault(package._HOME[name], []).append(name)
    lines = [
        "# Measures",
        "",
        "Functions on arrays, which need neither eebench's engine nor torch: `from eebench.measure import ece`. Each",
        "is tested against an independent computation, and the examples below are run as tests.",
    ]
    for module, names in sorted(homes.items()):
        lines += ["", f"::: eebench.measure.{module}", "    options:", "      show_root_toc_entry: true"]
        lines += [f"      members: [{', '.join(names)}]"]
    return "\n".join(lines)


def all_methods() -> str:
    """One row a method."""
    rows = (
        (f"[{card['title']}]({name}.md)", f"`{name}`", ", ".join(card.get("modalities", [])), card.get("summary", ""))
        for name, card in _cards().items()
    )
    return "\n".join(
        [
            "# Methods",
            "",
            "Every page is the method's card: what the paper says, what its released code does, what eebench does, and",
            "why they differ. `eebench show NAME` prints it. [Add your own](../add/method.md).",
            "",
            *_table(("", "name", "for", "in one sentence"), rows),
        ]
    )


def method(name: str, card: dict[str, Any]) -> str:
    """One method's card, with the claims that its header lists."""
    lines = [f"# {card['title']}", "", f"`eebench run --methods {name}`", "", str(card.get("summary", "")), ""]
    lines += [f"*{card['paper']}*" + (f", {card['link']}" if card.get("link") else "")] if card.get("paper") else []
    lines += ["", card["text"]]
    claims = card.get("claims") or []
    if claims:
        rows = (
            (
                str(claim.get("setting", "")),
                str(claim.get("metric", "")),
                str(claim.get("score", "")),
                str(claim.get("baseline", "")),
                f"{claim['speedup']} by {claim.get('speedup_measure', '')}" if claim.get("speedup") else "",
                str(claim.get("source", "")),
            )
            for claim in claims
        )
        head = ("setting", "metric", "score", "without exits", "speed-up", "source")
        lines += ["", "## Claimed in print", "", "Reports set these beside what eebench measures.", ""]
        lines += _table(head, rows)
    return "\n".join(lines)


def _cards() -> dict[str, dict[str, Any]]:
    """The built-in methods' cards by name: header, and ``text`` without the first heading."""
    from eebench.plugins.cards import card_text, read_card
    from eebench.plugins.registry import Registry

    found = {}
    for name, source in sorted(Registry.installed().sources.items()):
        if source.entry is not None and source.entry.module.startswith("eebench_methods."):
            text = re.sub(r"\A# .*\n+", "", card_text(source))
            found[name] = {**read_card(source), "text": text}
    return found


def _beside(name: str) -> str:
    """A page from a file beside the documentation; its links into the repository become plain code."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"\[([^]]+)\]\((?!https?:|#)[^)]+\)", r"`\1`", text)


def _table(head: tuple[str, ...], rows: Any) -> list[str]:
    body = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *body]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _option(parameter: Any) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    default = parameter.default
    shown = "" if default in (None, False, "") or callable(default) else f"`{default}`"
    return names, getattr(parameter, "help", None) or "", shown


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))
