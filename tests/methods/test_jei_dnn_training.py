"""JEI-DNN in training: whose turn moves what, and every loss by brute force."""

import math

import pytest
import torch
from torch.nn import functional as F

from eebench.api import ExitOutput, Visit
from eebench.testing import (
    BACKBONES,
    build,
    classes_for,
    gradients,
    inputs_for,
    tiny_vit,
    train_step,
)
from eebench_methods.jei_dnn import JEIDNN


def probabilities_by_definition(gates):
    """p_l = max(0, min(g_l, 1 - sum_{j<l} g_j)), in double precision."""
    p = []
    for place, gate in enumerate(gates):
        p.append(max(0.0, min(gate, 1 - sum(gates[:place]))))
    return p


def names(moved):
    """gate | classifier | norm | backbone of the parameters that moved."""
    return {name.split(".")[0] if name.startswith("backbone") else name.split(".")[2] for name in moved}


@pytest.mark.parametrize("weighting", ["p_exit_detached", "p_exit", "uniform"])
def test_gate_turns_move_gates_and_classifier_turns_classifiers(weighting):
    method, model = build(JEIDNN, tiny_vit(), alternate=3, im_weighting=weighting)
    warm, turns = method.phases()
    inputs, targets = inputs_for(model.backbone), classes_for()
    assert names(gradients(model, warm, inputs, targets, method.task)) == {"classifier"}
    assert names({name for name, _ in model.named_parameters() if warm.trains(name)}) == {"classifier"}
    assert names({name for name, _ in model.named_parameters() if turns.trains(name)}) == {"classifier", "gate"}
    for batch, whose in enumerate(["gate"] * 3 + ["classifier"] * 3 + ["gate"] * 3):
        moved = gradients(model, turns, inputs, targets, method.task, index=batch)
        assert names(moved) == {whose}
        assert {name.split(".")[1] for name in moved} == {"1", "2", "3"}


def test_optimiser_steps_leave_the_other_side_bit_identical():
    method, model = build(JEIDNN, tiny_vit(), alternate=1)
    turns = method.phases()[1]
    inputs, targets = inputs_for(model.backbone), classes_for()
    train_step(model, turns, inputs, targets, method.task)  # sets what is trained
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for batch in range(4):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.zero_grad(set_to_none=True)
        turns.loss(train_step(model, turns, inputs, targets, method.task, index=batch)).backward()
        optimizer.step()
        moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert names(moved) == ({"gate"} if batch % 2 == 0 else {"classifier"})


def test_a_stage_of_another_width_trains_its_own_norm():
    method, model = build(JEIDNN, BACKBONES["pyramid"](3))
    inputs, targets = inputs_for(model.backbone), classes_for()
    assert names(gradients(model, method.phases()[0], inputs, targets, method.task)) == {"classifier", "norm"}
    assert names(gradients(model, method.phases()[1], inputs, targets, method.task, index=0)) == {"gate"}


def test_every_epoch_starts_with_the_gates():
    method, model = build(JEIDNN, tiny_vit(), alternate=2)
    step = train_step(model, method.phases()[1], inputs_for(model.backbone, 4), classes_for(4), method.task)
    turns = []
    for batch in range(5):
        step.batch, step.index, step.epoch = batch, 103 + batch, 7
        turns.append(method.gates_turn(step))
    assert turns == [True, True, False, False, True]


def test_warm_up_is_a_sum_that_weighs_early_exits_most():
    method, model = build(JEIDNN, tiny_vit())
    inputs, targets = inputs_for(model.backbone, 8), classes_for(8)
    step = train_step(model, method.phases()[0], inputs, targets, method.task)
    losses = [F.cross_entropy(visit.logits, targets) for visit in step.visits]
    # G = 3: G + 1 - l for l = 0, 1, 2, and a sum, as dynn's get_warmup_loss has it (its last exit's loss is a constant)
    expected = 4 * losses[0] + 3 * losses[1] + 2 * losses[2]
    torch.testing.assert_close(method.phases()[0].loss(step), expected)


def test_gate_loss_by_brute_force():
    method, model = build(JEIDNN, tiny_vit(), tradeoff=0.8)
    for place, weight in enumerate((0.5, 2.0, 5.0), 1):
        model.exits[str(place)].positive_weight.fill_(weight)
    inputs, targets = inputs_for(model.backbone, 12), classes_for(12)
    step = train_step(model, method.phases()[1], inputs, targets, method.task)
    total = 0.0
    for row in range(12):
        costs = [
            F.cross_entropy(visit.logits[row], targets[row]).item() + 0.8 * visit.block / 4 for visit in step.visits
        ]
        best = costs.index(min(costs))
        for place, weight in enumerate((0.5, 2.0, 5.0)):
            gate = torch.sigmoid(step.visits[place].output.signal[row]).item()
            total += -weight * math.log(gate) if place >= best else -math.log(1 - gate)
    assert method.phases()[1].loss(step).item() == pytest.approx(total / 36, rel=1e-4)


@pytest.mark.parametrize("weighting", ["p_exit_detached", "p_exit", "uniform"])
def test_classifier_loss_by_brute_force(weighting):
    method, model = build(JEIDNN, tiny_vit(), alternate=1, im_weighting=weighting)
    inputs, targets = inputs_for(model.backbone, 12), classes_for(12)
    step = train_step(model, method.phases()[1], inputs, targets, method.task, index=1)
    total = 0.0
    for row in range(12):
        losses = [F.cross_entropy(visit.logits[row], targets[row]).item() for visit in step.visits[:3]]
        p = probabilities_by_definition([torch.sigmoid(v.output.signal[row]).item() for v in step.visits[:3]])
        weights = {"p_exit": p, "uniform": [1, 1, 1], "p_exit_detached": [1, 1, 1]}[weighting]  # detached: same value
        total += sum(w * loss for w, loss in zip(weights, losses, strict=True))
    assert method.phases()[1].loss(step).item() == pytest.approx(total / 36, rel=1e-4)


def test_detached_weights_change_the_gradient():
    found = {}
    for weighting in ("p_exit_detached", "uniform"):
        method, model = build(JEIDNN, tiny_vit(), alternate=1, im_weighting=weighting)
        inputs, targets = inputs_for(model.backbone), classes_for()
        found[weighting] = gradients(model, method.phases()[1], inputs, targets, method.task, index=1)
    name = "exits.1.classifier.weight"
    assert not torch.allclose(found["uniform"][name], found["p_exit_detached"][name], rtol=0.05)


def test_validation_visits_balance_the_gates():
    method, model = build(JEIDNN, tiny_vit(), tradeoff=0.0)
    targets = torch.zeros(10, dtype=torch.int64)
    right, wrong = torch.tensor([9.0, 0, 0]), torch.tensor([0.0, 9, 0])
    first_right = [0] * 4 + [1] * 5 + [3] * 1  # no sample is best off at exit 2
    features = model.backbone.embed(inputs_for(model.backbone, 0))
    visits = []
    for place, block in enumerate((1, 2, 3, 4)):
        logits = torch.stack([right + place * -0.1 if place >= first else wrong for first in first_right])
        visits.append(Visit(block, model.exits[str(block)], features, ExitOutput(logits)))
    method.phases()[1].epoch_end(visits, targets)
    expected = [(10 - 4) / 4, (10 - 5) / 5, 5.0]
    assert [float(model.exits[str(b)].positive_weight) for b in (1, 2, 3)] == pytest.approx(expected)
    assert "exits.2.positive_weight" in model.state_dict(), "training that resumes must find them"
