"""SDN: the confidence rule by hand, the ramp, who answers in the end, training, replay against the model."""

import pytest
import torch
from torch.nn import functional as F

from eebench.api import ExitOutput, Task
from eebench.plugins.needs import unmet
from eebench.plugins.registry import Registry
from eebench.testing import (
    BACKBONES,
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
from eebench_methods.sdn import SDN, keep_most_confident, ramp

KINDS = ("vit", "two prefix tokens", "grid not square", "pyramid", "text")  # what linear exits can tell apart


def test_golden_trace():
    # two-class logits (a, 0) give the larger class sigmoid(|a|): 0.5, 0.8808 at 2, 0.9526 at 3
    exits = [torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]]), torch.tensor([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]])]
    rule = build(SDN, tiny_vit())[0].rule()
    columns = [rule.observe(ExitOutput(logits), 0, torch.arange(3))["score"] for logits in exits]
    seen = {"score": torch.stack(columns, 1).numpy()}
    assert replay(rule, seen, 0.4).tolist() == [0, 0, 0]
    assert replay(rule, seen, 0.6).tolist() == [1, 0, 0]
    assert replay(rule, seen, 0.9).tolist() == [1, 2, 0]
    assert replay(rule, seen, 0.96).tolist() == [2, 2, 2]


def test_ramp():
    # an exit halfway, over ten epochs: 0.01 and 0.05 an epoch, until 0.5 is reached
    assert [ramp(0.5, epoch, 10) for epoch in (1, 2, 9, 10, 50)] == pytest.approx([0.06, 0.11, 0.46, 0.5, 0.5])
    assert ramp(0.9, 3, 100) == pytest.approx(0.037)


def losses_of(step):
    return [F.cross_entropy(visit.output.aux.get("own", visit.logits), step.targets) for visit in step.visits]


@pytest.mark.parametrize("answer", ["last", "most_confident"])
def test_losses(answer):
    inputs, targets = inputs_for(tiny_vit(), 8), classes_for(8)
    expected = {
        ("weighted", 0): lambda a, b, c, d: (a + 2 * b + 3 * c + 4 * d) / 10,
        ("ramped", 2): lambda a, b, c, d: (
            0.16 * a + 0.31 * b + 0.46 * c + d
        ),  # epoch 3 of 5: 0.01 + share * 3 / 5, shares 1/4 ...
        ("ramped", 7): lambda a, b, c, d: 0.25 * a + 0.5 * b + 0.75 * c + d,
        ("ic_only", 0): lambda a, b, c, d: a + b + c,
    }
    for (training, epoch), formula in expected.items():
        method, model = build(SDN, tiny_vit(), training=training, answer=answer, ramp_epochs=5)
        (phase,) = method.phases()
        step = train_step(model, phase, inputs, targets, method.task, epoch=epoch)
        torch.testing.assert_close(phase.loss(step), formula(*losses_of(step)))


@pytest.mark.parametrize("epochs", [4, 40])
def test_the_ramp_spans_the_training(epochs):
    method, model = build(SDN, tiny_vit(), training="ramped")
    (phase,) = method.phases()
    step = train_step(model, phase, inputs_for(model.backbone, 8), classes_for(8), method.task)
    step.epochs = epochs
    losses = losses_of(step)
    for done in (0.25, 0.5, 1.0):  # share of the epochs, the current one included
        step.epoch = round(done * epochs) - 1
        weights = [min(c, 0.01 + c * done) for c in (0.25, 0.5, 0.75)]
        expected = sum(w * loss for w, loss in zip(weights, losses[:3], strict=True)) + losses[3]
        torch.testing.assert_close(phase.loss(step), expected)


def test_recipes():
    (phase,) = build(SDN, tiny_vit(), training="ic_only")[0].phases()
    assert phase.lr_scale == 10, "linear heads on a frozen backbone, at the rate ZTW gives its own"
    for training in ("weighted", "ramped"):
        assert build(SDN, tiny_vit(), training=training)[0].phases()[0].lr_scale == 1


