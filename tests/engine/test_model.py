"""The walk and its three drivers: who is visited, who goes on, and that what rows carry stays with its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from eebench.api import ChainedHead, ExitHead, ExitOutput, ExitRule, Features, Knob, Rows
from eebench.engine.model import BackboneExit, Decision, EarlyExitModel
from eebench.parts import LinearExit
from eebench.testing import CLASSES, inputs_for, pick, tiny_text, tiny_vit

B = 9
LAST = 3  # exits behind blocks 1, 2, 3 and the last, 4
SCHEDULES = {
    "nobody stops": [LAST] * B,
    "everybody at the first": [0] * B,
    "everybody at the second": [1] * B,
    "all kinds": [2, 0, 3, 1, 0, 2, 3, 1, 2],
    "one row left at once": [0, 0, 0, 0, LAST, 0, 0, 0, 0],
    "the first row left": [LAST, 0, 1, 0, 1, 0, 1, 0, 1],
    "the last row left": [0, 1, 2, 0, 1, 2, 0, 1, LAST],
    "one row stops": [LAST, LAST, 1, LAST, LAST, LAST, LAST, LAST, LAST],
    "an exit nobody takes": [0, 2, 2, 0, 2, 0, 2, 0, 2],
}
ORDERS = (torch.arange(B), torch.arange(B - 1, -1, -1), torch.tensor([4, 0, 8, 2, 6, 1, 7, 3, 5]))


class Scheduled(ExitRule):
    """Sample i stops at exit ``schedule[i]``; the state remembers who each row is and notices mixed-up rows."""

    knob = Knob("unused", never=0.0)

    def __init__(self, schedule: Sequence[int]) -> None:
        self.schedule = torch.tensor(schedule)
        self.rows: list[int] = []  # rows asked, exit by exit

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        return {"id": ids, "stop": self.schedule[ids] == exit}

    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        assert all(isinstance(column, np.ndarray) and column.ndim == 1 for column in seen.values())  # one row as well
        self.rows.append(len(seen["id"]))
        if state:
            assert (state["id"] == seen["id"]).all(), "a row's state went to another row"
        return seen["stop"], {"id": seen["id"] * 1}

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        return [0.0]


class Remembers(ChainedHead):
    """Reads the exit before it: its logits depend on every pooled vector so far, so a mixed-up carry shows."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(dim, CLASSES)

    def answer_after(self, features: Features, carry: Rows) -> Tensor:
        return self.classifier(features.pooled + (2 * carry["so_far"] if carry else 0))

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        so_far = features.pooled + (2 * carry["so_far"] if carry else 0)
        return ExitOutput(self.classifier(so_far), signal=so_far.mean(1), carry={"so_far": so_far})


