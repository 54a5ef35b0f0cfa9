"""JEI-DNN: gate features, targets and weights by brute force; exits; costs; replay."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn
from torch.nn import functional as F

from eebench.api import Task
from eebench.engine.macs import exit_costs
from eebench.plugins.needs import unmet
from eebench.plugins.registry import Registry
from eebench.testing import (
    BACKBONES,
    assert_replay_is_dynamic,
    build,
    inputs_for,
    replay,
    tiny_vit,
    trace,
)
from eebench_methods.jei_dnn import JEIDNN
from eebench_methods.jei_dnn.gates import (
    exit_probabilities,
    gate_features,
    gate_targets,
    importance,
    positive_weights,
)


def probabilities_by_definition(gates):
    """p_l = max(0, min(g_l, 1 - sum_{j<l} g_j)), in double precision."""
    p = []
    for place, gate in enumerate(gates):
        p.append(max(0.0, min(gate, 1 - sum(gates[:place]))))
    return p


def test_exit_probabilities():
    gates = torch.from_numpy(np.random.default_rng(1).beta(0.6, 1.5, (300, 6)))
    expected = [probabilities_by_definition(row) for row in gates.tolist()]
    p = exit_probabilities(gates)
    torch.testing.assert_close(p, torch.tensor(expected, dtype=torch.float64))
    assert float(p.sum(1).max()) <= 1 + 1e-12
    assert float((gates.sum(1) > 1).double().mean()) > 0.3, "the cap must matter for some samples"


def test_gate_features_against_scipy():
    logits = 3 * torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    p = special.softmax(logits.double().numpy(), 1)
    ordered = np.sort(p, 1)
    squared = p**2 / (p**2).sum(1, keepdims=True)
    expected = [
        ordered[:, -1],
        stats.entropy(p, axis=1),
        ordered[:, -1] - ordered[:, -2],
        stats.entropy(squared, axis=1),
    ]
    np.testing.assert_allclose(gate_features(logits), np.stack(expected, 1), atol=1e-5)
    uniform = gate_features(torch.zeros(1, 5))[0]
    np.testing.assert_allclose(uniform, [1 / 5, math.log(5), 0, math.log(5)], atol=1e-6)  # nats, not normalised
    assert gate_features(torch.tensor([[500.0, 0, 0]])).isfinite().all()


def test_gate_targets_by_brute_force():
    losses = torch.rand(200, 5, generator=torch.Generator().manual_seed(0))
    costs = torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0])
    best, targets = gate_targets(losses, costs, 0.5)
    for row in range(200):
        totals = [float(losses[row, place] + 0.5 * costs[place]) for place in range(5)]
        first = min(range(5), key=totals.__getitem__)
        assert int(best[row]) == first
        assert targets[row].tolist() == [float(place >= first) for place in range(4)]
    assert set(best.tolist()) == set(range(5))


@pytest.mark.parametrize(("tradeoff", "where"), [(0.0, 4), (1e3, 0)])
def test_trade_off_extremes(tradeoff, where):
    losses = torch.tensor([[5.0, 4, 3, 2, 1]])
    best, targets = gate_targets(losses, torch.arange(1, 6) / 5, tradeoff)
    assert int(best) == where
    assert targets.tolist() == [[float(where == 0)] * 4]


def test_positive_weights_by_hand():
    # of 20 samples 2 are best off at exit 0, none at 1, 10 at 2: min(18 / 2, 5), min(20 / 0.1, 5), 10 / 10
    best = torch.tensor([0] * 2 + [2] * 10 + [3] * 8)
    assert positive_weights(best, 3).tolist() == [5.0, 5.0, 1.0]
    assert positive_weights(torch.tensor([0] * 4 + [1] * 6), 3)[:2].tolist() == pytest.approx([6 / 4, 4 / 6])


def test_importance_keeps_each_samples_total_and_follows_the_probabilities():
    generator = torch.Generator().manual_seed(0)
    losses, p = torch.rand(50, 4, generator=generator), torch.rand(50, 4, generator=generator) / 4
    weights = importance(losses, p)
    torch.testing.assert_close((weights * losses).sum(1), losses.sum(1))
    torch.testing.assert_close(weights / weights.sum(1, keepdim=True), p / p.sum(1, keepdim=True))


def test_importance_is_zero_not_nan_without_probability_or_loss():
    weights = importance(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert weights.tolist() == [[0, 0], [0, 0]]


def test_with_a_gradient_through_it_the_weighting_would_cancel():
    """Why the released code's weights do nothing: its normaliser is not detached (finite differences)."""
    losses = torch.tensor([[0.5, 1.0, 2.0]], dtype=torch.float64)
    p = torch.tensor([[0.1, 0.7, 0.1]], dtype=torch.float64)

    def released(x):
        return (p * x * (x.sum(1) / (p * x).sum(1))[:, None]).mean()

    step = 1e-6 * torch.eye(3, dtype=torch.float64)
    slopes = [float((released(losses + s) - released(losses - s)) / 2e-6) for s in step]
    assert slopes == pytest.approx([1 / 3] * 3)
    assert importance(losses, p)[0].tolist() != pytest.approx([1.0] * 3)


