"""The GLUE tasks (Wang et al., ICLR 2019) through the Hugging Face ``datasets`` library."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eebench.api import Task
from eebench.data.base import Data
from eebench.data.hub import load_dataset
from eebench.data.names import GLUE
from eebench.data.text import text_data

__all__ = ["load_glue"]

REPOSITORY = "nyu-mll/glue"


def load_glue(name: str, key: str, cache: Path | None) -> Data:
    """One GLUE task, scored by its own metric on GLUE's validation split, whose labels are public.

    Args:
        name: as the user typed it.
        key: a task in ``names.GLUE``.
        cache: where the download is kept; None for the library's own place.

    Raises:
        UserError: the hub cannot be reached, or does not have the task as expected.
    """
    entry = GLUE[key]
    instead = "use csv:DIR with train.csv and test.csv (columns text,label)"
    found = load_dataset(name, REPOSITORY, key, cache, instead=instead)
    rows = {"train": found["train"], "test": found[entry.test]}
    texts = {split: _texts(table, entry.columns) for split, table in rows.items()}
    if entry.metric == "pearson_spearman":
        task = Task(kind="regression", classes=1, metric=entry.metric)
    else:
        names = tuple(found["train"].features["label"].names)
        task = Task(classes=len(names), metric=entry.metric, labels=names)
    dtype = np.float32 if task.kind == "regression" else np.int64
    targets = {split: np.asarray(table["label"][:], dtype=dtype) for split, table in rows.items()}
    hidden = f"GLUE's {entry.test} split serves as the test set, as the labels of GLUE's test split are not public"
    return text_data(name, texts, targets, task, [hidden])


def _texts(table, columns: tuple[str, ...]) -> list:
    """Strings, or pairs of strings where the task has two columns."""
    cells = [list(table[column]) for column in columns]
    return cells[0] if len(cells) == 1 else list(zip(*cells, strict=True))