class Late(ExitHead):
    """Classifies only samples that stop, from features, signal, carry and aux, all of which must be the same rows'."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(dim, CLASSES)
        self.classified: list[int] = []

    def answer(self, features: Features) -> Tensor:
        return self.classifier(features.pooled)

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        z = features.pooled
        return ExitOutput(None, signal=z[:, 0], carry={"z": z}, aux={"double": 2 * z})

    def classify(self, features: Features, output: ExitOutput) -> Tensor:
        assert output.signal is not None
        self.classified.append(len(features.tokens))
        z = output.carry["z"]
        torch.testing.assert_close(features.pooled, z)
        torch.testing.assert_close(output.signal, z[:, 0])
        torch.testing.assert_close(output.aux["double"], 2 * z)
        return self.classifier(z)


HEADS = {
    "linear": lambda layout: LinearExit(layout, CLASSES, norm=True),
    "remembers": lambda layout: Remembers(layout.dim),
    "late": lambda layout: Late(layout.dim),
}


def build(kind: str = "linear", backbone: Any = None, blocks: Sequence[int] = (1, 2, 3)) -> EarlyExitModel:
    backbone = backbone or tiny_vit()
    torch.manual_seed(1)
    return EarlyExitModel(backbone, {b: HEADS[kind](backbone.layouts[b - 1]) for b in blocks}).eval()


def rows_through(model: EarlyExitModel) -> list[int]:
    """Filled with the rows that each block runs on."""
    rows: list[int] = []
    run = model.backbone.block

    def spy(number: int, features: Features) -> Features:
        rows.append(len(features.tokens))
        return run(number, features)

    model.backbone.block = spy  # type: ignore[method-assign]
    return rows


@pytest.fixture(autouse=True)
def _inference():
    with torch.inference_mode():
        yield


# --- trace, visit, forced, static ---------------------------------------------------------------------------------


def test_the_walk_is_the_network_written_out_by_hand():
    model, x = build(), inputs_for(tiny_vit(), B)
    visits, net = model.trace(x), model.backbone.net
    tokens = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(x))))
    for block, module in enumerate(net.blocks, 1):
        tokens = module(tokens)
        visit = visits[block - 1]
        assert visit.block == block
        assert torch.equal(visit.features.tokens, tokens)
        head = model.exits[str(block)]
        own = net.forward_head(net.norm(tokens)) if block == 4 else head.classifier(head.norm(tokens[:, 0]))
        assert torch.equal(visit.logits, own)
    assert torch.equal(visits[-1].logits, net(x))


def test_blocks_without_an_exit_are_passed_by():
    model, x = build(blocks=(2,)), inputs_for(tiny_vit(), B)
    assert model.blocks == (2, 4)
    assert [visit.block for visit in model.trace(x)] == [2, 4]
    everywhere = build()
    torch.testing.assert_close(model.trace(x)[0].features.tokens, everywhere.trace(x)[1].features.tokens)


def test_a_backbone_without_exits_has_its_own_classifier_as_the_only_one():
    model, x = EarlyExitModel(tiny_vit(), {}).eval(), inputs_for(tiny_vit(), B)
    assert model.blocks == (4,)
    assert not model.own_last_exit
    decision = model.dynamic(x, Scheduled([0] * B), 0.0)
    assert torch.equal(decision.logits, model.backbone.plain(x))
    assert decision.exit.tolist() == [0] * B


@pytest.mark.parametrize("block", [0, 5])
def test_an_exit_behind_no_block_is_an_error(block):
    with pytest.raises(ValueError, match="blocks 1 to 4"):
        EarlyExitModel(tiny_vit(), {block: LinearExit(tiny_vit().layouts[0], CLASSES)})


class MuteHead(ExitHead):
    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        return ExitOutput(features.pooled)


class MuteChainedHead(ChainedHead):
    def answer(self, features: Features) -> Tensor:
        return features.pooled


@pytest.mark.parametrize(("head", "lacks"), [(MuteHead, "answer"), (MuteChainedHead, "answer_after")])
def test_an_exit_that_fixed_depth_cannot_run_is_an_error(head, lacks):
    with pytest.raises(ValueError, match=rf"{head.__name__} defines no {lacks}\(\)"):
        EarlyExitModel(tiny_vit(), {2: head()})


@pytest.mark.parametrize("kind", HEADS)
def test_visiting_features_computed_before_is_the_trace(kind):
    model, x = build(kind), inputs_for(tiny_vit(), B)
    visits = model.trace(x)
    again = model.visit({visit.block: visit.features for visit in visits})
    for one, other in zip(visits, again, strict=True):
        assert one.block == other.block
        assert torch.equal(one.logits, other.logits)


@pytest.mark.parametrize("kind", HEADS)
def test_a_forced_exit_answers_as_in_the_trace_and_runs_nothing_behind_it(kind):
    model, x = build(kind), inputs_for(tiny_vit(), B)
    visits = model.trace(x)
    for position, block in enumerate(model.blocks):
        rows = rows_through(model)
        assert torch.equal(model.forced(x, block), visits[position].logits)
        assert len(rows) == block
        torch.testing.assert_close(model.static(x, block), visits[position].logits)


def test_fixed_depth_runs_one_head_where_that_is_enough():
    asked: list[str] = []
    model, x = build(), inputs_for(tiny_vit(), B)
    for name, head in list(model.exits.named_children())[:-1]:
        head.classifier.register_forward_hook(lambda *_, name=name: asked.append(name))
    model.static(x, 3)
    assert asked == ["3"]
    asked.clear()
    model.forced(x, 3)
    assert asked == ["1", "2", "3"]


def test_fixed_depth_of_an_exit_that_needs_the_ones_before_runs_them():
    model, x = build("remembers"), inputs_for(tiny_vit(), B)
    assert torch.equal(model.static(x, 3), model.forced(x, 3))
    assert not torch.allclose(model.exits["3"].classifier(model.trace(x)[2].features.pooled), model.static(x, 3))


@pytest.mark.parametrize("ask", ["forced", "static"])
def test_forcing_where_there_is_no_exit_is_an_error(ask):
    with pytest.raises(ValueError, match=r"no exit behind block 3; exits are behind \[1, 4\]"):
        getattr(build(blocks=(1,)), ask)(inputs_for(tiny_vit(), 2), 3)


# --- dynamic inference ---------------------------------------------------------------------------------------------


def assert_as_scheduled(model: EarlyExitModel, x: Any, schedule: Sequence[int], order: Tensor, wait: bool) -> Decision:
    answers = torch.stack([visit.logits for visit in model.trace(x)], 1)
    decision = model.dynamic(pick(x, order), Scheduled(schedule), 0.0, order, wait=wait)
    where = torch.tensor(schedule)[order]
    assert decision.exit.dtype == decision.block.dtype == torch.int64
    assert decision.block.tolist() == [model.blocks[place] for place in decision.exit.tolist()]
    assert decision.exit.tolist() == where.tolist()
    torch.testing.assert_close(decision.logits, answers[order, where], atol=1e-5, rtol=1e-5)
    return decision


@pytest.mark.parametrize("wait", [False, True], ids=["leave", "wait"])
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_everyone_stops_where_the_rule_says_with_that_exits_answer(schedule, kind, wait):
    model, x = build(kind), inputs_for(tiny_vit(), B)
    for order in ORDERS:
        assert_as_scheduled(model, x, schedule, order, wait)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_padded_text_keeps_its_mask(schedule):
    text = tiny_text()
    model, x = build("linear", text), inputs_for(text, B)
    for order in ORDERS:
        assert_as_scheduled(model, x, schedule, order, wait=False)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_finished_rows_are_not_computed_on(schedule):
    model, rule = build(), Scheduled(schedule)
    rows = rows_through(model)
    model.dynamic(inputs_for(tiny_vit(), B), rule, 0.0)
    left = [sum(stop >= position for stop in schedule) for position in range(LAST + 1)]
    assert rows == [n for n in left if n]
    assert rule.rows == rows[:LAST]


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_waiting_batch_stays_whole_until_its_last_row_is_done(schedule):
    model = build()
    rows = rows_through(model)
    model.dynamic(inputs_for(tiny_vit(), B), Scheduled(schedule), 0.0, wait=True)
    assert rows == [B] * (max(schedule) + 1)


@pytest.mark.parametrize("exit", range(LAST + 1))
@pytest.mark.parametrize("kind", HEADS)
def test_one_sample_alone(kind, exit):
    model, x = build(kind), inputs_for(tiny_vit(), B)
    rows = rows_through(model)
    for wait in (False, True):
        rows.clear()
        decision = model.dynamic(x[4:5], Scheduled([0] * 4 + [exit]), 0.0, torch.tensor([4]), wait=wait)
        assert rows == [1] * (exit + 1)
        assert decision.exit.tolist() == [exit]
        torch.testing.assert_close(decision.logits, model.forced(x[4:5], exit + 1))


def test_samples_without_names_are_named_by_their_place():
    model, x = build(), inputs_for(tiny_vit(), B)
    schedule = SCHEDULES["all kinds"]
    assert model.dynamic(x, Scheduled(schedule), 0.0).exit.tolist() == schedule
    assert model.dynamic(x[:1], Scheduled([2]), 0.0).exit.tolist() == [2]


@pytest.mark.parametrize("wait", [False, True], ids=["leave", "wait"])
def test_exits_that_classify_late_do_so_once_a_sample_and_only_where_it_stops(wait):
    model, schedule = build("late"), SCHEDULES["all kinds"]
    model.dynamic(inputs_for(tiny_vit(), B), Scheduled(schedule), 0.0, wait=wait)
    for position in range(LAST):
        assert model.exits[str(position + 1)].classified == [schedule.count(position)]


def test_nobody_is_classified_where_nobody_stops():
    model = build("late")
    model.dynamic(inputs_for(tiny_vit(), B), Scheduled([LAST] * B), 0.0)
    model.dynamic(inputs_for(tiny_vit(), 1), Scheduled([LAST]), 0.0)
    assert not any(model.exits[str(block)].classified for block in (1, 2, 3))


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_an_exit_of_the_methods_own_behind_the_last_block(schedule):
    model, x = build("remembers", blocks=(1, 2, 3, 4)), inputs_for(tiny_vit(), B)
    assert model.own_last_exit
    assert not any(isinstance(head, BackboneExit) for head in model.exits.children())
    model.backbone.classify = None  # type: ignore[method-assign, assignment]  # not to be called
    for order in ORDERS:
        assert_as_scheduled(model, x, schedule, order, wait=False)


class ReadsBack(TorchDispatchMode):
    """Operators whose result the host has to wait for on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in {"_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique_dim", "_unique2", "equal"}:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("samples", [1, B])
def test_what_the_rule_observed_is_all_the_host_waits_for(samples):
    model, x = build(), inputs_for(tiny_vit(), samples)
    for wait in (False, True):
        with ReadsBack() as reads:
            model.dynamic(x, Scheduled(SCHEDULES["all kinds"]), 0.0, wait=wait)
        assert reads.found == []


class Margin(Scheduled):
    """Observes something with a gradient as well."""

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        assert output.logits is not None
        return {**super().observe(output, exit, ids), "margin": output.logits[:, 0]}


@torch.inference_mode(False)
def test_weights_that_could_be_trained_are_no_hindrance():
    model, x = build(), inputs_for(tiny_vit(), B)
    assert model.trace(x)[0].logits.requires_grad
    decision = model.dynamic(x, Margin(SCHEDULES["all kinds"]), 0.0)
    assert decision.exit.tolist() == SCHEDULES["all kinds"]
