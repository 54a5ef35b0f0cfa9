"""Scoring on an example that fits on paper: three samples, exits behind blocks 2, 4 and 6 of a backbone of six."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from eebench.api import Knob, Task
from eebench.engine.trace import Trace
from eebench.measure.costs import Costs
from eebench.rules import Above
from eebench.runs.score import Evaluation, curve, exit_rows, oracle, random_points, share_rows
from eebench.schema import TABLES

RULE = Above(lambda output: output.logits, Knob("threshold", never=1.0, always=-1.0))

TARGET = np.array([0, 1, 1])
PREDICTION = np.array(
    [
        [0, 0, 0],  # right from the start
        [0, 1, 1],  # right from the second exit on
        [1, 0, 0],  # right at the first exit only
    ]
)
SURE = np.array([[0.9, 0.9], [0.3, 0.8], [0.6, 0.2]], dtype=np.float32)
GIGA = 1e9


def trace(prediction=PREDICTION, targets=TARGET, seen=SURE, confidence=None):
    shape = prediction.shape
    confidence = np.array([[0.95, 0.5, 0.5], [0.5, 0.65, 0.5], [0.55, 0.5, 0.5]]) if confidence is None else confidence
    nll = np.arange(np.prod(shape), dtype=float).reshape(shape)
    return Trace((2, 4, 6), np.arange(len(targets)), targets, prediction, confidence, confidence, nll, nll / 10,
                 {"score": seen})  # fmt: skip


def row(*values):
    return np.array([values], dtype=float) * GIGA


COSTS = Costs(row(1, 2, 3), row(0.1, 0.2, 0.2), row(0.01, 0.02, 0.02), row(1.1, 2.1, 3), row(3))


def evaluation(costs=COSTS, task=Task(classes=2), **parts):  # noqa: B008
    return Evaluation(trace(**parts), costs, task, depth=6)


def test_curve_at_every_knob():
    points = curve(evaluation(), RULE, [-1.0, 0.5, 0.7, 1.0])
    assert [p.exits.tolist() for p in points] == [[0, 0, 0], [0, 1, 0], [0, 1, 2], [2, 2, 2]]
    assert [p.row["accuracy"] for p in points] == pytest.approx([2 / 3, 1, 2 / 3, 2 / 3])
    assert [p.row["score"] for p in points] == [p.row["accuracy"] for p in points]
    assert [p.row["mean_exit"] for p in points] == pytest.approx([2, 8 / 3, 4, 6])
    assert [p.row["gmacs"] for p in points] == pytest.approx([1.11, 1.48, (1.11 + 2.22 + 3.22) / 3, 3.22])
    assert [p.row["speedup_layers"] for p in points] == pytest.approx([3, 2.25, 1.5, 1])
    assert [p.row["speedup_macs"] for p in points] == pytest.approx([3 / p.row["gmacs"] for p in points])
    middle = points[1].row
    assert middle["gmacs_backbone"] == pytest.approx(4 / 3)
    assert middle["gmacs_heads"] == pytest.approx(0.4 / 3)
    assert middle["gmacs_gates"] == pytest.approx(0.04 / 3)
    assert {p.kind for p in points} == {"dynamic"}


def test_calibration_is_of_the_answers_that_were_given():
    point = curve(evaluation(), RULE, [0.5])[0].row
    assert point["ece"] == pytest.approx((0.05 + 0.35 + 0.45) / 3)  # each alone in its bin, all right
    assert point["nll"] == pytest.approx((0 + 4 + 6) / 3)
    assert point["brier"] == pytest.approx((0 + 0.4 + 0.6) / 3)


def test_costs_of_every_sample_when_they_differ():
    own = Costs(*(np.concatenate([c, 2 * c, 3 * c]) for c in vars(COSTS).values()))
    point = curve(evaluation(costs=own), RULE, [0.5])[0].row
    assert point["gmacs"] == pytest.approx((1.11 + 2 * 2.22 + 3 * 1.11) / 3)
    assert point["speedup_macs"] == pytest.approx((3 + 6 + 9) / (1.11 + 2 * 2.22 + 3 * 1.11))


def test_fixed_depth_runs_one_head_and_asks_nobody():
    points = evaluation().fixed()
    assert [p.knob for p in points] == [2, 4, 6]
    assert [p.row["accuracy"] for p in points] == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    assert [p.row["gmacs"] for p in points] == pytest.approx([1.1, 2.1, 3])
    assert [p.row["gmacs_heads"] for p in points] == pytest.approx([0.1, 0.1, 0])
    assert [p.row["gmacs_gates"] for p in points] == [0, 0, 0]
    assert [p.row["speedup_layers"] for p in points] == pytest.approx([3, 1.5, 1])


def test_the_plain_backbone_costs_what_it_costs_alone():
    found = evaluation().point("plain", None, np.full(3, 2)).row
    assert (found["gmacs"], found["gmacs_backbone"], found["gmacs_heads"], found["gmacs_gates"]) == (3, 3, 0, 0)
    assert found["speedup_layers"] == found["speedup_macs"] == 1


def test_random_exits_cost_the_same_and_score_the_expectation():
    held = evaluation()
    dynamic = curve(held, RULE, [-1.0, 0.5, 0.7])
    drawn = random_points(held, dynamic)
    # accuracy of each exit is 2/3, so any assignment has that expectation
    assert [p.row["accuracy"] for p in drawn] == pytest.approx([2 / 3] * 3)
    assert [p.row["gmacs"] for p in drawn] == [p.row["gmacs"] for p in dynamic]
    assert [p.row["mean_exit"] for p in drawn] == [p.row["mean_exit"] for p in dynamic]
    assert [(p.kind, p.knob) for p in drawn] == [("random", -1.0), ("random", 0.5), ("random", 0.7)]
    assert not {"ece", "ece_mass", "nll", "brier"} & drawn[0].row.keys()


def test_random_expectation_against_all_assignments():
    rng = np.random.default_rng(0)
    prediction = rng.integers(0, 3, (40, 3))
    targets, seen = rng.integers(0, 3, 40), rng.random((40, 2))
    held = evaluation(prediction=prediction, targets=targets, seen=seen, confidence=rng.random((40, 3)))
    point = curve(held, RULE, [0.6])[0]
    assert len(set(point.exits)) == 3
    tries = [(prediction[np.arange(40), rng.permutation(point.exits)] == targets).mean() for _ in range(4000)]
    assert random_points(held, [point])[0].row["score"] == pytest.approx(np.mean(tries), abs=5 * np.std(tries) / 63)


def test_oracle_stops_at_the_first_exit_that_is_right():
    (point,) = oracle(evaluation())
    assert point.exits.tolist() == [0, 1, 0]
    assert point.row["accuracy"] == 1
    hopeless = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1]])
    assert oracle(evaluation(prediction=hopeless))[0].exits.tolist() == [2, 1, 2]


def test_regression_has_a_score_and_no_accuracy():
    rng = np.random.default_rng(1)
    targets = rng.random(30)
    values = targets[:, None] + rng.normal(size=(30, 3)) * [1.0, 0.5, 0.1]
    task = Task(kind="regression", classes=1, metric="pearson_spearman")
    held = evaluation(task=task, prediction=values, targets=targets, seen=rng.random((30, 2)))
    point = curve(held, RULE, [0.5])[0]
    said = values[np.arange(30), point.exits]
    expected = (pearsonr(said, targets)[0] + spearmanr(said, targets)[0]) / 2
    assert point.row["score"] == pytest.approx(expected)
    assert not {"accuracy", "ece", "nll", "brier"} & point.row.keys()
    assert oracle(held) == []
    drawn = random_points(held, [point])[0].row
    assert drawn["score"] < point.row["score"] + 1
    assert "accuracy" not in drawn


def test_exit_rows_part_the_samples():
    held = evaluation()
    (middle,) = curve(held, RULE, [0.5])
    rows = exit_rows(held, [7, 8, 9], [False, True, True])
    assert [r["exit"] for r in rows] == [2, 4, 6]
    assert [r["params"] for r in rows] == [7, 8, 9]
    assert [r["live"] for r in rows] == [False, True, True]
    assert [r["majority"] for r in rows] == pytest.approx([2 / 3] * 3)
    assert [r["accuracy"] for r in rows] == pytest.approx([2 / 3] * 3)
    assert [r["gmacs"] for r in rows] == pytest.approx([1.11, 2.22, 3.22])
    assert set().union(*rows) <= set(TABLES["exits"])
    shares = share_rows(middle)
    assert [r["share"] for r in shares] == pytest.approx([2 / 3, 1 / 3, 0])
    assert [r.get("accuracy") for r in shares] == [1.0, 1.0, None]  # nobody stops at the last: no accuracy
    assert set().union(*shares) <= set(TABLES["shares"])
