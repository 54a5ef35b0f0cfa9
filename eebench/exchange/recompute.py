"""Tables worked out again from arrays, and compared with those that somebody claims."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eebench.exchange.cells import Imported
from eebench.exchange.importing import make_cells, read_predictions, task_of_card
from eebench.exchange.scoring import RECOMPUTED, Choosing, score_cells
from eebench.files import write_table
from eebench.plugins.registry import Registry
from eebench.record import RunRecord
from eebench.runs.store import Store
from eebench.schema import TABLES

__all__ = ["Recomputed", "difference", "recompute"]

CLOSE, NOTHING = 1e-6, 1e-9  # relative and absolute: other versions of numpy add up in another order
CLOCK = ("speedup_cpu", "speedup_gpu", "withheld_")


@dataclass(frozen=True)
class Recomputed:
    """What a folder of predictions gives."""

    found: Imported
    tables: dict[str, list[dict[str, Any]]]


def recompute(predictions: Path, record: RunRecord, registry: Registry | None) -> Recomputed:
    """Every table that arrays fill, for the targets of a record.

    Args:
        predictions: the folder with the card.
        record: says targets, bound and thresholds.
        registry: where methods come from; the installed ones when not given.

    Raises:
        UserError: anything wrong with the predictions.
    """
    found = read_predictions(predictions, registry)
    with tempfile.TemporaryDirectory() as place:
        seeds, known = make_cells(Store(Path(place), "run"), found, None, [])
        tables = score_cells(
            seeds,
            task_of_card(found.card),
            found.card.backbone.depth,
            found.rules.__getitem__,
            Choosing.of(record.spec),
            known,
        )
    return Recomputed(found, tables)


def difference(folder: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> str | None:
    """The first place where a folder's tables are not these, in words; None where there is none.

    Args:
        folder: with the tables that are claimed.
        tables: rows as they were worked out again.
    """
    with tempfile.TemporaryDirectory() as place:
        for name in RECOMPUTED:
            again = write_table(Path(place) / f"{name}.csv", list(TABLES[name]), tables[name])
            path = folder / f"{name}.csv"
            if not path.is_file():
                return f"{name}.csv is missing"
            said = _differs(name, pd.read_csv(path, dtype=str, keep_default_na=False), again)
            if said:
                return said
    return None


def _differs(name: str, claimed: pd.DataFrame, path: Path) -> str | None:
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(claimed) != list(found):
        return f"{name}.csv has other columns than the schema"
    if len(claimed) != len(found):
        return f"{name}.csv has {len(claimed)} rows, {len(found)} are worked out again"
    for column in map(str, found):
        if name == "operating_points" and column.startswith(CLOCK):
            continue
        for row, (said, again) in enumerate(zip(claimed[column], found[column], strict=True), start=2):
            if said != again and not _close(said, again):
                return (
                    f"{name}.csv line {row}, {column}: {said or 'nothing'} is claimed, {again or 'nothing'} comes out"
                )
    return None


def _close(said: str, again: str) -> bool:
    try:
        first, second = float(said), float(again)
    except ValueError:
        return False
    return abs(first - second) <= NOTHING + CLOSE * abs(second)
