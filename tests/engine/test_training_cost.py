"""Training costs: forward and backward counted by hand, cached features paid for once, memory seen while it is used."""

import time
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from eebench.api import Phase, Recipe, Task, only
from eebench.engine import training_cost
from eebench.engine.features import FeatureCache
from eebench.engine.macs import count
from eebench.engine.model import EarlyExitModel
from eebench.engine.train import backbone_phase, fit
from eebench.engine.training_cost import MacCounter, PeakMemory, TrainingCost, feature_macs, train_macs
from eebench.parts import LinearExit, joint_loss
from eebench.testing import tiny_backbone, tiny_data

CPU = torch.device("cpu")
TASK = Task(classes=3)


def joint(step):
    return joint_loss(step, [1.0] * len(step.visits))


JOINT = Phase("joint", joint)
EXITS = Phase("exits", joint, trains=only("exits."))
RECIPE = Recipe(epochs=3, batch_size=8, lr=1e-3)


def model_of(kind="vit"):
    torch.manual_seed(0)
    backbone = tiny_backbone(kind, 3, 3)
    return EarlyExitModel(backbone, {1: LinearExit(backbone.layouts[0], 3)})


def counted(run):
    with MacCounter() as counter:
        run()
    return counter.macs


def test_a_network_counted_by_hand():
    net, inputs = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(5, 4)
    assert counted(lambda: net(inputs)) == 5 * (4 * 8 + 8 * 2)
    # Backward: both weights, and the second layer's input; nobody asks for the gradient of the network's own input.
    assert counted(lambda: net(inputs).sum().backward()) == 5 * (2 * 4 * 8 + 3 * 8 * 2)
    net[0].requires_grad_(False)
    assert counted(lambda: net(inputs).sum().backward()) == 5 * (4 * 8 + 2 * 8 * 2)


def test_attention_forward_and_backward():
    query, key, value = (torch.randn(2, 3, 7, 4, requires_grad=True) for _ in range(3))
    product = 2 * 3 * 7 * 7 * 4
    answer = []
    run = nn.functional.scaled_dot_product_attention
    assert counted(lambda: answer.append(run(query, key, value))) == 2 * product
    assert counted(lambda: answer[0].sum().backward()) == 5 * product  # the scores again, and four gradients


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_fused_layer_costs_what_its_parts_do(norm_first):
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=norm_first).eval().requires_grad_(False)
    attention = nn.MultiheadAttention(16, 4, batch_first=True).eval().requires_grad_(False)
    inputs, found = torch.randn(2, 7, 16), []
    for fused in (True, False):
        torch.backends.mha.set_fastpath_enabled(fused)
        try:
            with torch.no_grad():
                asked = (inputs, inputs, inputs)
                found.append((counted(lambda: layer(inputs)), counted(lambda q=asked: attention(*q))))
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
    assert found[0] == found[1]
    assert found[0][0] == 2 * 7 * (4 * 16 * 16 + 2 * 16 * 32 + 2 * 7 * 16)


@pytest.mark.parametrize("kind", ["vit", "swin", "resnet", "text"])
def test_forward_is_what_fvcore_counts_without_norms(kind):
    model = model_of(kind).eval()
    inputs = model.backbone.example() if kind != "text" else model.backbone.example(7)
    known = count(model, lambda x: [visit.logits for visit in model.trace(x)], inputs).by_operator
    products = sum(known.get(name, 0) for name in ("conv", "linear", "matmul", "attention"))
    with torch.no_grad():
        assert counted(lambda: model.trace(inputs)) == products


def cost_of(phase, *, cache=None, recipe=RECIPE, kind="vit", samples=24, every=1):
    model, data = model_of(kind), tiny_data(kind, TASK, samples)
    history = fit(model, phase, recipe, data, seed=1, device=CPU, cache=cache)
    return history.cost, model, data


