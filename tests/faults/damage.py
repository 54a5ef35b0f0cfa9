"""Ways to damage a finished run, and what must come of it: the same command makes it whole again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs.how import Execution
from eebench.runs.runner import execute

TIMED = ("latency", "energy", "training")  # tables of the clock, which no two runs share
CLOCK = ("speedup_cpu", "speedup_gpu", "withheld", "ms_", "latency")


def flip(path: Path, at: int = 0) -> None:
    """One bit of one byte, size and name as they were."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """The second half is gone."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    """What a power cut leaves."""
    path.write_bytes(b"")


def exchange(one: Path, other: Path) -> None:
    """Each under the other's name."""
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])


def all_right(trace: Path) -> None:
    """Edit a trace so that every exit is always right."""
    with np.load(trace) as file:
        columns = dict(file)
    columns["prediction"] = np.broadcast_to(columns["targets"][:, None], columns["prediction"].shape).copy()
    np.savez_compressed(trace, **columns)


def unverify(run: Path) -> None:
    """As an older eebench would have written it: without checksums."""
    (run / "manifest.json").unlink()
    values = json.loads((run / "run.json").read_text(encoding="utf-8"))
    del values["checksums"]
    (run / "run.json").write_text(json.dumps(values), encoding="utf-8")


def again(spec, plugin, results, **options):
    """The same command once more; what it said."""
    reporter = Reporter(quiet=True)
    options.setdefault("how", Execution(in_process=True))  # no process to start: seconds for a test
    outcome = execute(spec, Registry.installed([plugin] if plugin else []), results, reporter=reporter, **options)
    return outcome, reporter.lines


def untimed(run: Path) -> dict[str, pd.DataFrame]:
    """The tables of a run without what a clock measured."""
    tables = {}
    for path in sorted(run.glob("*.csv")):
        if path.stem in TIMED:
            continue
        frame = pd.read_csv(path)
        if "measure" in frame:
            frame = frame[~frame["measure"].str.contains("cpu|gpu|latency")]
        if "name" in frame:
            frame = frame[~frame["name"].str.contains("cpu|gpu|latency|ms")]
        tables[path.stem] = frame[[name for name in frame if not name.startswith(CLOCK)]].reset_index(drop=True)
    return tables


def copy_of(results: Path, target: Path) -> Path:
    """A results folder once more, file by file rather than by links."""
    shutil.copytree(results, target)
    return target
