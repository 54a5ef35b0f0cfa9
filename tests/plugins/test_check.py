"""Every installed method keeps the contract, and a method that does not is caught, promise by promise."""

from dataclasses import dataclass

import pytest

from eebench.api import ExitOutput, Method, Phase, only
from eebench.parts import LinearExit, joint_loss
from eebench.plugins.check import KINDS, check_method
from eebench.plugins.registry import Chosen, Registry
from eebench.rules import Confidence

METHODS = sorted(Registry.installed().sources)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_installed_method_keeps_the_contract(name, kind):
    findings = list(check_method(Registry.installed().choose(name)[0], (kind,)))
    assert not [f.words for f in findings if f.status == "broken"]
    assert len(findings) == 1 or len(findings) >= 7  # skipped with a reason, or every check was made


@dataclass(frozen=True)
class Options:
    pass


class Good(Method):
    """A plain method that keeps every promise."""

    name = "good"
    Options = Options

    def build(self, backbone):
        return {k: LinearExit(backbone.layouts[k - 1], self.task.outputs, norm=True) for k in (1, 2, 3)}

    def rule(self):
        return Confidence()

    def phases(self):
        return [Phase("joint", lambda step: joint_loss(step, [1.0] * len(step.visits)))]


def broken_checks(cls):
    return {f.check for f in check_method(Chosen(cls.name, cls, Options()), ("vit",)) if f.status == "broken"}


def test_a_good_method_is_not_accused():
    assert broken_checks(Good) == set()


def test_a_rule_that_looks_at_the_whole_batch_is_caught():
    class OfTheBatch(Confidence):
        def observe(self, output, exit, ids):
            return {"score": super().observe(output, exit, ids)["score"].max().expand(len(ids))}

    class Bad(Good):
        def rule(self):
            return OfTheBatch()

    assert "replay_equals_dynamic" in broken_checks(Bad)


def test_a_knob_whose_never_stops_somebody_is_caught():
    class Leaky(Confidence):
        def step(self, state, seen, knob):
            return seen["score"] > min(knob, 0.3), state

    class Bad(Good):
        def rule(self):
            return Leaky()

    assert "extremes" in broken_checks(Bad)


def test_a_head_that_is_not_itself_after_loading_is_caught():
    class Forgetful(LinearExit):
        scale = 1.0

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            Forgetful.scale *= 1.5  # state outside the state dict
            self.mine = Forgetful.scale

        def forward(self, features, carry):
            return ExitOutput(self.mine * super().forward(features, carry).logits)

    class Bad(Good):
        def build(self, backbone):
            return {k: Forgetful(backbone.layouts[k - 1], self.task.outputs) for k in (1, 2, 3)}

    assert "state_round_trip" in broken_checks(Bad)


def test_an_exit_that_needs_the_others_and_does_not_say_so_is_caught():
    class Chained(LinearExit):
        def forward(self, features, carry):
            logits = super().forward(features, carry).logits
            total = logits + carry.get("total", 0)
            return ExitOutput(total, carry={"total": total})

    class Bad(Good):
        def build(self, backbone):
            return {k: Chained(backbone.layouts[k - 1], self.task.outputs) for k in (1, 2, 3)}

    assert broken_checks(Bad) == {"fixed_depth"}
    Chained.standalone = False
    assert broken_checks(Bad) == set()


def test_a_phase_that_trains_nothing_and_random_training_are_caught():
    class Nothing(Good):
        def phases(self):
            return [Phase("nothing", lambda step: joint_loss(step, [1.0] * 4), trains=only("exits.99"))]

    assert "trains" in broken_checks(Nothing)


def test_shares_that_do_not_sum_to_one_are_caught():
    class Half(Good):
        def phases(self):
            return [Phase("half", lambda step: joint_loss(step, [1.0] * 4), share=0.5)]

    assert "contract" in broken_checks(Half)


def test_a_skip_without_a_reason_is_caught():
    class Mute(Good):
        @classmethod
        def skip(cls, backbone, task):
            return " "

    assert broken_checks(Mute) == {"skip"}
