"""Zero Time Waste: cascade and ensemble by definition, what each phase moves, the rule by hand, replay."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.nn import functional as F

from eebench.api import Recipe, Task
from eebench.engine.macs import exit_costs
from eebench.engine.optimise import make_optimizer
from eebench.engine.train import freeze
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
    train_step,
)
from eebench_methods.ztw import ZTW
from eebench_methods.ztw.method import GeometricEnsemble


def test_golden_trace_of_the_ensembles_confidence():
    # two classes, one sample; exits say p = (0.5, 0.5), (0.8, 0.2), (0.8, 0.2); all weights 1, no bias
    # ensemble of 1: (1, 1) -> 0.5
    # ensemble of 2: square roots, sqrt(.5·.8) : sqrt(.5·.2) = 2 : 1 -> 2/3
    # ensemble of 3: cube roots, (.5·.8·.8)^(1/3) : (.5·.2·.2)^(1/3) = 16^(1/3) : 1 -> 0.7159
    log_p = torch.tensor([[[0.5, 0.5], [0.8, 0.2], [0.8, 0.2]]]).log()
    top = []
    for members in (1, 2, 3):
        ensemble = GeometricEnsemble(members, 2)
        torch.nn.init.zeros_(ensemble.weight)
        top.append(torch.softmax(ensemble(log_p[:, :members]), -1).amax().item())
    assert top == pytest.approx([1 / 2, 2 / 3, 16 ** (1 / 3) / (1 + 16 ** (1 / 3))])
    rule, seen = ZTW().rule(Task(classes=2)), {"score": np.array([top])}
    found = {threshold: int(replay(rule, seen, threshold)[0]) for threshold in (-1.0, 0.49, 0.51, 0.6, 0.7, 0.8, 1.0)}
    assert found == {-1.0: 0, 0.49: 0, 0.51: 1, 0.6: 1, 0.7: 2, 0.8: 3, 1.0: 3}


def test_ensemble_is_a_weighted_geometric_mean():
    generator = torch.Generator().manual_seed(0)
    log_p = torch.log_softmax(2 * torch.randn(20, 4, 5, generator=generator), -1)
    ensemble = GeometricEnsemble(4, 5)
    with torch.no_grad():
        ensemble.weight.normal_(0, 0.5, generator=generator)
        ensemble.bias.normal_(0, 0.5, generator=generator)
    weights = ensemble.weight.exp().detach().numpy()
    product = np.prod(log_p.exp().double().numpy() ** (weights[:, None] / 4), 1) * np.exp(
        ensemble.bias.detach().numpy()
    )
    found = special.softmax(ensemble(log_p).detach().double().numpy(), 1)
    np.testing.assert_allclose(found, product / product.sum(1, keepdims=True), rtol=1e-4)
    with torch.no_grad():  # equal weights, no bias: the plain geometric mean
        ensemble.weight.zero_()
        ensemble.bias.zero_()
        plain = stats.gmean(log_p.exp().numpy(), 1)
        np.testing.assert_allclose(torch.exp(ensemble(log_p)), plain, rtol=1e-4)


def test_cascade_is_its_definition():
    _, model = build(ZTW, tiny_vit())
    features, previous, log_p = model.backbone.embed(inputs_for(model.backbone, 6)), None, []
    visits = model.trace(inputs_for(model.backbone, 6))
    for number in (1, 2, 3):
        features = model.backbone.block(number, features)
        head = model.exits[str(number)]
        read = features.tokens[:, 0]  # raw, no norm
        if previous is not None:
            normed = F.layer_norm(previous, (3,), head.norm.weight, head.norm.bias)
            read = torch.cat((read, normed), 1)
        previous = F.linear(read, head.classifier.weight, head.classifier.bias)
        log_p.append(F.log_softmax(previous, -1))
        torch.testing.assert_close(visits[number - 1].output.aux["own"], previous, atol=1e-5, rtol=1e-4)
        weights = head.ensemble.weight.exp()
        expected = sum(w * lp for w, lp in zip(weights, log_p, strict=True)) / number + head.ensemble.bias
        torch.testing.assert_close(visits[number - 1].logits, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(visits[3].logits, model.backbone.plain(inputs_for(model.backbone, 6)))


def test_no_gradient_flows_back_into_the_exit_before():
    method, model = build(ZTW, tiny_vit())
    phase = method.phases()[0]
    inputs, targets = inputs_for(model.backbone), classes_for()
    step = train_step(model, phase, inputs, targets, method.task)
    F.cross_entropy(step.visits[2].output.aux["own"], targets).backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None}
    assert moved == {f"exits.3.{name}" for name in ("classifier.weight", "classifier.bias", "norm.weight", "norm.bias")}


def test_phases_move_exits_then_ensembles_and_never_the_backbone():
    method, model = build(ZTW, tiny_vit())
    cascade, ensemble = method.phases()
    inputs, targets = inputs_for(model.backbone), classes_for()
    first = set(gradients(model, cascade, inputs, targets, method.task))
    second = set(gradients(model, ensemble, inputs, targets, method.task))
    every = {name for name, _ in model.named_parameters() if name.startswith("exits.")}
    assert second == {f"exits.{b}.ensemble.{p}" for b in (1, 2, 3) for p in ("weight", "bias")}
    assert first == every - second
    for phase, trained in ((cascade, first), (ensemble, second)):
        assert {name for name, _ in model.named_parameters() if phase.trains(name)} == trained
    assert cascade.share + ensemble.share == 1


def test_exponents_are_not_decayed():
    """The engine's own optimiser: released code has no weight decay on the ensembles."""
    method, model = build(ZTW, tiny_vit())
    freeze(model, method.phases()[1])
    recipe = Recipe(epochs=1, batch_size=8, lr=1e-3, weight_decay=0.1)
    decayed = [g["params"] for g in make_optimizer(model, recipe).param_groups if g["weight_decay"]]
    assert decayed == []
    assert [tuple(model.exits[str(block)].ensemble.weight.shape) for block in (1, 2, 3)] == [(1,), (2,), (3,)]


