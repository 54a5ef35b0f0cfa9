"""What killed processes left half-written in a run's folder is removed: what nobody holds the lease of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from eebench.leases import Leases, Owner
from eebench.runs.begun import UNFINISHED, begun_cell, try_to_remove
from eebench.runs.probed import PROBES

__all__ = ["ASIDE", "STAGE", "at_work", "sweep"]

FORGOTTEN = 14 * 24 * 3600.0  # seconds: what is unfinished or set aside and nobody has looked at for so long
STAGE = ".record-"
ASIDE = ".set-aside"  # folder of a run: what was damaged


def at_work(leases: Leases, run: str, at: Sequence[str]) -> list[Owner]:
    """Processes, this one too, that are at something in a run now.

    Args:
        leases: of the results.
        run: the run's name.
        at: kinds of what they are at.
    """
    return [one for one in leases.live().values() if one.about.get("run") == run and one.about.get("at") in at]


def sweep(run: Path, leases: Leases, record: str) -> None:
    """Remove what was left half-written, at once; what can be gone on with or looked at after two weeks.

    Everything half-written has an owner who took a lease before: what stands here and has no living owner after that
    is nobody's.

    Args:
        run: its folder.
        leases: of the results.
        record: name of the lease of the run's record.
    """
    cells = run / "cells"
    half = [left for left in cells.glob(".*-*") if not left.name.startswith(UNFINISHED)]
    stages = list(run.glob(f"{STAGE}*"))
    files = [path for place in (run, run / "search") for kind in ("json", "csv") for path in place.glob(f".*.{kind}.*")]
    for left in half:
        if leases.holder(begun_cell(left)) is None:
            try_to_remove(left)
    stages += [left for probe in PROBES for left in (run / probe).glob("*/.*-*")]
    if stages and leases.holder(record) is None:
        for left in stages:
            try_to_remove(left)
    if files and not at_work(leases, run.name, ("run", "cell", "search", "record")):
        for left in files:
            try_to_remove(left)
    for left in cells.glob(f"{UNFINISHED}*"):
        if _forgotten(left) and (lease := leases.take(begun_cell(left))) is not None:
            try_to_remove(left)
            lease.release()
    for left in (run / ASIDE).glob("*"):
        if _forgotten(left):
            try_to_remove(left)
    if leases.folder.exists():
        with suppress(OSError):
            leases.sweep()


def _forgotten(path: Path) -> bool:
    with suppress(OSError):  # another run may be sweeping too
        return time.time() - path.stat().st_mtime > FORGOTTEN
    return False
