"""What is written about a run as a whole: run.json."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eebench.files import plain_values
from eebench.record import RunRecord
from eebench.runs.environment import describe
from eebench.runs.prepare import Prepared
from eebench.schema import BACKBONE, PROTOCOL_VERSION

__all__ = ["run_record"]


def run_record(
    prepared: Prepared,
    cells: list[dict[str, Any]],
    curves: list[dict[str, Any]],
    timing: list[dict[str, Any]],
    started: datetime,
    seconds: float,
    broken: list[str],
) -> RunRecord:
    """The content of run.json.

    Args:
        prepared: the run.
        cells: what became of each cell.
        curves: rows of curves.csv, for the plain backbone's cost.
        timing: how it was on each seed and device: load, rounds, on which clock.
        started: when.
        seconds: how long it took.
        broken: plugins that were set aside, a line each.
    """
    spec, data = prepared.spec, prepared.data
    plain_row = next(row for row in curves if row["kind"] == "plain" and row["split"] == "test")
    first = next(cell for cell in cells if cell["label"] == BACKBONE)
    uncounted: dict[str, int] = {}
    for cell in cells:
        for op, n in (cell.get("uncounted") or {}).items():
            uncounted[op] = max(n, uncounted.get(op, 0))
    values = {
        "protocol_version": PROTOCOL_VERSION,
        "run": spec.run_name,
        "command": shlex.join(["eebench", *sys.argv[1:]]) if Path(sys.argv[0]).name == "eebench" else None,
        "spec": spec.model_dump(mode="json"),
        "spec_sha256": spec.sha256,
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "environment": describe(prepared.device.type),
        "data": {
            "name": data.name,
            "modality": data.modality,
            "task": vars(data.task) | {"labels": list(data.task.labels)},
            "n_train": len(data.train),
            "n_val": len(data.val),
            "n_test": len(data.test),
            "split_sha256": data.split_hash,
            "content_sha256": prepared.data_sha,
            "image_size": spec.image_size or data.image_size,
            "patch_size": spec.patch_size or data.patch_size,
            "channels": data.channels,
            "notes": data.notes,
            "preprocessing": None if data.preprocessing is None else data.preprocessing.to_dict(),
            "augment": data.augment,
            "official": sorted(data.official),
            "copies": data.copies,
        },
        "backbone": {
            "name": spec.backbone,
            "depth": prepared.depth,
            "pool": prepared.pool,
            "max_tokens": prepared.max_tokens,
            "params_m": first["params_m"],
            "gmacs": plain_row["gmacs"],
            "weights": prepared.weights,
            "weights_sha256": prepared.weights_sha,
            "loaded": prepared.weight_lines,
        },
        "macs": {
            "counter": "fvcore",
            "convention": "1 MAC = one multiply-accumulate = fvcore's flop; gflops would be twice gmacs",
            "uncounted": uncounted,
        },
        "timing": timing,
        "cells": cells,
        "notes": [
            *prepared.notes,
            *(f"set aside: {reason}" for reason in broken),
        ],
    }
    return RunRecord.model_validate(plain_values(values))
