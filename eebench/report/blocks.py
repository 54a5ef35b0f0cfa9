"""What a page is made of, whatever it is written in: HTML and Markdown render the same blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from eebench.report.verdicts import Verdict

__all__ = ["Block", "Cell", "Code", "Column", "Figure", "Fold", "Row", "Section", "Table", "Terms", "Text", "Verdicts"]


@dataclass(frozen=True)
class Text:
    """A paragraph; ``tone`` is ``plain`` or ``note`` (a warning the reader must not miss)."""

    kind: ClassVar[str] = "text"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Code:
    """Something to copy: a command, BibTeX."""

    kind: ClassVar[str] = "code"
    text: str
    language: str = ""


@dataclass(frozen=True)
class Verdicts:
    """The verdict lines."""

    kind: ClassVar[str] = "verdicts"
    items: Sequence[Verdict]


@dataclass(frozen=True)
class Column:
    """A table column; ``help`` is its definition, shown on hover."""

    name: str
    help: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """A table cell: what is shown, a smaller second line, and what it sorts by (the text itself if None)."""

    text: str
    small: str = ""
    sort: float | None = None
    link: str = ""


@dataclass(frozen=True)
class Row:
    """A table row. ``role`` is plain, method, baseline or bound; bounds stand apart, below, and are never sorted in."""

    cells: Sequence[Cell]
    role: str = "method"


@dataclass(frozen=True)
class Table:
    """A table with its caption. ``choice`` puts it in a group of which a reader looks at one (the target's name)."""

    kind: ClassVar[str] = "table"
    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    choice: str = ""


@dataclass(frozen=True)
class Figure:
    """A plot by its file name, with a caption that has the numbers that matter and the id of its table."""

    kind: ClassVar[str] = "figure"
    name: str
    title: str
    caption: str
    table: str
    table_name: str = "Table"


@dataclass(frozen=True)
class Fold:
    """Blocks a reader opens on demand."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: Sequence[Block]
    open: bool = False


@dataclass(frozen=True)
class Terms:
    """A list of terms and what they mean, or of keys and values."""

    kind: ClassVar[str] = "terms"
    items: Sequence[tuple[str, str]]


Block = Text | Code | Verdicts | Table | Figure | Fold | Terms


@dataclass(frozen=True)
class Section:
    """One of the page's sections, in the order of the reader's questions."""

    id: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