def test_losses_are_means_of_cross_entropies():
    method, model = build(ZTW, tiny_vit())
    inputs, targets = inputs_for(model.backbone, 8), classes_for(8)
    cascade, ensemble = method.phases()
    step = train_step(model, cascade, inputs, targets, method.task)
    own = [F.cross_entropy(visit.output.aux["own"], targets) for visit in step.visits[:3]]
    torch.testing.assert_close(cascade.loss(step), sum(own) / 3)
    answers = [F.cross_entropy(visit.logits, targets) for visit in step.visits[:3]]
    torch.testing.assert_close(ensemble.loss(step), sum(answers) / 3)
    assert sum(own).item() != pytest.approx(sum(answers).item(), rel=1e-3)


def test_either_idea_can_be_left_out():
    method, model = build(ZTW, tiny_vit(), cascade=False, ensemble=False)
    assert [phase.name for phase in method.phases()] == ["cascade"]
    assert method.phases()[0].share == 1
    assert {tuple(model.exits[str(b)].classifier.weight.shape) for b in (1, 2, 3)} == {(3, 32)}
    visits = model.trace(inputs_for(model.backbone, 4))
    for visit in visits[:3]:
        pooled = visit.features.tokens[:, 0]
        torch.testing.assert_close(
            visit.logits, F.linear(pooled, visit.head.classifier.weight, visit.head.classifier.bias)
        )


@pytest.mark.parametrize("kind", BACKBONES)
def test_replay_is_dynamic(kind):
    method, model = build(ZTW, BACKBONES[kind](3), noise=0.1)
    where = assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone), exits=3)
    assert (where[-1.0] == 0).all()
    assert (where[1.0] == len(model.blocks) - 1).all()


def test_replay_is_dynamic_with_half_of_it():
    for options in ({"cascade": False}, {"ensemble": False}):
        method, model = build(ZTW, tiny_vit(), **options)
        assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone))


def test_fixed_depth_runs_the_exits_before():
    _, model = build(ZTW, tiny_vit())
    inputs = inputs_for(model.backbone, 5)
    torch.testing.assert_close(model.static(inputs, 3), model.forced(inputs, 3), atol=0, rtol=0)


def test_costs_charge_every_head_passed():
    _, model = build(ZTW, tiny_vit())
    costs = exit_costs(model, inputs_for(model.backbone, 1))
    norm = 5 * 3  # LayerNorm of three logits at 5 an element
    np.testing.assert_array_equal(np.diff(costs.heads), [35 * 3 + norm, 35 * 3 + norm, 0])
    assert costs.heads[0] == 32 * 3
    assert (costs.gates == 0).all()
    assert (np.diff(costs.total) > 0).all()


def test_regression_is_skipped_and_options_are_typed():
    task = Task(kind="regression", classes=1, metric="pearson_spearman")
    assert "regression" in unmet(ZTW(), tiny_vit(outputs=1), task)
    (chosen,) = Registry.installed().choose("ztw[threshold=0.9,ensemble=false,blocks=2+4]")
    assert chosen.pinned == 0.9
    assert chosen.method == ZTW(blocks=(2, 4), ensemble=False)
