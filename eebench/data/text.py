"""Your own texts: ``csv:DIR`` with ``train.csv``, ``test.csv`` and perhaps ``validation.csv``.

Columns: ``text`` and ``label``; ``text2`` makes a sample a pair; a numeric column can be the target instead.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from eebench.api import Task
from eebench.data import disk
from eebench.data.base import Data, Split
from eebench.data.splits import Part, divide
from eebench.errors import UserError

__all__ = ["Table", "load_csv", "read_table", "text_data"]

TEXT, PAIR, LABEL = "text", "text2", "label"

Text = str | tuple[str, str]
Value = TypeVar("Value")


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


def load_csv(name: str, folder: Path, target: str | None) -> Data:
    """A ``csv:DIR`` data set.

    Args:
        name: as the user typed it.
        folder: DIR.
        target: a numeric column to predict (regression, scored by Pearson and Spearman correlation); None classifies
            by the column ``label``, whose values in ``train.csv``, sorted, are the classes.

    Raises:
        UserError: a file or column that is missing, a row without a target, one class only, a test label that training
            never shows, a rating that is no number.
    """
    folder = folder.expanduser()
    tables = {split: read_table(path) for split, path in disk.csv_files(folder).items()}
    texts = {split: _texts(table, PAIR in tables["train"].columns) for split, table in tables.items()}
    if target is None:
        named = {split: table.parse(LABEL, _label, "a label") for split, table in tables.items()}
        labels = sorted(set(named["train"]), key=_label_order)
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
    notes = []
    stray = sorted(path.name for path in folder.glob("*.csv") if path not in disk.csv_files(folder).values())
    if stray:
        notes.append(f"not read: {', '.join(stray)}")
    for split in texts:
        blank = sum(not "".join(text).strip() for text in texts[split])
        if blank:
            notes.append(f"{blank:,} {split} texts are empty")
    return text_data(name, texts, targets, task, notes)


def text_data(
    name: str,
    texts: Mapping[str, Sequence[Text]],
    targets: Mapping[str, np.ndarray],
    task: Task,
    notes: Sequence[str] = (),
) -> Data:
    """A text data set out of whatever splits there are (see ``splits.divide``).

    Args:
        name: as the user typed it.
        texts: by split, a string or a pair of strings a sample.
        targets: by split, (N,) int64 class ids or float32 numbers.
        task: what is predicted.
        notes: said in the log and the record.
    """
    labels = None if task.kind == "regression" else task.labels
    parts = divide(targets, name, labels=labels)

    def split(part: Part) -> Split:
        return Split([texts[part.source][i] for i in part.ids], targets[part.source][part.ids])

    train, val, test = split(parts.train), split(parts.val), split(parts.test)
    known = {*train.inputs, *val.inputs}
    leaked = sum(text in known for text in test.inputs)
    leak = [f"{leaked:,} of {len(test):,} test texts also occur among the training texts"] if leaked else []
    return Data(
        name=name,
        modality="text",
        task=task,
        train=train,
        val=val,
        test=test,
        split_hash=parts.sha256,
        notes=[*notes, *parts.notes, *leak],
    )


def _texts(table: Table, pairs: bool) -> list[Text]:
    texts = table.column(TEXT)
    return list(zip(texts, table.column(PAIR), strict=True)) if pairs else list(texts)


def _label(cell: str) -> str | None:
    return cell.strip() or None


def _label_order(label: str) -> tuple[int, str]:
    """Whole numbers by value (2 before 10), then everything else by spelling."""
    return (int(label), label) if label.isdecimal() else (1 << 62, label)


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _class_ids(path: Path, values: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    ids = {label: i for i, label in enumerate(labels)}
    unseen = sorted(set(values) - set(ids))
    if unseen:
        raise UserError(f"'{path}' has label '{unseen[0]}', which train.csv never shows; it has: {', '.join(labels)}")
    return np.array([ids[value] for value in values], dtype=np.int64)
