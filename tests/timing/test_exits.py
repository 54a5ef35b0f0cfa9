"""How long stopping at each exit takes, on a clock that moves when blocks and decisions are run."""

import numpy as np
import pytest
import torch

from eebench.api import Task
from eebench.engine.model import EarlyExitModel
from eebench.parts import LinearExit
from eebench.rules import Confidence
from eebench.testing import tiny_backbone, tiny_data
from eebench.timing.exits import ExitLatency, StopAt, time_exits
from tests.timing.fake import FakeClocks

VAL = tiny_data("vit", Task(classes=3), 40).val


class Costly(Confidence):
    """Takes half a millisecond a decision, on which it never depends where a sample stops."""

    def __init__(self, clocks):
        super().__init__()
        self.clocks = clocks

    def step(self, state, seen, knob):
        self.clocks.work(0.5)
        return seen["score"] > -1, {**state, "asked": np.array([1])}


@pytest.fixture
def made(monkeypatch):
    def make(away=0.0, **clocks):
        clocks = FakeClocks(**clocks)
        torch.manual_seed(0)
        backbone = tiny_backbone("vit", 3, 4)
        model = EarlyExitModel(backbone, {b: LinearExit(backbone.layouts[0], 3) for b in (1, 2)}).eval()
        block, plain = backbone.block, backbone.plain

        def slow_block(number, features):
            clocks.work(2.0, away=away)
            return block(number, features)

        def slow_plain(inputs):
            clocks.work(9.0, away=away)
            return plain(inputs)

        monkeypatch.setattr(backbone, "block", slow_block)
        monkeypatch.setattr(backbone, "plain", slow_plain)
        return model, clocks

    return make


def test_every_exit_is_timed_with_the_decisions_on_the_way_and_alone(made):
    model, clocks = made()
    found = time_exits(model, Costly(clocks), VAL, samples=5, rounds=2, clocks=clocks)
    np.testing.assert_allclose(found.decided, [2.5, 5.0, 9.0])  # exits behind blocks 1, 2 and 4; nobody decides last
    np.testing.assert_allclose(found.alone, [2.0, 4.0, 8.0])
    assert (found.basis, found.contaminated) == ("wall", False)


def test_a_model_without_exits_is_timed_as_it_is(made):
    model, clocks = made()
    found = time_exits(model, None, VAL, samples=5, rounds=2, clocks=clocks)
    np.testing.assert_allclose(found.alone, [9.0])
    assert found.mean(np.zeros(7, dtype=int)) == found.mean(np.zeros(7, dtype=int), fixed=True) == 9


def test_others_work_is_left_out_or_said(made):
    model, clocks = made(away=10.0)
    found = time_exits(model, Costly(clocks), VAL, samples=5, rounds=2, clocks=clocks)
    np.testing.assert_allclose(found.decided, [2.5, 5.0, 9.0])
    assert (found.basis, found.contaminated) == ("cpu", False)
    model, clocks = made(away=10.0, threads=2, others=1.0)
    found = time_exits(model, Costly(clocks), VAL, samples=5, rounds=2, clocks=clocks)
    assert (found.basis, found.contaminated) == ("wall", True)


def test_a_knobs_time_is_the_mean_over_where_its_samples_stop():
    latency = ExitLatency(np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.5, 3.0]), "wall", False)
    assert latency.mean(np.array([0, 0, 2, 1])) == 2.5
    assert latency.mean(np.array([2, 2, 2, 2]), fixed=True) == 3


def test_stopping_at_an_exit_does_the_rules_work_and_nothing_of_its_will():
    clocks = FakeClocks()
    rule = StopAt(Costly(clocks), 1)
    assert rule.knob is rule.rule.knob
    for at, stops in enumerate((False, True)):
        rule.observe(type("Output", (), {"logits": torch.zeros(2, 3)})(), at, torch.arange(2))
        stop, state = rule.step({}, {"score": np.zeros(2)}, 0.5)
        assert stop.tolist() == [stops, stops]
        assert state["asked"] == 1
    assert clocks.used == 1_000_000
