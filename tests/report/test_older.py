"""A record of schema version 2 gives the report that it would give as version 3."""

import json

import numpy as np
import pandas as pd
import pytest

from eebench.report.derive import compare
from eebench.report.frames import load
from tests.report.fake_run import TARGETS, write_run

OLD = {"drop_1": "drop_1pt"}
NEW_COLUMNS = [
    "choose", "val_drop", "val_drop_upper", "dead_share", "over_frontier", "over_frontier_low", "over_frontier_high",
    "speedup_macs_low", "speedup_macs_high", "withheld_cpu", "withheld_gpu", "basis", "contaminated",
]  # fmt: skip


def to_version_2(run):
    """Undo, table by table, what version 3 changed."""
    record = json.loads((run / "run.json").read_text()) | {"schema_version": 2}
    (run / "run.json").write_text(json.dumps(record))
    shares = pd.read_csv(run / "shares.csv").query("split == 'test'")
    exits = pd.read_csv(run / "exits.csv").drop(columns=["live", "majority"])
    for target in TARGETS:
        mine = shares[shares["target"] == target].set_index(["method", "seed", "exit"])
        keys = list(zip(exits["method"], exits["seed"], exits["exit"], strict=True))
        for name in ("share", "accuracy"):
            exits[f"{name}_{OLD.get(target, target)}"] = [mine[name].get(key, np.nan) for key in keys]
    exits.to_csv(run / "exits.csv", index=False)
    for name in ("shares", "pairs", "tiers", "training"):
        (run / f"{name}.csv").unlink()
    for name, column in (("operating_points", "target"), ("latency", "path"), ("reliability", "target")):
        table = pd.read_csv(run / f"{name}.csv")
        table[column] = table[column].replace(OLD)
        table.drop(columns=[c for c in NEW_COLUMNS if c in table]).to_csv(run / f"{name}.csv", index=False)


@pytest.fixture
def both(tmp_path):
    new, old = (write_run(tmp_path / name, 2, seeds=(0, 1), troubles=False) for name in ("new", "old"))
    to_version_2(old)
    assert "drop_1pt" in (old / "operating_points.csv").read_text()
    return load(new), load(old)


def test_targets_shares_and_times_are_the_same(both):
    new, old = both
    assert old.targets == new.targets
    keys = ["method", "seed", "target", "exit"]
    first, second = (
        record.table("shares").sort_values(keys).reset_index(drop=True)[[*keys, "share", "accuracy"]]
        for record in (new, old)
    )
    pd.testing.assert_frame_equal(first, second, check_dtype=False)
    assert not any(column.startswith("share_") for column in old.exits)
    columns = ["target", "method", "kind", "score", "drop", "gmacs", "speedup_cpu", "cpu_p95_ms"]
    pd.testing.assert_frame_equal(compare(old)[columns], compare(new)[columns])
    assert set(old.table("reliability")["target"]) == {"drop_1"}


def test_what_version_2_did_not_measure_is_absent(both):
    _, old = both
    assert old.table("pairs").empty
    assert old.table("tiers").empty
    assert (old.points["dead_share"] == 0).all()
    assert compare(old)["tier"].isna().all()
    assert compare(old)["over_frontier"].isna().all()
