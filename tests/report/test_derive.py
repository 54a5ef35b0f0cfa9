import statistics

import numpy as np
import pandas as pd
import pytest

from eebench.report.derive import compare, overlaps, reached, timed_points
from eebench.report.frames import load
from tests.report.fake_run import TARGETS, write_run


def test_means_and_deviations_over_seeds_by_hand(three):
    record = load(three)
    table = compare(record).set_index(["target", "method", "kind"])
    for target in TARGETS:
        for kind in ("dynamic", "fixed"):
            row = table.loc[(target, "pabee", kind)]
            points = record.points
            mine = points[(points.target == target) & (points.method == "pabee") & (points.kind == kind)]
            assert row["seeds"] == 2
            for name in ("score", "drop", "gmacs", "speedup_cpu", "speedup_layers", "mean_exit"):
                assert row[name] == pytest.approx(statistics.mean(mine[name]))
                assert row[f"{name}_std"] == pytest.approx(statistics.stdev(mine[name]))
            for name in ("drop_low", "drop_high", "speedup_cpu_low"):
                assert row[name] == pytest.approx(statistics.mean(mine[name]))


def test_one_seed_has_no_deviation_and_a_failed_seed_is_counted(three, tmp_path):
    one = compare(load(write_run(tmp_path / "one", 2)))
    assert one["score_std"].isna().all()
    assert (one["seeds"] == 1).all()
    two = compare(load(three)).set_index(["method", "kind", "target"])
    assert two.loc[("palbert", "dynamic", "drop_1"), "seeds"] == 1  # its second cell failed
    assert two.loc[("backbone", "plain", "drop_1"), "seeds"] == 2


def test_times_come_from_the_path_that_was_run(three):
    record = load(three)
    latency = record.single.set_index(["method", "seed", "device", "path"])
    for _, row in timed_points(record).iterrows():
        path = {"plain": "plain", "dynamic": row["target"]}.get(row["kind"])
        if row["kind"] == "fixed":
            path = f"fixed_{int(row['knob'])}"
        if path is None:
            assert np.isnan(row["cpu_mean_ms"])  # random exits and oracles are never run
        else:
            assert row["cpu_p95_ms"] == latency.loc[(row["method"], row["seed"], "cpu", path), "p95_ms"]
    assert timed_points(record)["gpu_mean_ms"].isna().all()


def test_a_timed_point_without_speedup_gets_the_ratio_of_means(three):
    record = load(three)
    record.points.loc[record.points["kind"] == "fixed", ["speedup_cpu", "speedup_cpu_low", "speedup_cpu_high"]] = np.nan
    points = timed_points(record)
    row = points[(points["kind"] == "fixed") & (points["seed"] == 1)].iloc[0]
    latency = record.single.set_index(["method", "seed", "device", "path"])["mean_ms"]
    plain = latency[("backbone", 1, "cpu", "plain")]
    assert row["speedup_cpu"] == pytest.approx(plain / latency[(row["method"], 1, "cpu", f"fixed_{row['knob']:.0f}")])
    assert np.isnan(row["speedup_cpu_low"])


def row(low, high, least=0.0, most=0.0):
    return pd.Series({"drop_low": low, "drop_high": high, "drop_min": least, "drop_max": most})


@pytest.mark.parametrize(
    ("values", "unsure"),
    [
        (row(-0.01, 0.02), True),
        (row(0.001, 0.02, 0.01, 0.02), False),
        (row(0.0, 0.02, 0.01, 0.02), True),  # an interval that touches zero holds it
        (row(0.001, 0.02, -0.001, 0.02), True),  # seeds on both sides
        (row(np.nan, np.nan, 0.01, 0.02), False),
    ],
)
def test_overlap_with_no_change(values, unsure):
    assert overlaps(values, "drop", 0.0) is unsure


def test_rows_stand_in_order_and_oracles_last(three):
    table = compare(load(three))
    assert list(dict.fromkeys(table["target"])) == list(TARGETS)
    first = table[table["target"] == "drop_1"]
    assert list(first["kind"]) == ["plain"] + ["dynamic", "fixed", "random"] * 3 + ["oracle"] * 3
    assert list(first["label"])[:2] == ["plain backbone", "PABEE"]
    assert not first.loc[first["kind"] == "oracle", ["front_macs", "front_cpu"]].to_numpy().any()


def test_stars_are_the_front_by_brute_force(large):
    table = large.table
    able = table["kind"].isin(["plain", "static", "dynamic", "fixed", "random"]) & ~table["dead"]
    for mark, cost in (("front_macs", "gmacs"), ("front_cpu", "cpu_mean_ms"), ("front_gpu", "gpu_mean_ms")):
        for name in TARGETS:
            rows = table[able & (table["target"] == name)].dropna(subset=[cost])
            for _, row in rows.iterrows():
                cost_, score = f"{row[cost]:.9g}", row["score"]
                beaten = any(
                    float(f"{o[cost]:.9g}") <= float(cost_) and o["score"] >= score
                    and (float(f"{o[cost]:.9g}") < float(cost_) or o["score"] > score)
                    for _, o in rows.iterrows()
                )  # fmt: skip
                assert row[mark] != beaten
    assert not table.loc[table["dead"] | (table["kind"] == "oracle"), ["front_macs", "front_cpu"]].to_numpy().any()


