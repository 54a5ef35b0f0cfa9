"""What is typed for something else, and can be told to be. Nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from eebench.errors import UserError, shown

__all__ = ["refuse_texts"]


def refuse_texts(dataset: str) -> None:
    """Say what to type for a folder of texts: a folder alone stands for images.

    Raises:
        UserError: a directory with a train.csv, without a prefix that says what it is.
    """
    try:
        texts = (Path(dataset).expanduser() / "train.csv").is_file()
    except (OSError, ValueError, RuntimeError):  # a name too long, with a NUL, of nobody's home: others say so
        return
    if texts:
        raise UserError(f"'{shown(dataset)}' holds train.csv: type csv:{shown(dataset)} for texts; a folder is images")
