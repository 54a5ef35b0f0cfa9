"""A target in milliseconds becomes a choice on validation data."""

from types import SimpleNamespace

import numpy as np
import pytest

from eebench.runs import milliseconds
from eebench.runs.choose import Chooser
from eebench.runs.score import Point
from eebench.targets import Target
from eebench.timing.exits import ExitLatency


def point(kind, knob, exits, score):
    of = SimpleNamespace(task=SimpleNamespace(metric="accuracy"), predictions=lambda exits: exits * 0)
    of.trace = SimpleNamespace(targets=np.zeros(4, dtype=int))
    return Point(kind, knob, np.array(exits), {"score": score, "gmacs": 1.0}, of)


@pytest.fixture
def latency(monkeypatch):
    asked = []
    found = ExitLatency(np.array([1.0, 2.0, 6.0]), np.array([0.9, 1.5, 5.0]), "wall", False)

    def instead(model, rule, split, *, seed, clocks):
        asked.append((model, rule, split, seed, clocks))
        return found

    monkeypatch.setattr(milliseconds, "time_exits", instead)
    return found, asked


def test_the_best_score_within_the_time_is_chosen(latency):
    found, asked = latency
    ms, behind = milliseconds.point_ms("model", "rule", "val", seed=3, clocks="clocks")
    assert behind is found
    assert asked == [("model", "rule", "val", 3, "clocks")]
    points = [
        point("dynamic", 0.9, [2, 2, 2, 2], 0.90),  # 6 ms
        point("dynamic", 0.7, [0, 1, 2, 0], 0.88),  # 2.5 ms
        point("dynamic", 0.5, [0, 0, 1, 1], 0.86),  # 1.5 ms
        point("dynamic", 0.1, [0, 0, 0, 0], 0.60),  # 1 ms
    ]
    assert [ms(p) for p in points] == [6.0, 2.5, 1.5, 1.0]
    chooser = Chooser(points[0], "naive", ms=ms)
    for name, index, met in (("ms_6", 0, True), ("ms_2.5", 1, True), ("ms_2.4", 2, True), ("ms_0.5", 3, False)):
        choice = chooser.choose(Target.parse(name), points)
        assert (choice.index, choice.met) == (index, met), name


def test_fixed_depth_takes_what_its_head_alone_takes(latency):
    ms, _ = milliseconds.point_ms("model", "rule", "val")
    assert ms(point("fixed", 4, [1, 1, 1, 1], 0.8)) == 1.5


def test_static_models_are_told_apart_by_their_blocks():
    ms = milliseconds.family_ms({3: lambda point: 3.0, 6: lambda point: 6.0})
    assert [ms(point("static", blocks, [0] * 4, 0.8)) for blocks in (6, 3)] == [6.0, 3.0]
