"""A run's record put in the place of the one that is there: checksums of everything, all files exchanged at once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eebench.files import durable, write_json, write_table
from eebench.manifest import MANIFEST, seal, sha256
from eebench.record import RunRecord
from eebench.runs.probed import cell_of, probed
from eebench.runs.sweeping import STAGE
from eebench.schema import TABLES

__all__ = ["publish"]

BESIDE = ("encoder",)  # folders of a run that are read with its record


def publish(
    run: Path,
    tables: Mapping[str, Iterable[Mapping[str, Any]]],
    raw: Mapping[str, Mapping[str, np.ndarray]],
    record: RunRecord,
    renew: Callable[[], None],
) -> Path:
    """See :meth:`eebench.runs.store.Store.publish`.

    Args:
        run: the run's folder.
        tables: rows of the documented tables, by name.
        raw: arrays of files beside them, by file name without ``.npz``.
        record: what becomes ``run.json``, with the checksums of everything else.
        renew: called right before the exchange; raises where this process may not publish any more.
    """
    stage = Path(tempfile.mkdtemp(prefix=STAGE, dir=run))
    try:
        for name, rows in tables.items():
            write_table(stage / f"{name}.csv", list(TABLES[name]), rows)
        for name, arrays in raw.items():
            values: dict[str, Any] = dict(arrays)
            np.savez_compressed(stage / f"{name}.npz", **values)
        checksums = {path.name: sha256(path) for path in sorted(stage.iterdir())}
        beside = [path for name in BESIDE for path in sorted((run / name).rglob("*")) if path.is_file()]
        checksums |= {path.relative_to(run).as_posix(): sha256(path) for path in beside}
        cells = [cell.id for cell in record.cells if cell.id is not None]
        traces = (unit for unit in probed(run) if cell_of(unit) in cells and (run / unit / MANIFEST).exists())
        sealed = [*(f"cells/{cell}" for cell in cells), *traces]
        checksums |= {f"{name}/{MANIFEST}": sha256(run / name / MANIFEST) for name in sealed}
        record = record.model_copy(update={"checksums": checksums})
        write_json(stage / "run.json", record.model_dump(mode="json"))
        for path in stage.iterdir():
            durable(path)
        seal(stage, ["run.json"], run=record.run)
        renew()
        last = ("run.json", MANIFEST)  # whoever is stopped between two of them leaves what does not fit together
        for name in [*sorted({path.name for path in stage.iterdir()} - {*last}), *last]:
            os.replace(stage / name, run / name)
        for old in [*run.glob("*.csv"), *run.glob("*.npz")]:
            if old.name not in checksums:
                old.unlink()  # an earlier record's
        durable(run)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return run / "run.json"