@pytest.mark.parametrize("answer", ["last", "most_confident"])
@pytest.mark.parametrize("training", ["weighted", "ramped", "ic_only"])
def test_who_is_trained(training, answer):
    method, model = build(SDN, tiny_vit(), training=training, answer=answer)
    moved = set(gradients(model, method.phases()[0], inputs_for(model.backbone), classes_for(), method.task))
    names = {name for name, _ in model.named_parameters()}
    assert moved == ({name for name in names if name.startswith("exits.")} if training == "ic_only" else names)


def test_the_last_exit_is_trained_by_its_own_answer():
    grads = {}
    for answer in ("last", "most_confident"):
        method, model = build(SDN, tiny_vit(), answer=answer)
        grads[answer] = gradients(model, method.phases()[0], inputs_for(model.backbone), classes_for(), method.task)
    assert grads["last"].keys() == grads["most_confident"].keys()
    for name, grad in grads["last"].items():
        torch.testing.assert_close(grads["most_confident"][name], grad)


def test_keep_most_confident_by_hand():
    first = keep_most_confident(torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), {})
    second = keep_most_confident(torch.tensor([[0.0, 3.0], [0.5, 0.0], [0.0, 3.0]]), first)
    # surer of the other class; less sure than before; a tie, which the earlier one keeps
    assert second["logits"].tolist() == [[0.0, 3.0], [0.0, 1.0], [3.0, 0.0]]
    torch.testing.assert_close(second["confidence"], torch.sigmoid(torch.tensor([3.0, 1.0, 3.0])))


def test_the_most_confident_of_all_answers_when_nobody_was_sure():
    method, model = build(SDN, tiny_vit(), answer="most_confident")
    inputs = inputs_for(model.backbone)
    _, plain = build(SDN, tiny_vit())
    _, own = trace(plain, method.rule(), inputs)  # every exit's own answer, (N, E, K)
    surest = own.softmax(-1).amax(-1).argmax(1)
    assert len(surest.unique()) > 1, "different exits must be the surest for this test to mean anything"
    answers = model.dynamic(inputs, method.rule(), method.rule().knob.never).logits
    torch.testing.assert_close(answers, own[torch.arange(len(own)), surest])
    torch.testing.assert_close(model.static(inputs, 4), answers)
    torch.testing.assert_close(model.static(inputs, 2), own[:, 1])


def test_by_default_the_last_exit_is_the_backbones_own():
    method, model = build(SDN, tiny_vit())
    inputs = inputs_for(model.backbone)
    answers = model.dynamic(inputs, method.rule(), method.rule().knob.never).logits
    torch.testing.assert_close(answers, model.backbone.plain(inputs), atol=0, rtol=0)
    assert not model.own_last_exit


@pytest.mark.parametrize(
    ("kind", "answer"),
    [*((k, "last") for k in KINDS), *((k, "most_confident") for k in ("vit", "pyramid", "text"))],
)
def test_replay_is_dynamic(kind, answer):
    method, model = build(SDN, BACKBONES[kind](3), answer=answer)
    where = assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone))
    assert (where[-1.0] == 0).all()
    assert (where[1.0] == len(model.blocks) - 1).all()


def test_says_why_not():
    assert unmet(SDN(), tiny_vit(), Task(kind="regression", classes=1))
    assert unmet(SDN(), tiny_vit(), Task(classes=3)) is None


def test_options_as_typed():
    (chosen,) = Registry.installed().choose("sdn[training=ramped,answer=most_confident,ramp_epochs=4]")
    assert chosen.method == SDN(training="ramped", answer="most_confident", ramp_epochs=4)
    assert SDN().ramp_epochs is None
    (chosen,) = Registry.installed().choose("sdn[training=ramped,ramp_epochs=none]")
    assert chosen.method == SDN(training="ramped")
    with pytest.raises(ValueError, match="at least 1"):
        SDN(ramp_epochs=0)
