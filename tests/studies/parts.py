"""Runs cut from a finished one, as if made apart: fewer methods, another seed, another machine."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np

from eebench.manifest import seal
from eebench.record import read_record
from eebench.runs.spec import make_spec
from eebench.runs.store import Store
from eebench.schema import TABLES


def rows(run: Path, table: str) -> list[dict[str, str]]:
    with (run / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def part(source: Path, out: Path, *, methods=None, seed=None, cpu=None, spec=None, edit=None) -> Path:
    """A run directory ``out`` with some methods of ``source``, under another seed, on another machine.

    ``spec`` changes settings, ``edit`` the whole record.
    """
    record = read_record(source)
    names = list(methods or record.spec["methods"])
    store = Store(out.parent, out.name)
    cells = []
    for cell in record.cells:
        if cell.label in record.spec["methods"] and cell.label not in names:
            continue
        if cell.id is not None and seed is not None:
            renamed = cell.id.replace("-s0-", f"-s{seed}-")
            copy_cell(source / "cells" / cell.id, store.path / "cells" / renamed, seed)
            cell = cell.model_copy(update={"id": renamed})
        elif cell.id is not None:
            shutil.copytree(source / "cells" / cell.id, store.path / "cells" / cell.id)
        cells.append(cell if seed is None else cell.model_copy(update={"seed": seed}))
    values = record.spec | {"methods": names} | ({} if seed is None else {"seeds": [seed]}) | (spec or {})
    made = make_spec(**values)
    environment = record.environment | ({} if cpu is None else {"cpu": cpu})
    changed = {"run": out.name, "spec": made.model_dump(mode="json"), "spec_sha256": made.sha256, "cells": cells}
    record = record.model_copy(update={**changed, "environment": environment, **(edit or {})})
    kept = {*names, "backbone", "static", *(cell.label for cell in cells)}
    tables = {
        name: [
            {k: v or None for k, v in row.items()} | ({} if seed is None or "seed" not in row else {"seed": seed})
            for row in rows(source, name)
            if row.get("method") in kept
        ]
        for name in TABLES
        if (source / f"{name}.csv").exists() and name not in ("pairs", "headlines", "tiers")
    }
    raw = {}
    for path in source.glob("*.npz"):
        with np.load(path) as file:
            name = path.stem if seed is None else path.stem.replace("s0", f"s{seed}")
            raw[name] = {k: file[k] for k in file.files if path.stem == "samples" or k.partition("|")[0] in kept}
    store.publish(tables, raw, record)
    return store.path


def copy_cell(source: Path, target: Path, seed: int) -> None:
    """The same models under another seed; their traces are the same."""
    shutil.copytree(source, target)
    facts = json.loads((target / "cell.json").read_text())
    (target / "cell.json").write_text(json.dumps(facts | {"seed": seed, "id": target.name}))
    seal(target, cell=target.name)
