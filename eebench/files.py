"""JSON and CSV files, written whole or not at all, and read with one clear line about what is wrong."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from eebench.errors import UserError, shown

__all__ = ["durable", "plain_values", "read_json", "size_of", "storage_trouble", "write_json", "write_table"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LOST = {errno.EROFS, errno.ESTALE, errno.EIO, errno.ENODEV, errno.ENOTCONN}
_IN_WORDS = re.compile(r"\(os error (\d+)\)")  # how safetensors tells an error of the system
_SHORT = re.compile(r"\d+ requested and \d+ written|PytorchStreamWriter failed writing")  # numpy's and torch's words


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


def storage_trouble(error: BaseException, folder: Path) -> str | None:
    """What the disk under a folder did to raise this, on one line; None where it was not the disk.

    Args:
        error: caught, with what it was raised from.
        folder: where things were being written: of a run, of a report.
    """
    each: BaseException | None = error
    while each is not None:
        number = _number(each)
        if number in _FULL or _SHORT.search(str(each)):
            return f"no space left in {shown(folder)}: {_room(folder)}"
        if number in _LOST:
            return f"{shown(folder)} cannot be written to: {os.strerror(number)}"
        if isinstance(each, FileNotFoundError | NotADirectoryError) and not folder.is_dir():
            return f"{shown(folder)} is gone, and was there when this began"
        each = each.__cause__ or each.__context__
    return None


def _number(error: BaseException) -> int:
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = _IN_WORDS.search(str(error))
    return int(found.group(1)) if found else 0


def _room(folder: Path) -> str:
    """What is free, and what the largest thing that was written took."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return "the disk is full"
    largest = max((size_of(cell) for cell in folder.glob("cells/*")), default=0)
    need = f", the largest cell so far takes {largest / 1e6:.1f} MB" if largest else ""
    return f"{free / 1e6:.1f} MB are free{need}"


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; what goes away meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # process numbers repeat from machine to machine
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
