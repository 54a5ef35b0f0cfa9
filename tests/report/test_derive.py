import statistics

import numpy as np
import pandas as pd
import pytest

from eebench.report.derive import compare, front, overlaps, timed_points
from eebench.report.frames import load
from eebench.schema import TARGETS


def test_front_against_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(50):
        cost, score = rng.integers(1, 6, 12).astype(float), rng.integers(0, 6, 12).astype(float)
        cost[rng.random(12) < 0.1] = np.nan
        expected = [
            np.isfinite(c)
            and not any(c2 <= c and s2 >= s and (c2 < c or s2 > s) for c2, s2 in zip(cost, score, strict=True))
            for c, s in zip(cost, score, strict=True)
        ]
        np.testing.assert_array_equal(front(cost, score), expected)


def test_front_takes_rounding_for_what_it_is():
    cost = np.array([0.1 + 0.2, 0.3])  # the same cost, summed in another order
    np.testing.assert_array_equal(front(cost, np.array([0.9, 0.8])), [True, False])
    np.testing.assert_array_equal(front(cost, np.array([0.8, 0.9])), [False, True])


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


def test_one_seed_has_no_deviation_and_a_failed_seed_is_counted(three, twelve):
    one = compare(load(twelve))
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
