"""Repeat a reference run and compare it with the committed record: for a machine that has a night to spare.

    python -m tests.nightly [RECORD] [--seed 0] [--results DIR]

On the same kind of machine (processor, torch, threads) everything but time must be identical. Elsewhere costs must be,
and scores may differ as another order of additions makes them: see ``SCORE`` and ``SHARE``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import eebench
from eebench.runs.environment import describe

REFERENCE = Path(__file__).parents[1] / "results" / "reference" / "mnist5k-quick"
KEYS = {
    "curves": ["method", "split", "kind", "knob"],
    "exits": ["method", "split", "exit"],
    "operating_points": ["method", "kind", "target"],
    "training": ["method"],
}
"""Tables that are compared, and what names a row of one seed."""

TIME = ("seconds", "reused", "speedup_cpu", "speedup_gpu", "withheld", "_mb")
"""Beginnings and ends of columns that depend on the clock or on what else the machine does."""

COST = ("exits.gmacs", "exits.params", "training.epochs", "training.passes", "training.params_m")
"""What no machine changes."""

SCORE = 0.03  # of a score on another machine: three standard errors of 900 samples, two trainings apart
SHARE = 0.9  # of the rows that must be within it


def differences(reference: dict[str, pd.DataFrame], again: dict[str, pd.DataFrame], *, same: bool) -> list[str]:
    """What a repeated run says otherwise than the record, a line each.

    Args:
        reference: tables of one seed.
        again: the same of the repeated run.
        same: whether both ran on the same kind of machine.
    """
    found = []
    for name, keys in KEYS.items():
        ours, theirs = (tables[name].set_index(keys).sort_index() for tables in (again, reference))
        if not ours.index.equals(theirs.index):
            odd = ours.index.symmetric_difference(theirs.index)
            found.append(f"{name}: rows differ, such as {odd[0] if len(odd) else 'their order'}")
            continue
        for column in theirs.columns.intersection(ours.columns):
            if any(word in column for word in TIME):
                continue
            found += _column(f"{name}.{column}", ours[column], theirs[column], same=same)
    return found


def _column(name: str, ours: pd.Series, theirs: pd.Series, *, same: bool) -> list[str]:
    if same or name in COST:
        equal = ours.eq(theirs) | (ours.isna() & theirs.isna())
        return [] if equal.all() else [f"{name}: {(~equal).sum()} of {len(equal)} differ, first {equal.idxmin()}"]
    if not name.endswith(".score"):
        return []
    near = np.abs(ours - theirs) <= SCORE
    return [] if near.mean() >= SHARE else [f"{name}: {1 - near.mean():.0%} are more than {SCORE} apart"]


def main() -> None:
    """Run, compare, and say what differs; exit status 1 when something does."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("record", type=Path, nargs="?", default=REFERENCE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    run = json.loads((options.record / "run.json").read_text(encoding="utf-8"))
    environment = run["environment"]
    asked = {key: value for key, value in run["spec"].items() if key not in ("seeds", "plugins")}
    spec = eebench.make_spec(**asked, seeds=(options.seed,))
    with tempfile.TemporaryDirectory() as temporary:
        again = eebench.run(spec, results=options.results or temporary, quiet=False)
    reference = {name: pd.read_csv(options.record / f"{name}.csv") for name in KEYS}
    reference = {name: table[table["seed"] == options.seed].drop(columns="seed") for name, table in reference.items()}
    again = {name: again[name].drop(columns="seed") for name in KEYS}
    here = describe()
    same = all(here[name] == environment[name] for name in ("cpu", "torch", "threads"))
    found = differences(reference, again, same=same)
    print(f"{'the same' if same else 'another'} kind of machine as {environment['cpu']}, torch {environment['torch']}")
    print("\n".join(found) or "nothing differs but time")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
