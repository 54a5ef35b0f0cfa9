"""The one door to the Hugging Face ``datasets`` library, and its failures in one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eebench.errors import UserError

__all__ = ["load_dataset"]


def load_dataset(name: str, path: str, config: str | None, cache: Path | None, *, instead: str) -> Any:
    """Every split of a data set, as a ``datasets.DatasetDict``.

    Args:
        name: the data set as the user typed it, for messages.
        path: the hub's name of it, or a local folder.
        config: which of its configurations.
        cache: where downloads are kept; None for the library's own place.
        instead: what the user can do without the hub, in one clause.

    Raises:
        UserError: the hub cannot be reached, has no such data set, or it cannot be read.
    """
    import datasets

    with _quiet("huggingface_hub"):  # it announces each of its five retries on a machine without a network
        try:
            return datasets.load_dataset(path, config, cache_dir=str(cache.expanduser()) if cache else None)
        except Exception as error:  # the HTTP library's, the hub's, the reader's: no common base class
            reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".: ")
            raise UserError(f"data set '{name}' could not be loaded ({reason}); without the hub, {instead}") from error


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
