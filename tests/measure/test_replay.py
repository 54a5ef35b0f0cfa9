"""Replay against a loop over single samples, on rules with and without a memory."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from eebench.api import ExitOutput, ExitRule, Knob, Rows
from eebench.measure.replay import replay
from eebench.rules import Below, Confidence
from eebench.testing import replay as slow_replay


class InARow(ExitRule):
    """Stop at the second exit in a row above the threshold: the state decides."""

    knob = Knob("threshold", never=2.0)

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        raise AssertionError("a replay observes nothing")

    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        streak = (seen["score"] > knob) * (state["streak"] + 1 if state else 1)
        return streak >= 2, {"streak": streak}

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        return [0.5]


class TwoColumns(InARow):
    """Reads two observations, one of them with a vector a sample."""

    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        return (seen["score"] > knob) & (seen["votes"].sum(1) > 1), state


SCORES = np.array([[0.9, 0.1, 0.1], [0.1, 0.6, 0.9], [0.6, 0.7, 0.1], [0.1, 0.2, 0.3]], np.float32)


@pytest.mark.parametrize(
    ("rule", "knob", "where"),
    [
        (Confidence(), 0.5, [0, 1, 0, 3]),
        (Confidence(), 0.65, [0, 2, 1, 3]),
        (Confidence(), 1.0, [3, 3, 3, 3]),
        (Confidence(), -1.0, [0, 0, 0, 0]),
        (Below(lambda output: output.signal, Knob("t", never=-1.0)), 0.15, [1, 0, 2, 0]),
        (InARow(), 0.5, [3, 2, 1, 3]),
        (InARow(), 0.05, [1, 1, 1, 1]),
    ],
)
def test_by_hand(rule, knob, where):
    found = replay(rule, {"score": SCORES}, knob)
    assert found.dtype == np.int64
    assert found.tolist() == where


def test_the_threshold_is_strict_and_float32_as_stored():
    stored = np.array([[0.7, 0.1]], np.float32)  # not the double 0.7
    assert replay(Confidence(), {"score": stored}, 0.7).tolist() == [2]
    assert replay(Confidence(), {"score": stored}, float(np.nextafter(np.float32(0.7), np.float32(0)))).tolist() == [0]


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("rule", [Confidence(), InARow(), TwoColumns()], ids=lambda rule: type(rule).__name__)
def test_equals_one_sample_at_a_time(rule, order):
    rng = np.random.default_rng(0)
    score, votes = rng.random((200, 5), np.float32), rng.integers(0, 2, (200, 5, 3))
    seen = {"score": np.asarray(score, order=order), "votes": np.asarray(votes, order=order)}
    found = [replay(rule, seen, knob) for knob in (0.2, 0.5, 0.8, 0.95)]
    for knob, where in zip((0.2, 0.5, 0.8, 0.95), found, strict=True):
        np.testing.assert_array_equal(where, slow_replay(rule, seen, knob))
    assert len(np.unique(np.concatenate(found))) >= 5  # nearly every exit occurs, and "never"


def test_the_first_stop_counts_whatever_a_rule_says_later():
    seen = {"score": np.array([[0.9, 0.1, 0.9], [0.1, 0.9, 0.1]])}
    assert replay(Confidence(), seen, 0.5).tolist() == [0, 1]


def test_the_trace_is_left_as_it_is():
    seen = {"score": SCORES.copy()}
    replay(InARow(), seen, 0.5)
    np.testing.assert_array_equal(seen["score"], SCORES)


def test_needs_no_torch():
    program = "import sys, eebench.measure.replay; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
