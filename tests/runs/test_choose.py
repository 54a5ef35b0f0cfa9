"""Operating points on validation data: what fits, what is nearest, and what a bound makes of a drop."""

from types import SimpleNamespace

import numpy as np
import pytest

from eebench.api import Task
from eebench.measure import smallest_resolvable
from eebench.runs.choose import Chooser, default_targets
from eebench.runs.score import Point
from eebench.targets import SHARES, Target

SAMPLES = 1000
TARGETS = np.zeros(SAMPLES, dtype=int)


def point(score, gmacs, knob=0):
    """A point that is right on the first ``score`` of the samples."""
    said = np.where(np.arange(SAMPLES) < round(score * SAMPLES), 0, 1)
    of = SimpleNamespace(task=Task(classes=2), trace=SimpleNamespace(targets=TARGETS), predictions=lambda exits: said)
    return Point("dynamic", knob, np.zeros(SAMPLES, dtype=int), {"score": score, "gmacs": gmacs}, of)


def points(pairs):
    return [point(score, gmacs, i) for i, (score, gmacs) in enumerate(pairs)]


PLAIN = point(0.9, 10)
NAIVE = [  # target, (score, gmacs) of the candidates, chosen, met; the plain backbone has score 0.9 at 10 gmacs
    ("drop_1", [(0.9, 9), (0.895, 7), (0.88, 3)], 1, True),  # cheapest within a point
    ("drop_1", [(0.89, 5), (0.9, 9)], 0, True),  # exactly a point is no more than a point
    ("drop_1", [(0.889, 5), (0.9, 9)], 1, True),
    ("drop_2", [(0.88, 5), (0.9, 9)], 0, True),
    ("drop_1", [(0.895, 7), (0.9, 7), (0.91, 8)], 1, True),  # equal cost: the better one
    ("drop_1", [(0.5, 1), (0.88, 9), (0.88, 8), (0.7, 2)], 2, False),  # none: the best score, then the cheapest
    ("macs_50", [(0.9, 6), (0.8, 5), (0.85, 4), (0.7, 1)], 2, True),  # best score at no more than half
    ("macs_50", [(0.8, 5), (0.8, 4)], 1, True),  # equal score: the cheaper one
    ("macs_50", [(0.9, 6), (0.95, 6), (0.99, 7)], 1, False),  # none: the cheapest, then the best
    ("macs_75", [(0.8, 7.5), (0.7, 7)], 0, True),  # exactly three quarters
    ("macs_25", [(0.8, 3)], 0, False),
    ("ms_2", [(0.9, 9), (0.8, 4), (0.7, 2)], 1, True),  # half a millisecond a gmac
]


@pytest.mark.parametrize(("target", "candidates", "index", "met"), NAIVE)
def test_naive(target, candidates, index, met):
    chooser = Chooser(PLAIN, "naive", ms=lambda p: p.row["gmacs"] / 2)
    found = chooser.choose(Target.parse(target), points(candidates))
    assert (found.index, found.met) == (index, met)
    assert found.drop == found.upper == pytest.approx(0.9 - candidates[index][0])


def test_a_bound_asks_for_a_margin():
    pool = points([(0.9, 9), (0.897, 7), (0.893, 5), (0.88, 3)])
    naive = Chooser(PLAIN, "naive").choose(Target.parse("drop_1"), pool)
    upper = Chooser(PLAIN, "upper", 0.9).choose(Target.parse("drop_1"), pool)
    strict = Chooser(PLAIN, "upper", 0.99).choose(Target.parse("drop_1"), pool)
    assert (naive.index, upper.index) == (2, 1)  # 7 of 1,000 lost: the bound is above a point
    assert upper.met
    assert upper.drop == pytest.approx(0.003)
    assert 0.003 < upper.upper <= 0.01
    assert strict.index <= upper.index


def test_what_samples_cannot_vouch_for_is_not_met():
    few = [point(0.9, 5)]
    few[0].of.trace.targets = TARGETS  # the same answers on the same samples: no answer differs
    assert Chooser(PLAIN, "upper", 0.9).choose(Target.parse("drop_0.5"), few).met
    assert not Chooser(PLAIN, "upper", 0.9).choose(Target.parse("drop_0.1"), few).met  # 2.3 of 1,000 is the least


def test_milliseconds_need_a_clock():
    with pytest.raises(ValueError, match="latencies"):
        Chooser(PLAIN).choose(Target.parse("ms_2"), points([(0.9, 9)]))


@pytest.mark.parametrize(
    ("samples", "drop"),
    [(40, "drop_10"), (100, "drop_5"), (195, "drop_2"), (361, "drop_2"), (795, "drop_1"), (5000, "drop_0.5")],
)
def test_the_default_drop_is_one_that_the_data_can_certify(samples, drop):
    assert default_targets(samples, 0.9) == (drop, *SHARES)


def test_a_stricter_level_needs_a_larger_drop():
    assert default_targets(795, 0.99)[0] == "drop_2"
    assert smallest_resolvable(795, 0.99, 0.04) > 0.01
