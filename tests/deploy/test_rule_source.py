"""A rule that is no data, cut out of its source: it decides as it did, by numpy alone; what cannot be cut is said."""

import math

import numpy as np
import pytest
import torch

from eebench.api import ExitRule, Knob
from eebench.deploy.rule_source import rule_source
from eebench.errors import UserError
from eebench.rules import Confidence

LIMITS = (0.5, 0.25)


def squared(values):
    """A helper of this module."""
    return np.square(values) + math.log(1.0)


class Base(ExitRule):
    knob = Knob("k", never=9.0)

    def observe(self, output, exit, ids):
        return {}

    def grid(self, seen):
        return [0.0]


class Votes(Base):
    """Stops once enough of two tests held, with data, a helper, a method and another module's function."""

    factor = 2.0

    def __init__(self, weights):
        self.weights = np.asarray(weights, dtype=np.float32)
        self.limits = {"high": float("inf"), "names": ["a", None]}

    def both(self, score):
        return (score > LIMITS[0]).astype(int) + (score > LIMITS[1]) * (score < self.limits["high"])

    def step(self, state, seen, knob):
        votes = self.both(squared(seen["score"]) * self.factor) * self.weights.sum()
        total = votes + state["total"] if state else votes
        return total >= knob, {"total": total}


def loaded(rule):
    text = rule_source(rule)
    space = {}
    exec(compile(text, "rule.py", "exec"), space)
    return text, space["Rule"]()


def test_it_decides_as_it_did():
    rule = Votes([0.5, 1.5])
    text, again = loaded(rule)
    assert "torch" not in text
    assert "eebench.api" not in text
    state, other = {}, {}
    for seed in range(3):
        seen = {"score": np.random.default_rng(seed).normal(size=50)}
        stop, state = rule.step(state, seen, 5.0)
        also, other = again.step(other, seen, 5.0)
        np.testing.assert_array_equal(stop, also)
        np.testing.assert_array_equal(state["total"], other["total"])
    assert 0 < stop.sum() < 50


class Counting(Base):
    def step(self, state, seen, knob):
        self.calls = 1
        return seen["score"] > knob, {}


class Torchy(Base):
    def step(self, state, seen, knob):
        return torch.as_tensor(seen["score"]).numpy() > knob, {}


class Networked(Base):
    net = torch.nn.Linear(1, 1)

    def step(self, state, seen, knob):
        return seen["score"] > self.net.bias, {}


class Derived(Confidence):
    def step(self, state, seen, knob):
        return super().step(state, seen, knob)


class Importing(Base):
    def step(self, state, seen, knob):
        from scipy.special import expit

        return expit(seen["score"]) > knob, {}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Counting(), "it keeps self.calls between calls"),
        (Torchy(), "it uses torch"),
        (Networked(), "self.net is a Linear, no data"),
        (Derived(), "refers to __class__"),
        (Importing(), "it imports something inside a function"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_cut_out_is_one_line(rule, words):
    with pytest.raises(UserError) as caught:
        rule_source(rule)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"the exit rule {type(rule).__name__} cannot be exported")
    assert "\n" not in str(caught.value)


def test_a_rule_without_source_is_one_line():
    space = {"Base": Base}
    exec("class Made(Base):\n    def step(self, state, seen, knob):\n        return seen['x'] > knob, {}", space)
    with pytest.raises(UserError, match="its source is not there"):
        rule_source(space["Made"]())
