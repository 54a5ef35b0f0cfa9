"""Decisions by hand-computed traces, back from JSON, and the rows that are still under way."""

import json

import numpy as np
import pytest

from eebench import decisions
from eebench.decisions import Above, Agreement, Below, ConfidentStreak, EachAbove, GateShare, Survival, Underway

INF = float("inf")
TRACES = [  # decision, knob, what is seen at each exit by each sample, who would stop at each exit if nobody left
    (Above(), 0.5, [[0.4, 0.6], [0.5, 0.1]], [[0, 1], [0, 0]]),
    (Above("margin", sign=-1), 1.0, [[-1.5, -0.5], [-1.0, 2.0]], [[0, 1], [0, 1]]),
    (Below(), 0.5, [[0.4, 0.6], [0.5, 0.1]], [[1, 0], [0, 1]]),
    (EachAbove((0.875, 0.5)), 0.0, [[0.875, 0.625], [0.375, 0.5]], [[1, 0], [0, 1]]),
    (EachAbove((0.875, INF)), -0.5, [[0.375, 0.25], [1.0, 1.0]], [[1, 0], [0, 0]]),
    (Agreement(), 2, [[1, 1], [1, 0], [1, 0], [2, 0]], [[0, 0], [0, 0], [1, 0], [0, 1]]),
    (Agreement(), 0, [[1, 1]], [[1, 1]]),
    (Agreement(tolerance=0.125), 1, [[1.0, 2.0], [1.0625, 2.125]], [[0, 0], [1, 0]]),
    (ConfidentStreak(2, 2.0), 0.25, [[0.4, 0.4], [0.6, 0.1], [0.4, 0.1]], [[0, 0], [0, 1], [0, 1]]),
    (Survival(), 0.5, [[0.8, 0.4], [0.6, 1.0]], [[0, 1], [1, 1]]),  # survival 0.8, 0.48 and 0.4, 0.4
    (GateShare(), 0.0, [[-1.0, 0.1], [-0.4, -9.0]], [[0, 1], [1, 0]]),  # 2·0.401 + 0.269 >= 1; 0.525 + 2·0.0001 < 1
]


@pytest.mark.parametrize(("decision", "knob", "seen", "stops"), TRACES, ids=[repr(t[0]) for t in TRACES])
def test_by_hand(decision, knob, seen, stops):
    again = decisions.decision_of(json.loads(json.dumps(decision.to_dict())))
    assert again == decision
    state = {}
    for values, expected in zip(seen, stops, strict=True):
        stop, state = again(state, {decision.of: np.array(values, dtype=np.float32)}, knob)
        assert stop.tolist() == [bool(each) for each in expected]
        assert all(len(column) == 2 for column in state.values())


def test_the_gates_extreme_biases_stop_nobody_and_everybody():
    logit = {"logit": np.array([-300.0, 0.0, 300.0], dtype=np.float32)}
    with np.errstate(all="raise"):
        assert GateShare()({}, logit, -1e6)[0].tolist() == [False] * 3
        assert GateShare()({}, logit, 1e6)[0].tolist() == [True] * 3


@pytest.mark.parametrize(
    "values", [{}, {"kind": "oracle"}, {"kind": "above", "off": "score"}, {"kind": "confident_streak"}]
)
def test_what_is_no_decision_is_refused(values):
    with pytest.raises(ValueError, match="decision"):
        decisions.decision_of(values)


def script(*exits):
    """A step that stops the rows whose sample numbers are listed exit by exit, and counts its calls in the state."""

    def step(state, seen, knob):
        count = state["count"] + 1 if state else np.ones(len(seen["sample"]), dtype=int)
        return np.isin(seen["sample"], exits[int(count[0]) - 1]), {"count": count}

    return step


@pytest.mark.parametrize("wait", [False, True])
def test_rows_leave_as_they_stop(wait):
    underway = Underway(5, script([1, 4], [], [0]), 0.0, wait=wait)
    batch = np.arange(5)
    sizes, answered = [], []
    for place in range(4):
        sizes.append(len(batch))
        stop = underway.decide(place, {"sample": batch} if place < 3 else None)
        answered.extend(batch[stop])
        if underway.done:
            break
        going = underway.leave(stop)
        batch = batch if going is None else batch[going]
    assert sizes == ([5, 5, 5, 5] if wait else [5, 3, 3, 2])
    assert underway.exits.tolist() == [2, 0, 3, 3, 0]
    assert answered == [1, 4, 0, 2, 3]
    assert np.array(answered)[underway.order].tolist() == [0, 1, 2, 3, 4]
