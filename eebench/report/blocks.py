"""What a page is made of, whatever it is written in: HTML and Markdown render the same blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

__all__ = [
    "AnswerBlock", "Block", "Cell", "Code", "Column", "Explorer", "Figure", "Fold", "Gallery", "Links", "Row",
    "Section", "Shot", "Table", "Terms", "Text",
]  # fmt: skip


@dataclass(frozen=True)
class Text:
    """A paragraph; ``tone`` is ``plain`` or ``note`` (a warning the reader must not miss)."""

    kind: ClassVar[str] = "text"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class AnswerBlock:
    """The sentence that a report opens with, and how far to believe it."""

    kind: ClassVar[str] = "answer"
    verdict: str  # rule, simple, plain or unknown
    sentence: str
    trust: str


@dataclass(frozen=True)
class Code:
    """Something to copy: a command, BibTeX."""

    kind: ClassVar[str] = "code"
    text: str
    language: str = ""


@dataclass(frozen=True)
class Column:
    """A table column.

    Attributes:
        name: its heading.
        help: its definition.
        numeric: whether it holds numbers.
        first: what the first click sorts by: ``descending`` where more is better.
        extra: whether a reader has to ask for it.
    """

    name: str
    help: str = ""
    numeric: bool = True
    first: str = "ascending"
    extra: bool = False


@dataclass(frozen=True)
class Cell:
    """A table cell.

    Attributes:
        text: what is shown.
        small: a second, smaller line.
        sort: what it sorts by and is copied as; the text itself if None.
        link: an address.
        muted: whether it is grey: a difference that may be none.
        bar: its magnitude in [0, 1], drawn as a bar; None for none.
    """

    text: str
    small: str = ""
    sort: float | None = None
    link: str = ""
    muted: bool = False
    bar: float | None = None


@dataclass(frozen=True)
class Row:
    """A table row.

    ``role`` is plain, method, baseline or bound; baselines are folded under the method above them, bounds stand apart.
    ``below`` marks what did not keep the target.
    """

    cells: Sequence[Cell]
    role: str = "method"
    below: bool = False


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
    csv: str = "comparison"


@dataclass(frozen=True)
class Shot:
    """One sample of a gallery.

    Attributes:
        note: where it stopped, and what was answered.
        name: what it is, for who cannot see it, and on hovering.
        tile: number of its thumbnail on the page's sheet; None for a text.
        text: its beginning, where it is one.
    """

    note: str
    name: str
    tile: int | None = None
    text: str = ""


@dataclass(frozen=True)
class Gallery:
    """Samples in groups, each with its heading."""

    kind: ClassVar[str] = "gallery"
    groups: Sequence[tuple[str, Sequence[Shot]]]


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


@dataclass(frozen=True)
class Links:
    """Files beside the page: their names, and where they lie."""

    kind: ClassVar[str] = "links"
    label: str
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Explorer:
    """The place of the interactive part; ``fallback`` says where the same numbers stand."""

    kind: ClassVar[str] = "explorer"
    fallback: str


Block = AnswerBlock | Text | Code | Table | Figure | Fold | Gallery | Terms | Links | Explorer


@dataclass(frozen=True)
class Section:
    """One of the page's sections, in the order of the reader's questions. ``summary`` ones are printed."""

    id: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    summary: bool = False
