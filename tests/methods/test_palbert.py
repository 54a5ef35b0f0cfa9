"""PALBERT: the Q-exit by hand and against a one-liner, the halting layer, both training variants, replay."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from eebench.api import Task
from eebench.engine.macs import exit_costs
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
    train_step,
)
from eebench_methods.palbert import PALBERT
from eebench_methods.palbert.method import learned_log_halting, normal_prior
from eebench_methods.pondernet.halting import QExit

REGRESSION = Task(kind="regression", classes=1, metric="pearson_spearman")

# λ of three exits before the last, powers of two so that every product is exact
LAMBDA = np.array(
    [
        [0.5, 0.5, 0.5],  # CDF 0.5, 0.75, 0.875
        [0.25, 0.5, 0.0],  # 0.25, 0.625, 0.625
        [0.0, 0.0, 0.75],  # 0, 0, 0.75
        [0.0, 0.0, 0.0],  # 0, 0, 0
    ],
    dtype=np.float32,
)
GOLDEN = {  # q: where each sample stops, 3 being the last exit
    -1.0: [0, 0, 0, 0],
    0.0: [0, 0, 2, 3],  # strict: a CDF of 0 is not above 0
    0.25: [0, 1, 2, 3],
    0.5: [1, 1, 2, 3],  # the first sample's CDF is exactly 0.5 at the first exit
    0.625: [1, 3, 2, 3],
    0.75: [2, 3, 3, 3],
    0.875: [3, 3, 3, 3],
    1.0: [3, 3, 3, 3],
}


@pytest.mark.parametrize(("q", "where"), GOLDEN.items())
def test_golden_trace(q, where):
    assert replay(QExit(), {"go_on": 1 - LAMBDA}, q).tolist() == where


@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.77, 0.99, 1.0])
def test_q_exit_is_a_cumulative_product(q):
    halts = torch.rand(500, 11, generator=torch.Generator().manual_seed(0)).double() ** 2
    hit = torch.cat((1 - torch.cumprod(1 - halts, 1) > q, torch.ones(500, 1, dtype=torch.bool)), 1)
    assert replay(QExit(), {"go_on": (1 - halts).numpy()}, q).tolist() == hit.float().argmax(1).tolist()


def test_certainty_counts_where_one_minus_lambda_would_round_to_zero():
    # 1 - sigmoid(20) is 2e-9, lost in float32's 1 - 0.99999999; CDF is below 1, so q = 1 must not stop
    output = type("Output", (), {"signal": torch.tensor([20.0])})()
    seen = QExit().observe(output, 0, torch.zeros(1, dtype=torch.int64))
    assert float(seen["go_on"]) == pytest.approx(math.exp(-20), rel=1e-4)
    stop, _ = QExit().step({}, {"go_on": seen["go_on"].numpy()}, 1.0)
    assert not stop.any()


def test_grid_holds_the_papers_q_and_the_extremes():
    grid = QExit().grid({"go_on": 1 - LAMBDA})
    assert {-1.0, 0.5, 1.0} <= set(grid)
    assert {0.25, 0.75, 0.875} <= set(grid), "CDFs of the trace"


# --- the halting layer ---


@pytest.mark.parametrize("previous", ["cat", "diff", "linear"])
def test_halting_layer_reads_this_and_the_previous_vector(previous):
    _, model = build(PALBERT, tiny_vit(), previous=previous)
    features = model.backbone.embed(inputs_for(model.backbone, 5))
    head = model.exits["1"]
    before = torch.zeros(5, 32)
    for number in (1, 2, 3):
        features = model.backbone.block(number, features)
        cls = model.backbone.norm(features).tokens[:, 0]
        z = torch.tanh(F.linear(cls, head.pooler[1].weight, head.pooler[1].bias))
        u = {"cat": torch.cat((z, before), 1), "diff": z - before, "linear": z}[previous]
        linears = [layer for layer in head.gate if isinstance(layer, nn.Linear)]
        assert [tuple(layer.weight.shape) for layer in linears] == [(u.shape[1], u.shape[1])] * 3 + [(1, u.shape[1])]
        for layer in linears[:-1]:
            u = torch.tanh(F.linear(u, layer.weight, layer.bias))
        expected = F.linear(u, linears[-1].weight, linears[-1].bias)[:, 0]
        visit = model.trace(inputs_for(model.backbone, 5))[number - 1]
        torch.testing.assert_close(visit.output.signal, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(visit.logits, F.linear(z, head.classifier[1].weight, head.classifier[1].bias))
        before = z


def test_parameters_of_the_halting_layer():
    with torch.device("meta"):
        model = PALBERT().build(tiny_vit(), Task())
    gate = model[1].gate
    assert sum(p.numel() for p in gate.parameters()) == 3 * (64 * 64 + 64) + 64 + 1
    assert model[4].gate is gate
    assert model[4].pooler is model[1].pooler
    assert model[4].classifier is model[1].classifier


def test_one_pooler_a_width():
    _, model = build(PALBERT, BACKBONES["pyramid"](3))
    heads = list(model.exits.values())
    assert heads[0].pooler is heads[1].pooler
    assert heads[1].pooler is not heads[2].pooler
    assert heads[2].pooler is heads[3].pooler
    assert [tuple(heads[i].pooler[1].weight.shape) for i in (0, 2)] == [(32, 16), (32, 32)]


def test_costs_charge_every_gate_passed_and_one_classifier():
    _, model = build(PALBERT, tiny_vit())
    costs = exit_costs(model, inputs_for(model.backbone, 1))
    gate = 3 * 64 * 64 + 64
    np.testing.assert_array_equal(costs.gates, [gate, 2 * gate, 3 * gate, 3 * gate])
    assert (np.diff(costs.total) > 0).all()


# --- training ---


def released_p(halts, epsilon=0.05):
    """One sample's training distribution, block by block as the released forward pass builds it."""
    p, condition, cdf = [], 1.0, 0.0
    for halt in halts:
        now = halt * condition
        condition *= 1 - halt
        if cdf > 1 - epsilon:
            now = epsilon / len(halts)
        cdf += now
        p.append(now)
    return p