def test_static_models_are_timed_at_their_own_path(large):
    rows = large.seeds[large.seeds["kind"] == "static"]
    assert len(rows) == 2 * 3 * 4  # models, seeds, targets
    times = large.record.single.set_index(["method", "seed", "device", "path"])["mean_ms"]
    for _, row in rows.iterrows():
        assert row["method"] == f"static[blocks={row['knob']:.0f}]"
        assert row["cpu_mean_ms"] == times[("static", row["seed"], "cpu", f"blocks_{row['knob']:.0f}")]
    labels = large.table.loc[large.table["kind"] == "static", "label"]
    assert set(labels) == {"static model, 3 blocks", "static model, 6 blocks"}


def test_the_records_own_intervals_replace_the_mean_bounds(three):
    record = load(three)
    before = compare(record).set_index(["target", "method", "kind"])
    key = ("drop_1", "pabee", "dynamic")
    record.tables["headlines"] = pd.DataFrame(
        [
            {"target": "drop_1", "method": "pabee", "kind": "dynamic", "measure": m, "value": v, "low": a, "high": b}
            for m, v, a, b in (("drop", 0.02, 0.001, 0.04), ("speedup_macs", 2.0, 0.9, 3.0), ("score", 0.9, 0.8, 1.0))
        ]
        + [{"target": "drop_9", "method": "nobody", "kind": "dynamic", "measure": "drop", "low": 0.0, "high": 1.0}]
    )
    after = compare(record).set_index(["target", "method", "kind"])
    assert (after.loc[key, "drop_low"], after.loc[key, "drop_high"]) == (0.001, 0.04)
    assert not after.loc[key, "unsure_drop"]  # above zero, whatever single seeds say
    assert after.loc[key, "unsure_macs"]
    assert after.loc[key, "drop"] == before.loc[key, "drop"]
    other = ("drop_1", "lgvit[blocks=4+8]", "dynamic")
    assert after.loc[other, "drop_low"] == before.loc[other, "drop_low"]
    assert len(after) == len(before)


def test_a_withheld_speed_up_is_not_made_up_from_the_times(tmp_path):
    record = load(write_run(tmp_path / "run", 2, seeds=(0, 1), withheld="a busy machine", troubles=False))
    table = compare(record).query("kind == 'dynamic'").set_index(["method", "target"])
    assert np.isnan(table.loc[("pabee", "drop_1"), "speedup_cpu"])
    assert table.loc[("pabee", "drop_1"), "withheld_cpu"] == "a busy machine"
    assert np.isfinite(table.loc[("lgvit[blocks=4+8]", "drop_1"), "speedup_cpu"])


def test_fixed_depths_at_exits_that_never_learnt_are_dead(large):
    points, exits = large.seeds, large.record.exits
    dead = exits[(exits["split"] == "test") & ~exits["live"]]
    keys = set(zip(dead["method"], dead["seed"], dead["exit"], strict=True))
    assert keys
    fixed = points[points["kind"] == "fixed"]
    for _, row in fixed.iterrows():
        assert (row["dead_share"] == 1) == ((row["method"], row["seed"], row["knob"]) in keys)


def judged(**changes):
    values = {
        "target": "drop_1", "kind": "dynamic", "met": 3, "seeds": 3, "drop": 0.02, "drop_low": 0.009,
        "speedup_macs": 2.0, "speedup_macs_high": 2.1, "speedup_cpu_high": np.nan, "speedup_gpu_high": np.nan,
    }  # fmt: skip
    return pd.Series(values | changes)


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),  # 2 points lost, but 1 is within the interval
        ({"drop_low": 0.011}, False),
        ({"met": 2}, False),
        ({"drop_low": np.nan, "drop": 0.01}, True),
        ({"drop_low": np.nan, "drop": 0.0101}, False),
        ({"target": "macs_50", "drop_low": 0.5}, True),
        ({"target": "macs_45"}, False),  # 2.1 times fewer is 48 %
        ({"target": "ms_3"}, False),  # not timed
        ({"target": "ms_3", "speedup_cpu_high": 4.0}, True),  # 10 ms / 4
        ({"target": "ms_3", "speedup_cpu_high": 3.0}, False),
        ({"target": "ms_3", "speedup_cpu_high": 4.0, "speedup_gpu_high": 1.0}, False),  # the GPU, where there is one
        ({"kind": "plain"}, True),
        ({"kind": "plain", "target": "macs_50"}, False),
        ({"target": "joules_3"}, True),
    ],
)
def test_keeping_a_target(changes, kept):
    plain = pd.DataFrame({"cpu_mean_ms": 10.0, "gpu_mean_ms": 5.0}, index=["drop_1", "macs_50", "macs_45", "ms_3"])
    assert reached(judged(**changes), plain) is kept


def test_tiers_are_the_records(large):
    tiers = large.record.table("tiers").set_index(["target", "method"])["tier"]
    rows = large.table[large.table["kind"] == "dynamic"]
    for _, row in rows.iterrows():
        assert row["tier"] == tiers[(row["target"], row["method"])]
    assert large.table.loc[large.table["kind"] == "fixed", "tier"].isna().all()
