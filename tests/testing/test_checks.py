"""Every installed method keeps the contract, and a method that does not is caught, promise by promise."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from eebench.api import ChainedHead, ExitHead, ExitOutput, Method, Phase, only
from eebench.engine.costing import Costing
from eebench.parts import LinearExit, joint_loss
from eebench.plugins.chosen import Chosen
from eebench.plugins.registry import Registry
from eebench.rules import Confidence
from eebench.testing import CHECKS, Bench, check_method, parametrize_with_checks


@parametrize_with_checks(sorted(Registry.installed().sources))
def test_every_installed_method_keeps_the_contract(check):
    check()


class Good(Method):
    """A plain method that keeps every promise."""

    name = "good"

    def build(self, backbone, task):
        return {k: LinearExit(backbone.layouts[k - 1], task.outputs, norm=True) for k in (1, 2, 3)}

    def rule(self, task):
        return Confidence()

    def phases(self, task):
        return [Phase("joint", lambda step: joint_loss(step, [1.0] * len(step.visits)))]


def broken_checks(cls):
    return {f.check for f in check_method(Chosen(cls.name, cls()), ("vit",)) if f.status == "broken"}


def test_a_good_method_is_not_accused():
    assert broken_checks(Good) == set()


def test_a_rule_that_looks_at_the_whole_batch_is_caught():
    class OfTheBatch(Confidence):
        def observe(self, output, exit, ids):
            return {"score": super().observe(output, exit, ids)["score"].max().expand(len(ids))}

    class Bad(Good):
        def rule(self, task):
            return OfTheBatch()

    assert "replay_equals_dynamic" in broken_checks(Bad)


def test_a_knob_whose_never_stops_somebody_is_caught():
    class Leaky(Confidence):
        def step(self, state, seen, knob):
            return seen["score"] > min(knob, 0.3), state

    class Bad(Good):
        def rule(self, task):
            return Leaky()

    assert "extremes" in broken_checks(Bad)


def test_a_head_that_is_not_itself_after_loading_is_caught():
    class Forgetful(LinearExit):
        scale = 1.0

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            Forgetful.scale *= 1.5  # state outside the state dict
            self.mine = Forgetful.scale

        def answer(self, features):
            return self.mine * super().answer(features)

    class Bad(Good):
        def build(self, backbone, task):
            return {k: Forgetful(backbone.layouts[k - 1], task.outputs) for k in (1, 2, 3)}

    assert "state_round_trip" in broken_checks(Bad)


def test_an_exit_that_needs_the_others_and_does_not_say_so_is_caught():
    class Silent(LinearExit):
        def forward(self, features, carry):
            total = self.answer(features) + carry.get("total", 0)
            return ExitOutput(total, carry={"total": total})

    class Says(ChainedHead, LinearExit):
        def answer_after(self, features, carry):
            return LinearExit.answer(self, features) + carry.get("total", 0)

        def forward(self, features, carry):
            total = self.answer_after(features, carry)
            return ExitOutput(total, carry={"total": total})

    class Bad(Good):
        head = Silent

        def build(self, backbone, task):
            return {k: self.head(backbone.layouts[k - 1], task.outputs) for k in (1, 2, 3)}

    assert broken_checks(Bad) == {"fixed_depth"}
    Bad.head = Says
    assert broken_checks(Bad) == set()


class Gated(LinearExit):
    """A linear exit with a gate that its answer does not need, and that fixed depth leaves out."""

    def __init__(self, layout, outputs):
        super().__init__(layout, outputs)
        self.gate = nn.Linear(outputs, 1)

    def forward(self, features, carry):
        logits = LinearExit.answer(self, features)
        return ExitOutput(logits, self.gate(logits)[:, 0])


def of_heads(head):
    class WithHeads(Good):
        def build(self, backbone, task):
            return {k: head(backbone.layouts[k - 1], task.outputs) for k in (1, 2, 3)}

    return WithHeads


def test_a_gated_head_whose_fixed_depth_runs_the_gate_is_caught():
    class Forgets(Gated):
        def answer(self, features):
            return self(features, {}).logits

    assert broken_checks(of_heads(Gated)) == set()
    assert broken_checks(of_heads(Forgets)) == {"fixed_depth_decides_nothing"}


def test_a_gate_by_another_name_is_caught_as_work_for_nothing():
    class Forgets(Gated):
        def __init__(self, layout, outputs):
            super().__init__(layout, outputs)
            self.decider, self.gate = self.gate, None

        def forward(self, features, carry):
            logits = LinearExit.answer(self, features)
            return ExitOutput(logits, self.decider(logits)[:, 0])

        def answer(self, features):
            return self(features, {}).logits

    assert broken_checks(of_heads(Forgets)) == {"fixed_depth_decides_nothing"}


def test_a_chained_head_hands_on_without_its_gate():
    class Forgets(ChainedHead, Gated):
        def answer_after(self, features, carry):
            return LinearExit.answer(self, features) + carry.get("total", 0)

        def forward(self, features, carry):
            total = self.answer_after(features, carry)
            return ExitOutput(total, self.gate(total)[:, 0], carry={"total": total})

    class HandsOn(Forgets):
        def hand_on(self, features, carry):
            return {"total": self.answer_after(features, carry)}

    assert broken_checks(of_heads(Forgets)) == {"fixed_depth_decides_nothing"}
    assert broken_checks(of_heads(HandsOn)) == set()


def test_a_head_with_nothing_but_forward_is_told_to_answer():
    class Mute(ExitHead):
        def __init__(self, layout, outputs):
            super().__init__()
            self.classifier = nn.Linear(layout.dim, outputs)

        def forward(self, features, carry):
            return ExitOutput(self.classifier(features.pooled))

    cls = of_heads(Mute)
    words = [f.words for f in check_method(Chosen(cls.name, cls()), ("vit",)) if f.status == "broken"]
    assert any("Mute defines no answer()" in line for line in words)


def test_a_phase_that_trains_nothing_and_random_training_are_caught():
    class Nothing(Good):
        def phases(self, task):
            return [Phase("nothing", lambda step: joint_loss(step, [1.0] * 4), trains=only("exits.99"))]

    assert "trains" in broken_checks(Nothing)


def test_shares_that_do_not_sum_to_one_are_caught():
    class Half(Good):
        def phases(self, task):
            return [Phase("half", lambda step: joint_loss(step, [1.0] * 4), share=0.5)]

    assert "contract" in broken_checks(Half)


def test_options_that_the_docstring_leaves_out_and_a_knob_that_is_one_are_caught():
    @dataclass(frozen=True)
    class Silent(Good):
        """Says nothing."""

        rate: float = 1.0

    @dataclass(frozen=True)
    class Twice(Good):
        """A threshold that is the rule's as well."""

        threshold: float = 1.0

    assert broken_checks(Silent) == {"contract"}
    assert broken_checks(Twice) == {"contract"}


