"""BERxiT: alternating training, the learning-to-exit module and its targets, replay against the model."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from eebench.api import ExitOutput, Task
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.testing import (
    BACKBONES,
    TinyPyramid,
    assert_replay_is_dynamic,
    build,
    classes_for,
    gradients,
    inputs_for,
    replay,
    tiny_vit,
    trace,
    train_step,
)
from eebench_methods.berxit import BERxiT, uncertainty_targets

REGRESSION = Task(kind="regression", classes=1, metric="pearson_spearman")


def test_golden_trace_of_confidence():
    # two-class logits (a, 0) give the larger class sigmoid(|a|): 0.7311 at 1, 0.8808 at 2
    rule = build(BERxiT, tiny_vit())[0].rule()
    exits = [torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])]
    columns = [rule.observe(ExitOutput(logits), 0, torch.arange(2))["score"] for logits in exits]
    seen = {"score": torch.stack(columns, 1).numpy()}
    assert replay(rule, seen, 0.7).tolist() == [0, 0]
    assert replay(rule, seen, 0.8).tolist() == [1, 0]
    assert replay(rule, seen, 0.9).tolist() == [2, 2]


def test_golden_trace_of_learning_to_exit():
    rule = build(BERxiT, tiny_vit(), exit="lte")[0].rule()
    said = [torch.tensor([0.5, 0.25, 0.75]), torch.tensor([0.25, 0.75, 0.5])]
    columns = [rule.observe(ExitOutput(signal=signal), 0, torch.arange(3))["score"] for signal in said]
    seen = {"score": torch.stack(columns, 1).numpy()}
    assert replay(rule, seen, 0.8).tolist() == [0, 0, 0]
    assert replay(rule, seen, 0.5).tolist() == [1, 0, 2]  # 0.5 is not below 0.5
    assert replay(rule, seen, 0.2).tolist() == [2, 2, 2]


def test_targets_of_classification():
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert uncertainty_targets(logits, torch.tensor([0, 1, 2])).tolist() == [0.0, 1.0, 0.0]


def test_targets_of_regression():
    found = uncertainty_targets(torch.tensor([[1.0], [2.0], [0.0]]), torch.tensor([1.0, 2.5, 3.0]))
    np.testing.assert_allclose(found.numpy(), [0.0, math.tanh(0.5), math.tanh(3.0)], rtol=1e-6)


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_even_steps_train_the_last_exit_and_odd_ones_all(index):
    method, model = build(BERxiT, tiny_vit())
    (phase,) = method.phases()
    inputs, targets = inputs_for(model.backbone, 8), classes_for(8)
    step = train_step(model, phase, inputs, targets, method.task, index=index)
    losses = [F.cross_entropy(visit.logits, targets) for visit in step.visits]
    torch.testing.assert_close(phase.loss(step), sum(losses) if index % 2 else losses[-1])
    moved = set(gradients(model, phase, inputs, targets, method.task, index=index))
    names = {name for name, _ in model.named_parameters()}
    assert moved == (names if index % 2 else {name for name in names if name.startswith("backbone.")})


@pytest.mark.parametrize("task", [Task(classes=3), REGRESSION], ids=["classification", "regression"])
@pytest.mark.parametrize("index", [0, 1])
def test_loss_of_learning_to_exit(index, task):
    backbone = tiny_vit(outputs=task.outputs)
    method, model = build(BERxiT, backbone, task, exit="lte")
    (phase,) = method.phases()
    inputs = inputs_for(backbone, 8)
    targets = classes_for(8).float() if task.kind == "regression" else classes_for(8)
    step = train_step(model, phase, inputs, targets, task, index=index)
    *inner, last = step.visits
    squares = []
    for visit in inner:  # one number at a time
        for said, answer, target in zip(visit.output.signal, visit.logits, targets, strict=True):
            if task.kind == "regression":
                wanted = abs(math.tanh((answer[0] - target).item()))
            else:
                wanted = float(int(answer.argmax()) != int(target))
            squares.append((said.item() - wanted) ** 2)
    task_loss = sum(task.loss(visit.logits, targets).mean().item() for visit in ([*inner, last] if index else [last]))
    assert phase.loss(step).item() == pytest.approx(task_loss + sum(squares) / len(squares), rel=1e-4)


def test_what_learning_to_exit_trains_on_an_even_step():
    method, model = build(BERxiT, tiny_vit(), exit="lte")
    moved = set(gradients(model, method.phases()[0], inputs_for(model.backbone), classes_for(), method.task))
    names = {name for name, _ in model.named_parameters()}
    # the squared error reaches gates, poolers and norms; no exit's classifier, whose answers are but targets
    assert names - moved == {f"exits.{block}.classifier.{p}" for block in (1, 2, 3) for p in ("weight", "bias")}


def test_one_gate_for_all_exits_of_a_width():
    _, model = build(BERxiT, tiny_vit(), exit="lte")
    assert [n for n, _ in model.named_parameters() if "gate" in n] == ["exits.1.gate.0.weight", "exits.1.gate.0.bias"]
    _, pyramid = build(BERxiT, TinyPyramid(), exit="lte")
    assert sum(p.numel() for n, p in pyramid.named_parameters() if "gate" in n) == 16 + 1 + 32 + 1


def test_an_exit_classifies_only_who_stops():
    method, model = build(BERxiT, tiny_vit(), exit="lte")
    inputs, rule = inputs_for(model.backbone), method.rule()
    asked: dict[int, int] = dict.fromkeys((1, 2, 3), 0)
    for block in asked:

        def count(module, args, output, block=block):
            asked[block] += len(args[0])

        model.exits[str(block)].classifier.register_forward_hook(count)
    seen, _ = trace(model, rule, inputs)
    knob = float(np.quantile(seen["score"], 0.4))
    asked.update(dict.fromkeys(asked, 0))
    where = model.dynamic(inputs, rule, knob).exit
    assert list(asked.values()) == [int((where == position).sum()) for position in range(3)]
    assert 0 < sum(asked.values()) < len(where)


def test_fixed_depth_does_not_ask_the_gate():
    _, model = build(BERxiT, tiny_vit(), exit="lte")
    inputs = inputs_for(model.backbone)
    expected = model.forced(inputs, 2)
    model.exits["2"].gate.register_forward_hook(lambda *_: pytest.fail("the gate was asked"))
    torch.testing.assert_close(model.static(inputs, 2), expected)


@pytest.mark.parametrize(
    ("kind", "how"), [*((k, "lte") for k in BACKBONES), ("vit", "confidence"), ("text", "confidence")]
)
def test_replay_is_dynamic(kind, how):
    method, model = build(BERxiT, BACKBONES[kind](3), exit=how)
    where = assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone))
    never, always = method.rule().knob.never, method.rule().knob.always
    assert (where[never] == len(model.blocks) - 1).all()
    assert (where[always] == 0).all()


@pytest.mark.parametrize("kind", ["vit", "text"])
def test_replay_is_dynamic_on_regression(kind):
    method, model = build(BERxiT, BACKBONES[kind](1), REGRESSION)
    assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone))


def test_regression_needs_learning_to_exit():
    assert BERxiT().learned(REGRESSION)
    assert not BERxiT().learned(Task(classes=3))
    with pytest.raises(UserError, match="use exit=lte"):
        BERxiT(exit="confidence").rule(REGRESSION)


def test_options_as_typed():
    (chosen,) = Registry.installed().choose("berxit[exit=lte,threshold=0.3]")
    assert chosen.method == BERxiT(exit="lte")
    assert chosen.pinned == 0.3
