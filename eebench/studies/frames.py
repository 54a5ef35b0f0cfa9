"""``eebench.open``: the tables of one run, of a study, or of several of them as data frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eebench.errors import UserError
from eebench.record import read_record
from eebench.runs.finished import read
from eebench.studies.record import runs_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["open_frames"]

COLUMNS = ("run", "backbone", "dataset")


def open_frames(*paths: str | Path) -> dict[str, pd.DataFrame]:
    """The tables of one run, of a study's finished runs, or of several of them, by name; nothing is computed.

    Every table is that of the record (see ``eebench.schema.TABLES``) with the columns ``run``, ``backbone`` and
    ``dataset`` in front, the same for one run as for many. ``.attrs["paths"]`` of each are the run directories,
    ``.attrs["unfinished"]`` runs of the study without a record yet.

    Raises:
        UserError: a path that is neither a run nor a study, a record that is damaged, or a run opened twice.
    """
    if not paths:
        raise UserError("open: name a run or a study")
    found = [runs_of(Path(path)) for path in paths]
    folders = [folder for one in found for folder in one.runs]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("open: a run is named twice")
    if not folders:
        raise UserError(f"open: no run of {', '.join(str(path) for path in paths)} is finished")
    parts: dict[str, list[pd.DataFrame]] = {}
    for folder in folders:
        record = read_record(folder)
        values = (record.run, record.backbone.name, record.data.name)
        for name, frame in read(folder).items():
            for place, (column, value) in enumerate(zip(COLUMNS, values, strict=True)):
                frame.insert(place, column, value)
            frame.attrs.clear()
            parts.setdefault(name, []).append(frame)
    tables = {name: _together(frames) for name, frames in parts.items()}
    for frame in tables.values():
        frame.attrs |= {
            "paths": [str(folder) for folder in folders],
            "unfinished": [name for one in found for name in one.unfinished],
        }
    return tables


def _together(frames: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    full = [frame for frame in frames if len(frame)]  # an empty one has no types to keep
    return pd.concat(full, ignore_index=True) if full else frames[0]