def test_a_build_that_changes_the_backbone_is_caught():
    class Adapted(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.adapter = inner, nn.Linear(32, 32)

        def forward(self, tokens):
            return self.inner(tokens) + self.adapter(tokens)

    class Lora(Good):
        def build(self, backbone, task):
            backbone.net.blocks[0] = Adapted(backbone.net.blocks[0])
            return super().build(backbone, task)

    class Skips(Good):
        def build(self, backbone, task):
            backbone.net.blocks[3].forward = lambda tokens: tokens
            return super().build(backbone, task)

    class Prunes(Good):
        def build(self, backbone, task):
            with torch.no_grad():
                backbone.net.blocks[2].mlp.fc1.weight[0] = 0
            return super().build(backbone, task)

    for cls in (Lora, Skips, Prunes):
        assert broken_checks(cls) == {"builds and traces"}


def test_a_tensor_that_torch_does_not_see_is_named():
    class Remembers(LinearExit):
        def __init__(self, layout, outputs):
            super().__init__(layout, outputs)
            self.prototypes = torch.ones(outputs, layout.dim)

        def answer(self, features):
            return super().answer(features) + features.pooled @ self.prototypes.T

    class Lists(LinearExit):
        def __init__(self, layout, outputs):
            super().__init__(layout, outputs)
            self.more = [nn.Linear(layout.dim, outputs)]

        def answer(self, features):
            return super().answer(features) + self.more[0](features.pooled)

    for head, name in ((Remembers, "exits.1.prototypes"), (Lists, "exits.1.more")):
        cls = of_heads(head)
        found = {f.check: f for f in check_method(Chosen(cls.name, cls()), ("vit",)) if f.status == "broken"}
        assert name in found["nothing_is_hidden"].words


def test_an_exit_that_changes_what_the_next_block_runs_on_is_caught():
    class InPlace(LinearExit):
        def forward(self, features, carry):
            features.tokens.mul_(0.5)
            return super().forward(features, carry)

    class Replaces(LinearExit):
        def forward(self, features, carry):
            features.tokens = features.tokens + 1
            return super().forward(features, carry)

    for head in (InPlace, Replaces):
        assert "asking_changes_nothing" in broken_checks(of_heads(head))


def test_regression_is_kept_to_or_declared_not_to_be_needed():
    class Undeclared(Good):
        """Cross-entropy, whatever the task."""

        def phases(self, task):
            def loss(step):
                return nn.functional.cross_entropy(step.visits[0].logits, step.targets)

            return [Phase("joint", loss)]

    class Declared(Undeclared):
        needs = frozenset({"classes"})

    def found(cls):
        return [(f.check, f.status) for f in check_method(Chosen(cls.name, cls()), ("regression",))]

    assert ("trains", "broken") in found(Undeclared)
    assert found(Declared) == [("needs", "skipped")]


def test_what_never_stopping_costs_is_what_a_run_charges():
    (chosen,) = Registry.installed().choose("palbert")
    bench = Bench.make(chosen, "text")
    charged, _ = Costing(bench.model, bench.data)(bench.data.test)
    last = np.full(len(bench.data.test), len(bench.model.blocks) - 1)
    ratio = charged.total_of(last).mean() / charged.plain.mean()
    words = next(f.words for f in check_method(chosen, ("text",)) if f.check == "cost_increases")
    assert f"never stopping costs {ratio:.3f} of the plain backbone" in words
    assert ratio > 1.001


PLUGIN = """
from eebench.api import Method, Phase
from eebench.parts import LinearExit, joint_loss
from eebench.rules import Confidence


class Head(LinearExit):
    def forward(self, features, carry):
        return help_me(self, features)  # HERE


def help_me(head, features):
    raise LookupError("no\\nhelp")  # THERE


class Odd(Method):  # CLASS
    name = "odd"
    head = Head

    def build(self, backbone, task):
        return {2: self.head(backbone.layouts[1], task.outputs)}

    def rule(self, task):
        return Confidence()

    def phases(self, task):
        return [Phase("joint", lambda step: joint_loss(step, [1.0, 1.0]), share=0.5)]  # SHARE


class Half(Odd):
    name = "half"
    head = LinearExit
"""


@pytest.fixture
def odd(tmp_path):
    path = tmp_path / "odd.py"
    path.write_text(PLUGIN)
    return path


def line_of(word):
    return 1 + next(number for number, line in enumerate(PLUGIN.split("\n")) if f"# {word}" in line)


def test_a_failure_shows_the_last_lines_of_the_authors_own_code(odd):
    (chosen,) = Registry.installed([odd]).choose("odd")
    (finding,) = check_method(chosen, ("vit",))
    assert finding.status == "broken"
    assert "it raised LookupError: no help" in finding.words
    assert finding.where == (
        f"odd.py:{line_of('HERE')} in forward: return help_me(self, features)  # HERE",
        f'odd.py:{line_of("THERE")} in help_me: raise LookupError("no\\nhelp")  # THERE',
    )


def test_a_broken_promise_shows_where_the_code_begins(odd):
    (chosen,) = Registry.installed([odd]).choose("half")
    found = {f.check: f for f in check_method(chosen, ("vit",)) if f.status == "broken"}
    assert found.keys() == {"contract"}
    assert "the phases' shares do not sum to 1" in found["contract"].words
    assert found["contract"].where == (f"odd.py:{line_of('SHARE') - 1} Odd.phases",)


def test_a_strangers_own_pytest(odd):
    (odd.parent / "test_odd.py").write_text(
        "from odd import Half, Odd\n"
        "from eebench.testing import parametrize_with_checks\n\n"
        "@parametrize_with_checks([Half(), 'pabee'], kinds=('vit',))\n"
        "def test_contract(check):\n    check()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", "test_odd.py"]
    done = subprocess.run(command, cwd=odd.parent, capture_output=True, text=True, timeout=300, check=False)
    assert f"1 failed, {2 * len(CHECKS) - 1} passed" in done.stdout, done.stdout
    assert "PASSED test_odd.py::test_contract[pabee-vit-trains]" in done.stdout
    assert "FAILED test_odd.py::test_contract[half-vit-contract]" in done.stdout
    assert "the phases' shares do not sum to 1" in done.stdout
