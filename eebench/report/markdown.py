"""The report as Markdown that reads on a forge: answer, plot, twelve rows; the rest folded or beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from eebench.report.blocks import AnswerBlock, Block, Cell, Code, Figure, Fold, Links, Section, Table, Terms, Text
from eebench.report.comparison import target_table
from eebench.report.first import overview_figure, setting
from eebench.report.scene import Scene

__all__ = ["escape", "fence", "markdown", "sections_markdown"]

_ROWS = 12
_DETAILS = ("families", "runtimes", "load", "troubles", "provenance", "glossary")
_LONGEST = 40  # rows of a folded table; its CSV has them all


def markdown(scene: Scene, sections: Iterable[Section], drawn: Iterable[str]) -> str:
    """The page's content for a file view, under 400 lines: long tables are links to their CSV."""
    found, drawn = scene.answer, list(drawn)
    by_id = {section.id: section for section in sections}
    first = by_id["answer"].blocks if "answer" in by_id else []
    notes = [block for block in first if isinstance(block, Text) and block.tone == "note"]
    lines = [f"# {escape(scene.title)}", "", f"**{escape(found.sentence)}**", "", escape(found.trust), ""]
    if f"overview_{scene.clock}" in drawn:
        lines += _picture(overview_figure(scene, scene.clock))
    if scene.table.empty:
        lines += ["No method has a result.", ""]
    else:
        lines += _main_table(scene)
    lines += [line for note in notes for line in _block(note)]
    lines += [escape(setting(scene)), "", f"Run {escape(str(scene.record.run['run']))}. The whole report, offline and"]
    lines += [
        "interactive: [report.html](report.html). Every number: [tables/](tables/), figures: [figures/](figures/).",
        "",
    ]
    for name in scene.record.targets:
        if name != scene.main:
            table = target_table(scene, name)
            lines += _fold(table.choice, _table(_short(table)))
    figures = [b for s in by_id.values() if s.id not in _DETAILS for b in s.blocks if isinstance(b, Figure)]
    for figure in figures:
        if figure.name != f"overview_{scene.clock}":
            lines += _fold(figure.title, _picture(figure, plain=True))
    for name in _DETAILS:
        if name in by_id:
            lines += _fold(by_id[name].title, [line for block in by_id[name].blocks for line in _detail(block)])
    lines += ["Papers of these methods: [papers.bib](tables/papers.bib). LaTeX table: "]
    lines[-1] += "[comparison.tex](tables/comparison.tex)."
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _main_table(scene: Scene) -> list[str]:
    table = _short(target_table(scene, scene.main))
    return [f"**{escape(table.caption)}**", "", *_table(table), ""]


def _short(table: Table) -> Table:
    """The rows a page begins with, without baselines, bounds and the columns one has to ask for."""
    keep = [i for i, column in enumerate(table.columns) if not column.extra]
    rows = [row for row in table.rows if row.role in ("plain", "method")][:_ROWS]
    cut = [type(row)([row.cells[i] for i in keep], row.role, row.below) for row in rows]
    return Table(table.id, table.caption, [table.columns[i] for i in keep], cut)


def _table(table: Table) -> list[str]:
    lines = ["| " + " | ".join(escape(column.name) for column in table.columns) + " |"]
    lines.append("|" + "|".join(" ---: " if column.numeric else " --- " for column in table.columns) + "|")
    for row in table.rows[:_LONGEST]:
        cells = [_cell(cell) for cell in row.cells]
        if row.below:
            cells[0] = f"*{cells[0]}* (missed)"
        lines.append("| " + " | ".join(cells) + " |")
    if len(table.rows) > _LONGEST:
        lines += ["", f"{len(table.rows) - _LONGEST} more rows: [tables/](tables/)."]
    return lines


def _cell(cell: Cell) -> str:
    text = f"[{escape(cell.text)}]({cell.link})" if cell.link else escape(cell.text)
    return f"{text} <sub>{escape(cell.small)}</sub>" if cell.small else text


def _picture(figure: Figure, *, plain: bool = False) -> list[str]:
    title = escape(figure.title)
    image = f"[![{title}](figures/{figure.name}.svg)](figures/{figure.name}.svg)"
    if not plain:
        image = (
            f'<picture><source media="(prefers-color-scheme: dark)" srcset="figures/{figure.name}-dark.svg">'
            f'<img alt="{title}" src="figures/{figure.name}.svg"></picture>'
        )
    return [image, "", escape(figure.caption), ""]


def _fold(summary: str, lines: list[str]) -> list[str]:
    safe = summary.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return [f"<details><summary>{safe}</summary>", "", *lines, "", "</details>", ""]


def _detail(block: Block) -> list[str]:
    """A block of a folded section: plots as well, and a fold within it that the page shows open."""
    if isinstance(block, Figure):
        return _picture(block, plain=True)
    if isinstance(block, Fold) and block.open:
        return [line for inner in block.blocks for line in _block(inner)]
    return _block(block)


def _block(block: Block) -> list[str]:
    if isinstance(block, Text):
        return [f"> **Note:** {escape(block.text)}" if block.tone == "note" else escape(block.text), ""]
    if isinstance(block, AnswerBlock):
        return [f"**{escape(block.sentence)}**", "", escape(block.trust), ""]
    if isinstance(block, Links):
        links = ", ".join(f"[{escape(name)}]({path})" for name, path in block.items)
        return [f"{escape(block.label)}: {links}", ""]
    if isinstance(block, Code):
        return [fence(block.text, block.language), ""]
    if isinstance(block, Table):
        return [f"**{escape(block.caption)}**", "", *_table(block), ""]
    if isinstance(block, Terms):
        return [*(f"- **{escape(term)}**: {escape(text)}" for term, text in block.items), ""]
    return []  # folds within folds: the page has them


def sections_markdown(title: str, sections: Iterable[Section]) -> str:
    """A page with every section after the other, nothing folded."""
    lines = [f"# {escape(title)}", ""]
    for section in sections:
        lines += [f"## {escape(section.title)}", ""]
        for block in section.blocks:
            lines += _picture(block, plain=True) if isinstance(block, Figure) else _block(block)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def escape(text: str) -> str:
    """Text as a forge shows it: no markup, no table cell broken, no single tilde that strikes out half a line."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_|~$#\[\]])", r"\\\1", text)


def fence(text: str, language: str) -> str:
    """A code fence longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{language}\n{text}\n{mark}"
