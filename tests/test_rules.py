"""A threshold for every exit: by hand, against the measures' own reading of such thresholds, and live."""

import numpy as np
import pytest
import torch

from eebench.api import ExitOutput
from eebench.measure.budget import apply_thresholds, thresholds_for_shares
from eebench.measure.replay import replay
from eebench.rules import Thresholds
from eebench.testing import assert_replay_is_dynamic, build, inputs_for, tiny_vit, trace
from eebench_methods.sdn import SDN

INF = float("inf")
SCORES = np.array([[0.5, 0.9, 0.2], [0.6, 0.1, 0.1], [0.59, 0.69, 0.3], [0.1, 0.7, 0.0]], dtype=np.float32)


@pytest.mark.parametrize(
    ("thresholds", "shift", "stops"),
    [
        ((0.6, 0.7, 0.3), 0.0, [1, 0, 2, 3]),  # in single precision 0.6 and 0.3 are above themselves, 0.7 is below
        ((0.5, INF, 0.25), 0.0, [0, 0, 0, 3]),  # a score that reaches its threshold is enough
        ((0.5, INF, 0.25), 0.0625, [3, 0, 0, 3]),
        ((INF, INF, INF), 0.0, [3, 3, 3, 3]),
        ((INF, 0.5, 0.0), -1e9, [1, 1, 1, 1]),
        ((0.0, 0.0, 0.0), 1e9, [3, 3, 3, 3]),
    ],
)
def test_by_hand(thresholds, shift, stops):
    assert replay(Thresholds(thresholds), {"score": SCORES}, shift).tolist() == stops


def test_everyone_stops_at_the_first_exit_where_somebody_may():
    assert Thresholds((0.5, INF)).knob.always == -1e9
    assert Thresholds((INF, 0.5)).knob.always is None


def test_the_solvers_thresholds_stop_samples_where_the_solver_says():
    confidence = np.random.default_rng(0).random((200, 4)).astype(np.float32)
    solved = thresholds_for_shares(confidence, np.array([0.3, 0.2, 0.0, 0.5]))
    assert not np.isfinite(solved[2])
    found = replay(Thresholds(solved[:-1]), {"score": confidence[:, :-1]}, 0.0)
    assert found.tolist() == apply_thresholds(confidence, solved).tolist()
    assert len(set(found.tolist())) == 3


def test_inference_that_stops_is_the_replay():
    _, model = build(SDN, tiny_vit())
    inputs = inputs_for(model.backbone)
    seen, _ = trace(model, Thresholds((0.0, 0.0, 0.0)), inputs)
    rule = Thresholds(np.quantile(seen["score"].astype(np.float64), (0.7, 0.5, 0.2)))
    assert_replay_is_dynamic(model, rule, inputs, [*rule.grid(seen)[::20], 0.0], exits=3)


@pytest.mark.parametrize("thresholds", [(), (0.5, float("nan")), [[0.5]]])
def test_thresholds_that_are_none(thresholds):
    with pytest.raises(ValueError, match="must be numbers"):
        Thresholds(thresholds)


def test_fewer_thresholds_than_exits():
    with pytest.raises(ValueError, match="2 thresholds, but there are more exits"):
        Thresholds((0.5, 0.5)).observe(ExitOutput(torch.zeros(1, 3)), 2, torch.zeros(1))


def test_exits_that_put_their_logits_off_have_no_confidence():
    with pytest.raises(ValueError, match="puts its own off"):
        Thresholds((0.5,)).observe(ExitOutput(), 0, torch.zeros(1))
