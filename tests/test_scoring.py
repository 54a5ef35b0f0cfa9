"""Scoring on an example small enough to work out by hand: three samples, three exits, two classes."""

import numpy as np
import pytest

from eebench.api import Knob
from eebench.data.base import Task
from eebench.rules import Above
from eebench.score import Costs, Evaluation, choose, curve, exit_rows, oracle, random_points
from eebench.tables import Scored, score_cell
from eebench.trace import Trace

TASK = Task(classes=2)
# sample 0 is right from the first exit, sample 1 from the second, sample 2 only at the second
PREDICTION = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 0]])
TARGETS = np.array([0, 1, 1])
CONFIDENCE = np.array([[0.9, 0.9, 0.9], [0.6, 0.8, 0.9], [0.7, 0.6, 0.6]], dtype=np.float32)
COSTS = Costs(
    backbone=np.array([[1e9, 2e9, 4e9]]),
    heads=np.array([[0.1e9, 0.2e9, 0.2e9]]),
    gates=np.array([[0.01e9, 0.02e9, 0.02e9]]),
    static=np.array([[1.1e9, 2.1e9, 4e9]]),
    plain=np.array([4e9]),
)


def trace(prediction=PREDICTION, targets=TARGETS, confidence=CONFIDENCE):
    zeros = np.zeros(prediction.shape, dtype=np.float32)
    seen = {"score": confidence[:, :-1]}
    return Trace((2, 4, 8), np.arange(len(targets)), targets, prediction, confidence, zeros, zeros, zeros, seen)


@pytest.fixture
def evaluation():
    return Evaluation(trace(), COSTS, TASK, depth=8)


def rule():
    return Above(lambda output: output.logits, Knob("threshold", never=1.0, always=-1.0))


def test_a_curve_point_by_hand(evaluation):
    # threshold 0.65: sample 0 and 2 stop at the first exit (0.9, 0.7), sample 1 at the second (0.8)
    point = curve(evaluation, rule(), [0.65])[0]
    assert point.exits.tolist() == [0, 1, 0]
    assert point.row["accuracy"] == pytest.approx(2 / 3)  # sample 2 is wrong at the first exit
    assert point.row["mean_exit"] == pytest.approx((2 + 4 + 2) / 3)
    assert point.row["gmacs"] == pytest.approx((1.11 + 2.22 + 1.11) / 3)
    assert point.row["gmacs_backbone"] == pytest.approx((1 + 2 + 1) / 3)
    assert point.row["gmacs_heads"] == pytest.approx((0.1 + 0.2 + 0.1) / 3)
    assert point.row["gmacs_gates"] == pytest.approx((0.01 + 0.02 + 0.01) / 3)
    assert point.row["speedup_layers"] == pytest.approx(8 / (8 / 3))
    assert point.row["speedup_macs"] == pytest.approx(4 / (4.44 / 3))


def test_never_and_always(evaluation):
    never, always = curve(evaluation, rule(), [1.0, -1.0])
    assert never.exits.tolist() == [2, 2, 2]
    assert never.row["gmacs"] == pytest.approx(4.22)  # the plain backbone's 4 and every head and gate on the way
    assert never.row["speedup_macs"] < 1
    assert always.exits.tolist() == [0, 0, 0]


def test_fixed_depth_runs_one_head_alone(evaluation):
    points = evaluation.fixed()
    assert [p.knob for p in points] == [2, 4, 8]
    assert [p.row["gmacs"] for p in points] == pytest.approx([1.1, 2.1, 4.0])
    assert [p.row["accuracy"] for p in points] == pytest.approx([1 / 3, 1.0, 2 / 3])
    assert all(p.row["gmacs_gates"] == 0 for p in points)


def test_random_exits_cost_the_same_and_score_the_expectation(evaluation):
    dynamic = curve(evaluation, rule(), [0.65])
    drawn = random_points(evaluation, dynamic)[0]
    assert drawn.row["gmacs"] == dynamic[0].row["gmacs"]
    # two thirds stop at the first exit (right for 1 of 3), a third at the second (right for all)
    assert drawn.row["accuracy"] == pytest.approx(2 / 3 * 1 / 3 + 1 / 3 * 1.0)
    rng = np.random.default_rng(0)
    shuffles = [np.mean(evaluation.predictions(rng.permutation(dynamic[0].exits)) == TARGETS) for _ in range(4000)]
    assert drawn.row["accuracy"] == pytest.approx(np.mean(shuffles), abs=0.02)


