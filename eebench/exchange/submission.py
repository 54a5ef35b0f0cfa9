"""``eebench submit``: one method of a run as a folder that anybody can check without its weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from eebench.errors import UserError, did_you_mean
from eebench.exchange.beside import KEPT, add_clock, finished_cells
from eebench.exchange.exporting import write_predictions
from eebench.exchange.recompute import recompute
from eebench.files import read_json, write_json, write_table
from eebench.manifest import seal
from eebench.plugins.registry import Registry
from eebench.record import RunRecord, read_record
from eebench.runs.deployed import ENCODER
from eebench.schema import BACKBONE, STATIC, TABLES

__all__ = ["PREDICTIONS", "ROOT", "SUBMISSION", "Submission", "place_of", "read_submission", "spec_hash", "submit"]

ROOT, SUBMISSION, PREDICTIONS = "submissions", "submission.json", "predictions"
FORMAT, VERSION = "eebench-submission", 1
NAME = re.compile(r"[A-Za-z0-9][\w.\-]*")
OF_A_MACHINE = frozenset(
    "data_dir device threads seeds latency_batch_sizes latency_samples latency_seconds energy".split()
)
"""Fields of a spec that differ between two people who repeat the same experiment."""


class Submission(BaseModel):
    """What ``submission.json`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["eebench-submission"] = "eebench-submission"
    version: int = VERSION
    eebench: str
    protocol_version: int
    method: str
    by: str
    spec_sha256: str
    created: str


def submit(
    run: str | Path,
    out: str | Path,
    *,
    by: str,
    methods: Sequence[str] | None = None,
    registry: Registry | None = None,
) -> list[Path]:
    """Write submissions of a run: its methods, each with the plain backbone and the static models it is held against.

    A submission lies in ``<out>/submissions/v<protocol>/<method>__<by>/<backbone>__<data>/<hash of the spec>/``:
    run.json, the tables, and every model's per-sample answers in the format of ``eebench export-predictions``, without
    logits. Its tables are worked out from these arrays, with nobody but the static models beside the method, so that
    whoever checks it can work them out again; what the clock said is taken over.

    Args:
        run: a run directory with its cells.
        out: the repository's folder.
        by: who submits: a short name.
        methods: labels in the run; every finished one when not given.
        registry: where methods come from; the installed ones when not given.

    Returns:
        The folders written.

    Raises:
        UserError: no run, no such method, arrays that are not there, a name that is none, or a submission of the same
            name that is there already. Nothing is written then.
    """
    run, out = Path(run), Path(out)
    if not NAME.fullmatch(by) or "__" in by:
        raise UserError(f"--by: '{by}' is no name for a folder; use letters, digits, '-', '_' and '.'")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file")
    record = read_record(run)
    labels = _labels(record, methods)
    places = {label: out / place_of(label, by, record) for label in labels}
    for label, place in places.items():
        if place.exists():
            raise UserError(f"{label}: {place} is there already; remove it first")
    finished_cells(run, record, [BACKBONE, *labels])
    out.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".submit-", dir=out))
    try:
        for number, label in enumerate(labels):
            folder = stage / str(number)
            folder.mkdir()
            _write(folder, run, record, label, by, registry)
        for number, place in enumerate(places.values()):
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage / str(number), place)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return list(places.values())


def _labels(record: RunRecord, methods: Sequence[str] | None) -> list[str]:
    done = dict.fromkeys(cell.label for cell in record.cells if cell.status == "done")
    own = [label for label in done if label != BACKBONE and not label.startswith(f"{STATIC}[")]
    for label in methods or []:
        if label not in own:
            raise UserError(f"the run has no finished method '{label}'{did_you_mean(label, own)}")
    if not own:
        raise UserError("the run has no finished method")
    return list(methods or own)


def place_of(method: str, by: str, record: RunRecord) -> Path:
    """Where a submission lies below the repository's folder."""
    who = f"{_slug(method)}__{by}"
    what = f"{_slug(record.backbone.name)}__{_slug(record.data.name)}"
    return Path(ROOT) / f"v{record.protocol_version}" / who / what / spec_hash(method, record)[:12]


def _slug(name: str) -> str:
    last = name.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1]
    return re.sub(r"[^A-Za-z0-9._+=-]+", "-", last).strip("-")


def spec_hash(method: str, record: RunRecord) -> str:
    """Fingerprint of the experiment: the same for whoever repeats it, on whatever machine and with whatever seeds."""
    made_of = {
        "protocol": record.protocol_version,
        "spec": shared_spec(method, record),
        "split": record.data.split_sha256,
        "weights": record.backbone.weights_sha256,
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def shared_spec(method: str, record: RunRecord) -> dict[str, Any]:
    """The spec without what belongs to one machine, paths cut down to names."""
    kept = {name: value for name, value in record.spec.items() if name not in OF_A_MACHINE and value is not None}
    named: dict[str, Any] = {
        name: _slug(str(kept[name])) for name in ("backbone", "dataset", "weights") if name in kept
    }
    stamps = [str(stamp).rpartition("@") for stamp in kept.get("plugins") or []]
    if stamps:
        named["plugins"] = [f"{_slug(where)}@{code}" for where, _, code in stamps]
    return kept | named | {"methods": [method]}


def _write(folder: Path, run: Path, record: RunRecord, method: str, by: str, registry: Registry | None) -> None:
    """Fill one submission's folder."""
    cells = finished_cells(run, record)
    seeds = {cell.seed for cell in cells if cell.label == method}
    mine = [c for c in cells if c.seed in seeds and (c.label in (BACKBONE, method) or c.label.startswith(f"{STATIC}["))]
    predictions = folder / PREDICTIONS
    predictions.mkdir()
    write_predictions(predictions, record, mine, logits=False, by=by, registry=registry)
    kept = {cell.id for cell in mine}
    sha = spec_hash(method, record)
    spec = {**record.spec, **shared_spec(method, record), "seeds": sorted(seeds), "data_dir": None}
    own = record.model_copy(
        update={
            "spec": spec,
            "spec_sha256": sha,
            "command": None,
            "backbone": record.backbone.model_copy(update=_without_paths(record)),
            "cells": [cell for cell in record.cells if cell.id in kept],
            "checksums": {},
        }
    )
    if (run / ENCODER).is_dir():
        shutil.copytree(run / ENCODER, folder / ENCODER)
    write_json(folder / "run.json", own.model_dump(mode="json"))
    tables = recompute(predictions, own, registry).tables
    labels = {BACKBONE, STATIC, method, *(cell.label for cell in mine)}
    for name in KEPT:
        path = run / f"{name}.csv"
        if path.is_file():
            frame = pd.read_csv(path)
            tables[name] = frame[frame["method"].isin(labels)].to_dict("records")  # type: ignore[assignment]
    add_clock(tables["operating_points"], run)
    for name, rows in tables.items():
        write_table(folder / f"{name}.csv", list(TABLES[name]), rows)
    said = Submission(
        eebench=version("eebench"),
        protocol_version=record.protocol_version,
        method=method,
        by=by,
        spec_sha256=sha,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_json(folder / SUBMISSION, said.model_dump())
    seal(folder, submission=method, by=by)


def _without_paths(record: RunRecord) -> dict[str, Any]:
    """What the record says of the backbone's files, without where they lie on the submitter's machine."""
    backbone = record.backbone
    names = {name: getattr(backbone, name) for name in ("name", "weights")}
    local = {name: _slug(value) for name, value in names.items() if Path(value).is_absolute() or Path(value).exists()}
    return {**local, "loaded": []}


def read_submission(folder: Path) -> Submission:
    """What a folder's ``submission.json`` says.

    Raises:
        UserError: it is not there, another version, or says too little or too much.
    """
    path = folder / SUBMISSION
    values = read_json(path)
    if not isinstance(values, Mapping) or values.get("format") != FORMAT or values.get("version") != VERSION:
        raise UserError(f"{path} is no submission of version {VERSION}")
    try:
        return Submission.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
