"""Your own texts: ``csv:DIR`` with ``train.csv``, ``test.csv`` and perhaps ``validation.csv``.

Columns: ``text`` and ``label``; ``text2`` makes a sample a pair; a numeric column can be the target instead.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from eebench.data.kind import DataSet, Request, need_directory
from eebench.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from eebench.data.base import Data

__all__ = ["KIND", "CsvTexts", "Table", "csv_files", "read_table"]

TEXT, PAIR, LABEL = "text", "text2", "label"
FEW = 20  # distinct fractions in the label column that may still be classes

Value = TypeVar("Value")


class CsvTexts(DataSet):
    """Your texts: DIR/train.csv, test.csv, perhaps validation.csv; columns text, label, perhaps text2."""

    name = "csv:DIR"
    modality = "text"
    targets = True

    def check(self, request: Request) -> None:
        csv_files(Path(request.key))

    def load(self, request: Request) -> Data:
        """The target is the column ``label``, whose values in ``train.csv``, sorted, are the classes.

        With ``request.target`` it is a numeric column (regression, scored by Pearson and Spearman correlation).

        Raises:
            UserError: a file or column that is missing, a row without a target, one class only, a test label that
                training never shows, a rating that is no number.
        """
        import numpy as np

        from eebench.api import Task
        from eebench.data.texts import text_data

        folder, target = Path(request.key).expanduser(), request.target
        notes: list[str] = []
        tables = {split: read_table(path) for split, path in csv_files(folder).items()}
        texts = {split: _texts(table, PAIR in tables["train"].columns) for split, table in tables.items()}
        if target is None:
            named = {split: table.parse(LABEL, _label, "a label") for split, table in tables.items()}
            labels = sorted(set(named["train"]), key=_label_order)
            notes += _fractions(tables["train"].path, labels)
            if len(labels) < 2:
                path = tables["train"].path
                raise UserError(f"'{path}' has only one class, '{labels[0]}'; a classifier needs two or more")
            targets = {split: _class_ids(tables[split].path, values, labels) for split, values in named.items()}
            task = Task(classes=len(labels), labels=tuple(labels))
        else:
            targets = {
                split: np.array(table.parse(target, _number, "a number"), dtype=np.float32)
                for split, table in tables.items()
            }
            task = Task(kind="regression", classes=1, metric="pearson_spearman")
        stray = sorted(path.name for path in folder.glob("*.csv") if path not in csv_files(folder).values())
        if stray:
            notes.append(f"not read: {', '.join(stray)}")
        for split in texts:
            blank = sum(not "".join(text).strip() for text in texts[split])
            if blank:
                notes.append(f"{blank:,} {split} texts are empty")
        return text_data(request, texts, targets, task, notes)


def csv_files(folder: Path) -> dict[str, Path]:
    """``{"train": …, "test": …}`` and perhaps ``"val"`` of a ``csv:DIR`` data set."""
    folder = need_directory(folder, "data directory")
    files = {"train": folder / "train.csv", "val": folder / "validation.csv", "test": folder / "test.csv"}
    absent = [files[split].name for split in ("train", "test") if not files[split].is_file()]
    if absent:
        raise UserError(
            f"'{folder}' lacks {' and '.join(absent)}; expected train.csv, test.csv, perhaps validation.csv"
        )
    return {split: path for split, path in files.items() if path.is_file()}


@dataclass(frozen=True)
class Table:
    """A CSV file's rows."""

    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]  # the line of the file on which each row ends

    def column(self, name: str) -> list[str]:
        """One column, as it stands. Raises UserError that lists the columns there are."""
        if name not in self.columns:
            raise UserError(f"'{self.path}' has no column '{name}'; it has: {', '.join(self.columns)}")
        index = self.columns.index(name)
        return [row[index] for row in self.rows]

    def parse(self, name: str, convert: Callable[[str], Value | None], wanted: str) -> list[Value]:
        """One column, converted; a value that becomes None is an error that names its line and counts the others."""
        values = [convert(cell) for cell in self.column(name)]
        bad = [i for i, value in enumerate(values) if value is None]
        if bad:
            cell = self.column(name)[bad[0]].strip()
            found = f"'{cell}' is not {wanted}" if cell else f"{wanted} is missing"
            more = f" (and {len(bad) - 1:,} more such lines)" if len(bad) > 1 else ""
            raise UserError(f"'{self.path}', line {self.lines[bad[0]]}, column '{name}': {found}{more}")
        return [value for value in values if value is not None]