# --- exits ---


def test_inference_modules_share_the_backbones_frozen_norm():
    _, model = build(JEIDNN, tiny_vit())
    features = model.backbone.embed(inputs_for(model.backbone, 5))
    features = model.backbone.block(2, model.backbone.block(1, features))
    net, head = model.backbone.net, model.exits["2"]
    cls = F.layer_norm(features.tokens[:, 0], (32,), net.norm.weight, net.norm.bias, net.norm.eps)
    output = head(features, {})
    torch.testing.assert_close(output.logits, F.linear(cls, head.classifier.weight, head.classifier.bias))
    torch.testing.assert_close(head.answer(features), output.logits)
    expected = F.linear(gate_features(output.logits), head.gate.weight, head.gate.bias)[:, 0]
    torch.testing.assert_close(output.signal, expected)
    assert not [n for n, _ in head.named_parameters() if "norm" in n]


def test_norm_of_a_backbone_without_class_token_comes_before_its_mean():
    class MeanOfNormed(type(BACKBONES["pyramid"](3))):
        def norm(self, features):
            return type(features)(nn.functional.layer_norm(features.tokens, (32,)), features.layout)

    backbone = MeanOfNormed()
    head = JEIDNN().build(backbone, Task(classes=3))[3]
    features = backbone.embed(inputs_for(backbone, 5))
    for number in (1, 2, 3):
        features = backbone.block(number, features)
    pooled = F.layer_norm(features.tokens, (32,)).mean(1)
    torch.testing.assert_close(head.answer(features), F.linear(pooled, head.classifier.weight, head.classifier.bias))


# --- inference ---


@pytest.mark.parametrize("kind", BACKBONES)
def test_replay_is_dynamic(kind):
    method, model = build(JEIDNN, BACKBONES[kind](3))
    where = assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone), exits=3)
    assert (where[1e6] == 0).all()
    assert (where[-1e6] == len(model.blocks) - 1).all()


def test_never_stopping_is_the_backbone_exactly():
    method, model = build(JEIDNN, tiny_vit())
    inputs = inputs_for(model.backbone)
    answer = model.dynamic(inputs, method.rule(), method.rule().knob.never).logits
    torch.testing.assert_close(answer, model.backbone.plain(inputs), atol=0, rtol=0)


def test_grid_of_a_model_holds_the_papers_rule_and_spreads_the_exits():
    method, model = build(JEIDNN, tiny_vit())
    seen, _ = trace(model, method.rule(), inputs_for(model.backbone))
    grid = method.rule().grid(seen)
    assert {-1e6, 0.0, 1e6} <= set(grid)
    means = [replay(method.rule(), seen, knob).mean() for knob in grid]
    assert means == sorted(means, reverse=True)
    assert -np.diff(means).min() < 3 / 5
    assert len(set(means)) > 30


def test_at_bias_zero_the_gates_own_probabilities_decide():
    method, model = build(JEIDNN, tiny_vit())
    seen, _ = trace(model, method.rule(), inputs_for(model.backbone))
    gates = torch.sigmoid(torch.stack([v.output.signal for v in model.trace(inputs_for(model.backbone))[:-1]], 1))
    p = exit_probabilities(gates)
    left = 1 - (p.cumsum(1) - p)
    stops = torch.cat((p >= left / 2, torch.ones(len(p), 1, dtype=torch.bool)), 1)
    assert replay(method.rule(), seen, 0.0).tolist() == stops.int().argmax(1).tolist()


def test_costs_charge_every_head_and_gate_passed():
    _, model = build(JEIDNN, tiny_vit())
    costs = exit_costs(model, inputs_for(model.backbone, 1))
    np.testing.assert_array_equal(costs.gates, [4, 8, 12, 12])
    head = 5 * 32 + 32 * 3  # LayerNorm of the class token at 5 an element, classifier
    np.testing.assert_array_equal(costs.heads, [head, 2 * head, 3 * head, 3 * head])
    assert costs.static[1] == pytest.approx(costs.backbone[1] + head), "at a fixed depth nothing is asked on the way"


def test_regression_is_skipped_and_options_are_typed():
    task = Task(kind="regression", classes=1, metric="pearson_spearman")
    assert "regression" in unmet(JEIDNN(), tiny_vit(outputs=1), task)
    assert unmet(JEIDNN(), tiny_vit(), Task(classes=3)) is None
    (chosen,) = Registry.installed().choose("jei_dnn[gate_bias=-0.5,tradeoff=0.15,im_weighting=p_exit,blocks=2+4]")
    assert chosen.pinned == -0.5
    assert chosen.method == JEIDNN(blocks=(2, 4), tradeoff=0.15, im_weighting="p_exit")
    assert JEIDNN().im_weighting == "uniform"
    with pytest.raises(ValueError, match="at least 1"):
        JEIDNN(alternate=0)
