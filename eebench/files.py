"""JSON and CSV files, written whole or not at all, and read with one clear line about what is wrong."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eebench.errors import UserError

__all__ = ["durable", "plain_values", "read_json", "write_json", "write_table"]


def write_table(path: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a CSV atomically: floats to 9 significant digits, None and NaN as empty cells.

    Raises:
        KeyError: a row with a column that is not documented.
    """
    with _whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            unknown = row.keys() - set(columns)
            if unknown:
                raise KeyError(f"{path.name} has no column {', '.join(sorted(unknown))}")
            writer.writerow([_cell(row.get(column)) for column in columns])
    return path


def write_json(path: Path, values: Any) -> Path:
    """Write JSON atomically; NaN and infinities become null."""
    with _whole(path) as temporary:
        temporary.write_text(json.dumps(plain_values(values), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def read_json(path: Path) -> Any:
    """Read JSON, or say in one line what is wrong with it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable JSON: {error}") from None


def durable(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk before going on: a power cut then leaves them whole."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    return str(value)


def plain_values(value: Any) -> Any:
    """Numbers, strings, lists and dictionaries as JSON has them; NaN and infinities become None."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain_values(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(v) for v in value]
    return value