def read_table(path: Path) -> Table:
    """Read a comma-separated UTF-8 file with a header.

    Raises:
        UserError: empty, no rows, not UTF-8, a column twice, or a row with more or fewer fields than the header.
    """
    rows, lines = _read_rows(path)
    if not rows:
        raise UserError(f"'{path}' is empty")
    columns = [column.strip() for column in rows[0]]
    if len(set(columns)) < len(columns):
        raise UserError(f"'{path}' has a column twice: {', '.join(columns)}")
    if len(rows) == 1:
        raise UserError(f"'{path}' has a header but no rows")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(columns):
            mend = "; a text with a comma needs quotes" if len(row) > len(columns) else ""
            raise UserError(f"'{path}', line {line}: {len(row)} fields, the header has {len(columns)}{mend}")
        if any("\0" in cell for cell in row):
            raise UserError(f"'{path}', line {line}: a NUL byte, which no text has; is the file damaged, or UTF-16?")
    return Table(path, columns, rows[1:], lines[1:])


def _read_rows(path: Path) -> tuple[list[list[str]], list[int]]:
    """Rows that are not blank, and the line on which each ends."""
    rows, lines, line = [], [], 0
    limit = csv.field_size_limit(2**31 - 1)  # the module's own limit, 131,072 characters, is shorter than some texts
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                line = reader.line_num
                if row:
                    rows.append(row)
                    lines.append(line)
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is not UTF-8 text: {error}") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error}") from None
    except csv.Error as error:
        raise UserError(f"'{path}', line {line + 1}: {error}") from None
    finally:
        csv.field_size_limit(limit)
    return rows, lines


def _texts(table: Table, pairs: bool) -> list[str] | list[tuple[str, str]]:
    texts = table.column(TEXT)
    return list(zip(texts, table.column(PAIR), strict=True)) if pairs else list(texts)


def _fractions(path: Path, labels: Sequence[str]) -> list[str]:
    """What to say when the classes are numbers, some of them fractions: few may be grades, many are no classes.

    Raises:
        UserError: many.
    """
    values = [_number(label) for label in labels]
    fractions = [label for label, value in zip(labels, values, strict=True) if value is not None and value % 1]
    if None in values or not fractions:
        return []
    if len(labels) > FEW:
        raise UserError(
            f"'{path}', column '{LABEL}' holds {len(labels):,} different numbers such as {fractions[0]}: predict them "
            f"as numbers with --target {LABEL}, or name classes"
        )
    classes = f"the numbers of column '{LABEL}' (such as {fractions[0]}) are taken as {len(labels)} classes"
    return [f"{classes}; --target {LABEL} predicts them as numbers"]


def _label(cell: str) -> str | None:
    return cell.strip() or None


def _label_order(label: str) -> tuple[float, str]:
    """Numbers by value (2 before 10), then everything else by spelling."""
    value = _number(label)
    return (math.inf if value is None else value, label)


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _class_ids(path: Path, values: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    import numpy as np

    ids = {label: i for i, label in enumerate(labels)}
    unseen = sorted(set(values) - set(ids))
    if unseen:
        raise UserError(f"'{path}' has label '{unseen[0]}', which train.csv never shows; it has: {', '.join(labels)}")
    return np.array([ids[value] for value in values], dtype=np.int64)


KIND = CsvTexts()