def test_the_oracle_stops_at_the_first_right_exit(evaluation):
    point = oracle(evaluation)[0]
    assert point.exits.tolist() == [0, 1, 1]
    assert point.row["accuracy"] == 1
    hopeless = Evaluation(trace(prediction=1 - np.tile(TARGETS[:, None], 3)), COSTS, TASK, depth=8)
    assert oracle(hopeless)[0].exits.tolist() == [2, 2, 2]


def test_costs_of_single_samples_are_used_where_they_differ():
    per_sample = Costs(
        *(np.repeat(getattr(COSTS, n), 3, 0) for n in ("backbone", "heads", "gates", "static")), COSTS.plain
    )
    per_sample.backbone[1] *= 10
    point = curve(Evaluation(trace(), per_sample, TASK, depth=8), rule(), [0.65])[0]
    assert point.row["gmacs_backbone"] == pytest.approx((1 + 20 + 1) / 3)


class _Point:
    def __init__(self, score, gmacs):
        self.row = {"score": score, "gmacs": gmacs}


@pytest.mark.parametrize(
    ("target", "points", "expected"),
    [
        ("drop_1pt", [(0.90, 4.0), (0.895, 2.0), (0.88, 1.0)], (1, True)),  # 0.88 loses two points
        ("drop_1pt", [(0.89, 2.0), (0.90, 2.0)], (1, True)),  # a tie in cost goes to the better score
        ("drop_1pt", [(0.80, 1.0), (0.85, 3.0)], (1, False)),  # nothing is good enough: the best
        ("macs_50", [(0.90, 4.0), (0.85, 2.0), (0.86, 1.5)], (2, True)),
        ("macs_50", [(0.85, 2.0), (0.85, 1.0)], (1, True)),  # a tie in score goes to the cheaper
        ("macs_25", [(0.90, 4.0), (0.85, 2.0)], (1, False)),  # nothing is cheap enough: the cheapest
    ],
)
def test_choosing_on_validation(target, points, expected):
    assert choose(target, [_Point(*p) for p in points], plain_score=0.90, plain_gmacs=4.0) == expected


def test_an_unknown_target_is_refused():
    with pytest.raises(ValueError, match="unknown target"):
        choose("fastest", [_Point(1.0, 1.0)], 1.0, 1.0)


class _Cell:
    label, seed = "m", 0

    def __init__(self, val, test):
        self.traces = {"val": val, "test": test}

    def trace(self, split):
        return self.traces[split]

    def costs(self, split):
        return COSTS


def test_the_knob_is_chosen_on_validation_and_never_on_test():
    """On validation only never stopping is right; on test stopping at once would be: the choice must not see that."""
    right, wrong = np.tile(TARGETS[:, None], 3), 1 - np.tile(TARGETS[:, None], 3)
    val = trace(prediction=np.concatenate([wrong[:, :2], right[:, 2:]], 1))
    test = trace(prediction=np.concatenate([right[:, :2], wrong[:, 2:]], 1))
    plain = Scored("backbone", 0, "", Evaluation(val, COSTS, TASK, 8), Evaluation(test, COSTS, TASK, 8))
    plain.curves = {
        s: [e.point("plain", None, e.everyone_at(2))] for s, e in (("val", plain.val), ("test", plain.test))
    }
    scored = score_cell(_Cell(val, test), rule(), TASK, 8, plain)
    chosen = next(c for c in scored.chosen["dynamic"] if c.target == "drop_1pt")
    assert chosen.met
    assert chosen.test.exits.tolist() == [2, 2, 2]
    assert chosen.test.row["accuracy"] == 0
    assert chosen.test.knob == chosen.val.knob


def test_exit_rows_add_up(evaluation):
    point = curve(evaluation, rule(), [0.65])[0]
    rows = exit_rows(evaluation, [10, 20, 0], {"drop_1pt": point.exits})
    assert [r["exit"] for r in rows] == [2, 4, 8]
    assert [r["share_drop_1pt"] for r in rows] == pytest.approx([2 / 3, 1 / 3, 0])
    assert rows[0]["accuracy_drop_1pt"] == pytest.approx(1 / 2)  # of samples 0 and 2 only 0 is right there
    assert "accuracy_drop_1pt" not in rows[2]
    assert [r["params"] for r in rows] == [10, 20, 0]