def test_steps_that_are_not_counted_cost_what_the_counted_ones_do(monkeypatch):
    monkeypatch.setattr(training_cost, "FIRST", 2)
    cost, model, data = cost_of(JOINT)
    assert (cost.samples, cost.counted_samples) == (3 * 24, 2 * 8)
    model.train().requires_grad_(True)
    batch = model.backbone.prepare([data.train.inputs[i] for i in range(8)])
    once = counted(lambda: joint_loss_of(model, batch).backward())
    assert cost.macs == pytest.approx(once * 9)
    assert cost.features == 0


def joint_loss_of(model, batch):
    losses = [TASK.loss(visit.logits, torch.zeros(8, dtype=torch.int64)).mean() for visit in model.trace(batch)]
    return torch.stack(losses).sum()


def test_counting_changes_no_weight(monkeypatch):
    found = []
    for first in (0, 10**6):
        monkeypatch.setattr(training_cost, "FIRST", first)
        monkeypatch.setattr(training_cost, "EVERY", 10**6 if first == 0 else 1)
        _, model, _ = cost_of(JOINT)
        found.append(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(found[0].values(), found[1].values(), strict=True))


def test_a_step_that_memory_did_not_suffice_for_is_counted_as_it_went_well():
    cost, _, data = cost_of(JOINT, recipe=Recipe(epochs=1, batch_size=8, lr=1e-3), samples=8)
    again, failed = model_of(), []

    def short(step):
        loss = joint(step)
        if not failed:
            failed.append(True)
            torch.empty(2**60)  # torch says that it cannot allocate memory
        return loss

    history = fit(again, Phase("p", short), Recipe(epochs=1, batch_size=8, lr=1e-3), data, seed=1, device=CPU)
    assert failed
    assert history.parts == 2
    assert history.cost.counted == cost.counted


def test_a_frozen_backbone_whose_features_are_kept_is_paid_for_once():
    kept, model, data = cost_of(EXITS, cache=FeatureCache())
    again, _, _ = cost_of(EXITS)
    forward = feature_macs(model, data)
    heads = kept.macs
    assert kept.features == forward > 0
    assert again.features == 0
    assert again.macs == pytest.approx(heads + 3 * forward), "without keeping, one pass an epoch"
    both = train_macs([kept, kept])
    assert both == pytest.approx(2 * heads + forward), "neighbouring phases share the pass"
    trained = cost_of(JOINT)[0]
    assert train_macs([kept, trained, kept]) == pytest.approx(2 * heads + trained.macs + 2 * forward)


def test_texts_are_counted_at_their_own_lengths():
    model, data = model_of("text").eval(), tiny_data("text", TASK, 6)
    lengths = model.backbone.lengths(data.train.inputs)
    assert len(set(lengths.tolist())) > 1
    with torch.no_grad():
        one_by_one = sum(counted(lambda n=int(n): blocks_of(model, model.backbone.example(n))) for n in lengths)
    assert feature_macs(model, data) == pytest.approx(one_by_one)


def blocks_of(model, inputs):
    features = model.backbone.embed(inputs)
    for number in range(1, model.backbone.depth + 1):
        features = model.backbone.block(number, features)


def test_validation_passes_are_in_it():
    plain, model, data = cost_of(backbone_phase())
    chosen, _, _ = cost_of(backbone_phase(), recipe=Recipe(epochs=3, batch_size=8, lr=1e-3, keep_best=True))
    with torch.no_grad():
        one = counted(lambda: model.trace(model.backbone.prepare(list(data.val.inputs))))
    assert (chosen.validation, chosen.validations) == (one, 3)
    assert chosen.macs == pytest.approx(plain.macs + 3 * one)


def test_a_cost_survives_json():
    cost = cost_of(EXITS, cache=FeatureCache())[0]
    assert TrainingCost(**asdict(cost)) == cost
    assert cost.peak_kind == "resident"
    assert cost.peak_mb > 50, "Python and torch alone take more"


def test_memory_used_for_a_moment_is_seen():
    with PeakMemory(CPU) as memory:
        before = memory.peak
        block = np.ones(40 << 20, dtype=np.uint8)
        time.sleep(4 * training_cost.SAMPLED)
        del block
    assert memory.peak >= before + (38 << 20)
    assert memory.kind == "resident"
    assert not memory._watch.is_alive()
