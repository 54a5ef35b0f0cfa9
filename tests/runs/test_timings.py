"""What a run asks of the clock, and what becomes of its answers in the tables."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from eebench.measure.statistics import Interval
from eebench.runs.score import Point
from eebench.runs.spec import make_spec
from eebench.runs.tables import Chosen, Scored
from eebench.runs.timings import attach_speedups, expected_of, rounds_of, samples_of
from eebench.timing.times import Speedup


@pytest.mark.parametrize(("budget", "samples", "least", "seconds"), [("smoke", 16, 2, 5), ("quick", 100, 3, 75)])
def test_budgets_say_how_long_rounds_may_go_on(budget, samples, least, seconds):
    spec = make_spec(budget=budget)
    assert samples_of(spec) == samples
    rounds = rounds_of(spec)
    assert (rounds.least, rounds.most, rounds.seconds) == (least, 5 * least, seconds)
    asked = make_spec(budget=budget, latency_samples=7, latency_seconds=0.0)
    assert samples_of(asked) == 7
    assert rounds_of(asked).seconds == 0


def point(kind, knob, macs, layers, exits=()):
    of = SimpleNamespace(trace=SimpleNamespace(blocks=(2, 4)), predictions=lambda exits: exits + 10)
    return Point(kind, knob, np.array(exits), {"speedup_macs": macs, "speedup_layers": layers}, of)


def test_the_clock_is_held_against_replay_and_work():
    dynamic = point("dynamic", 0.5, 1.8, 2.0, [0, 1, 1])
    fixed = [point("fixed", 2, 1.9, 2.0), point("fixed", 4, 1.0, 1.0)]
    scored = Scored("ours", 0, "threshold", {"test": {"dynamic": [dynamic], "fixed": fixed}})
    scored.chosen["dynamic"] = [Chosen("drop_1", None, dynamic, dynamic)]
    found = expected_of(scored)
    assert found.keys() == {"drop_1", "fixed_2", "fixed_4"}
    assert (found["drop_1"].bound, found["fixed_2"].bound) == (2.0, 2.0)
    np.testing.assert_array_equal(found["drop_1"].exits, [0, 1, 1])
    np.testing.assert_array_equal(found["drop_1"].answers, [10, 11, 11])
    assert found["drop_1"].blocks == (2, 4)
    assert found["fixed_2"].exits is None
    static = Scored("static", 0, "blocks", {"test": {"static": [point("static", 3, 3.9, 4.0)]}})
    assert {path: expected.bound for path, expected in expected_of(static).items()} == {"blocks_3": 4.0}


def test_measured_speedups_go_to_the_rows_they_were_measured_for():
    rows = [
        {"method": "ours", "seed": 1, "kind": "dynamic", "target": "macs_50", "knob": 0.5},
        {"method": "ours", "seed": 1, "kind": "fixed", "target": "macs_50", "knob": 2},
        {"method": "ours", "seed": 1, "kind": "oracle", "target": "macs_50", "knob": None},
        {"method": "ours", "seed": 2, "kind": "dynamic", "target": "macs_50", "knob": 0.5},
        {"method": "ours", "seed": 1, "kind": "dynamic", "target": "macs_25", "knob": 0.4},
        {"method": "static", "seed": 1, "kind": "static", "target": "macs_25", "knob": 3},
    ]
    timed = {("ours", "cpu", "macs_50"): (2.0, 1.8, 2.2), ("ours", "cpu", "fixed_2"): (1.5, 1.4, 1.6)}
    timed["static", "cpu", "blocks_3"] = (3.9, math.nan, math.nan)

    class Times:
        def speedup(self, label, device, path):
            found = timed.get((label, device, path))
            return None if found is None else Speedup(Interval(*found), "wall", "noisy" if path == "fixed_2" else "")

    attach_speedups(rows, Times(), 1)
    assert [row.get("speedup_cpu") for row in rows] == [2.0, None, None, None, None, 3.9]
    assert (rows[0]["speedup_cpu_low"], rows[0]["speedup_cpu_high"]) == (1.8, 2.2)
    assert [row.get("withheld_cpu") for row in rows] == ["", "noisy", None, None, None, ""]
    assert all("speedup_gpu" not in row for row in rows)