def test_learned_last_mass_is_the_released_loop():
    signals = torch.tensor([[-1.0, -1, -1, -1], [4, 0, 0, 0], [-1, 5, 1, 1], [0, 0, 0, 0], [1, 2, 3, 4]])
    expected = [released_p(row) for row in torch.sigmoid(signals.double()).tolist()]
    torch.testing.assert_close(learned_log_halting(signals).exp(), torch.tensor(expected))
    assert any(0.05 / 4 in row for row in expected), "some sample's mass must run out"
    assert min(sum(row) for row in expected) < 0.8, "some sample's mass must be left over"


def test_normal_prior_by_hand():
    # centred on 1/0.5 = 2: exp(-1), exp(0), exp(-1), exp(-4)
    mass = np.exp([-1.0, 0.0, -1.0, -4.0])
    np.testing.assert_allclose(normal_prior(0.5, 4), mass / mass.sum(), rtol=1e-6)
    assert normal_prior(0.9, 24).log().isfinite().all()


@pytest.mark.parametrize("last_mass", ["rest", "learned"])
@pytest.mark.parametrize("kl", ["forward", "reverse"])
def test_loss_is_the_expected_loss_and_the_divergence(last_mass, kl):
    method, model = build(PALBERT, tiny_vit(), last_mass=last_mass, kl=kl, lambda_p=0.4, beta=0.3, dropout=0.0)
    inputs, targets = inputs_for(model.backbone, 8), classes_for(8)
    phase = method.phases()[0]
    step = train_step(model, phase, inputs, targets, method.task)
    gate = model.exits["1"].gate
    z = [visit.output.carry["z"] for visit in step.visits]
    halts = [torch.sigmoid(gate(torch.cat((z[i], z[i - 1] if i else 0 * z[0]), 1)))[:, 0] for i in range(4)]
    if last_mass == "rest":
        halts[3] = torch.ones(8)
    by_definition = released_p if last_mass == "learned" else _products
    p = torch.tensor([by_definition([halt.detach() for halt in row]) for row in zip(*halts, strict=True)])
    losses = torch.stack([F.cross_entropy(visit.logits, targets, reduction="none") for visit in step.visits], 1)
    prior = torch.tensor([0.4, 0.24, 0.144, 0.216]).expand(8, 4)
    kl_div = F.kl_div(prior.log(), p, reduction="batchmean") if kl == "forward" else None
    kl_div = F.kl_div(p.log(), prior, reduction="batchmean") if kl_div is None else kl_div
    torch.testing.assert_close(phase.loss(step), (p * losses).sum(1).mean() + 0.3 * kl_div, atol=1e-5, rtol=1e-5)


def _products(halts):
    left, p = 1.0, []
    for halt in halts:
        p.append(halt.item() * left)
        left *= 1 - halt.item()
    return p


@pytest.mark.parametrize("last_mass", ["rest", "learned"])
def test_everything_that_answers_is_trained(last_mass):
    method, model = build(PALBERT, tiny_vit(), last_mass=last_mass)
    moved = set(gradients(model, method.phases()[0], inputs_for(model.backbone), classes_for(), method.task))
    still = {name for name, _ in model.named_parameters()} - moved
    assert still == {"backbone.net.head.weight", "backbone.net.head.bias"}  # set aside: the shared one answers


def test_the_last_exit_is_gated_in_training_only_when_its_mass_is_learned():
    for last_mass, expected in (("rest", 3), ("learned", 4)):
        method, model = build(PALBERT, tiny_vit(), last_mass=last_mass)
        asked: list[int] = []
        model.exits["1"].gate.register_forward_hook(lambda *_, asked=asked: asked.append(1))
        step = train_step(model, method.phases()[0], inputs_for(model.backbone, 4), classes_for(4), method.task)
        method.phases()[0].loss(step)
        assert len(asked) == expected
        asked.clear()
        model.eval().dynamic(inputs_for(model.backbone, 4), method.rule(), 1.0)
        assert len(asked) == 3


# --- replay ---


@pytest.mark.parametrize("kind", BACKBONES)
def test_replay_is_dynamic(kind):
    method, model = build(PALBERT, BACKBONES[kind](3))
    where = assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone), exits=3)
    assert (where[-1.0] == 0).all()
    assert (where[1.0] == len(model.blocks) - 1).all()


@pytest.mark.parametrize("previous", ["cat", "diff", "linear"])
def test_replay_is_dynamic_on_regression(previous):
    method, model = build(PALBERT, BACKBONES["text"](1), REGRESSION, previous=previous)
    assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone), exits=3)


def test_never_stopping_is_the_last_exit_alone():
    method, model = build(PALBERT, tiny_vit())
    inputs = inputs_for(model.backbone)
    torch.testing.assert_close(model.dynamic(inputs, method.rule(), 1.0).logits, model.static(inputs, 4))


def test_options_as_typed():
    (chosen,) = Registry.installed().choose("palbert[q=0.5,previous=linear,lambda_layers=0,last_mass=learned]")
    assert chosen.pinned == 0.5
    assert chosen.method == PALBERT(previous="linear", lambda_layers=0, last_mass="learned")
    with pytest.raises(ValueError, match="negative"):
        PALBERT(lambda_layers=-1)
