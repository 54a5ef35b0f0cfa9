"""The one training loop: what moves, what stays, what is reused, and what is said when it goes wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from eebench.api import Phase, Recipe, only
from eebench.data.base import Task, batches
from eebench.features import FeatureCache
from eebench.model import EarlyExitModel
from eebench.parts import LinearExit, joint_loss
from eebench.spec import BUDGETS
from eebench.tiny import tiny_backbone, tiny_data
from eebench.train import Plan, backbone_phase, default_lr, fit, phase_plan, steps_per_epoch
from eebench.train import _optimizer as make_optimizer
from eebench.train import _schedule as make_schedule

TASK = Task(classes=4)
CPU = torch.device("cpu")
PLAN = Plan(epochs=2, batch_size=16, lr=1e-3)


def model_of(kind="vit", seed=0):
    torch.manual_seed(seed)
    backbone = tiny_backbone(kind, TASK.outputs, depth=4)
    return EarlyExitModel(
        backbone, {k: LinearExit(backbone.layouts[k - 1], TASK.outputs, norm=True) for k in (1, 2, 3)}
    )


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


JOINT = Phase("joint", lambda step: joint_loss(step, [1.0] * len(step.visits)))
HEADS = replace(JOINT, name="heads", trains=only("exits."))


@pytest.mark.parametrize("kind", ["vit", "resnet", "text"])
def test_a_frozen_backbone_stays_bit_identical(kind):
    model = model_of(kind)
    before = state(model.backbone)
    fit(model, HEADS, PLAN, tiny_data(kind, TASK), seed=0, device=CPU)
    assert same(before, state(model.backbone))  # batch-norm statistics included
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("kind", ["vit", "text"])
def test_cached_features_train_the_same_exits(kind):
    data = tiny_data(kind, TASK)
    plain, cached = model_of(kind), model_of(kind)
    fit(plain, HEADS, PLAN, data, seed=3, device=CPU)
    cache = FeatureCache()
    fit(cached, HEADS, PLAN, data, seed=3, device=CPU, cache=cache)
    assert cache.fits(cached, data)
    for name, value in plain.exits.state_dict().items():
        torch.testing.assert_close(value, cached.exits.state_dict()[name], atol=1e-5, rtol=1e-4)


def test_the_cache_is_filled_once_for_every_method_and_again_when_the_backbone_moves(monkeypatch):
    data, model = tiny_data("vit", TASK), model_of()
    cache = FeatureCache()
    calls = []
    original = model.backbone.embed
    monkeypatch.setattr(model.backbone, "embed", lambda inputs: calls.append(len(inputs)) or original(inputs))
    assert cache.fits(model, data)
    assert sum(calls) == len(data.train)
    assert cache.fits(model, data)
    assert sum(calls) == len(data.train)
    with torch.no_grad():
        next(model.backbone.parameters()).add_(0.1)
    assert cache.fits(model, data)
    assert sum(calls) == 2 * len(data.train)


def test_the_cache_declines_random_inputs_and_a_budget_too_small():
    data, model = tiny_data("vit", TASK), model_of()
    assert not FeatureCache().fits(model, replace(data, augments=True))
    assert not FeatureCache(budget=1000).fits(model, data)


def test_cached_text_features_are_padded_to_the_batch():
    data, model = tiny_data("text", TASK), model_of("text")
    cache = FeatureCache()
    assert cache.fits(model, data)
    batch = next(batches(data.train, model.backbone.prepare, 8, seed=1))
    fresh = model.trace(batch.inputs)
    for visit in fresh:
        stored = cache.rows(batch.ids, model.blocks)[visit.block]
        assert torch.equal(stored.mask, visit.features.mask)
        keep = visit.features.mask
        torch.testing.assert_close(stored.tokens[keep], visit.features.tokens[keep], atol=1e-5, rtol=1e-4)


def test_one_seed_one_result_another_seed_another():
    results = []
    for seed in (1, 1, 2):
        model = model_of()
        fit(model, JOINT, PLAN, tiny_data("vit", TASK), seed=seed, device=CPU)
        results.append(state(model))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_training_learns():
    model = model_of()
    losses = fit(model, backbone_phase(), replace(PLAN, epochs=25, lr=3e-3), tiny_data("vit", TASK), seed=0, device=CPU)
    assert len(losses) == 25
    assert losses[-1] < 0.7 * losses[0]


def test_a_phase_that_trains_nothing_and_a_loss_that_is_no_number():
    data = tiny_data("vit", TASK)
    with pytest.raises(ValueError, match="trains no parameter"):
        fit(model_of(), replace(JOINT, trains=only("nothing.")), PLAN, data, seed=0, device=CPU)
    bad = replace(JOINT, loss=lambda step: step.visits[0].logits.sum() * float("nan"))
    with pytest.raises(FloatingPointError, match="joint"):
        fit(model_of(), bad, PLAN, data, seed=0, device=CPU)


def test_the_end_of_an_epoch_sees_every_validation_sample():
    data, seen = tiny_data("vit", TASK), []
    phase = replace(HEADS, epoch_end=lambda visits, targets: seen.append((visits, targets)))
    fit(model_of(), phase, PLAN, data, seed=0, device=CPU)
    assert len(seen) == PLAN.epochs
    visits, targets = seen[0]
    assert [v.block for v in visits] == [1, 2, 3, 4]
    assert visits[0].logits.shape == (len(data.val), TASK.outputs)
    assert np.array_equal(targets.numpy(), data.val.targets)


def test_biases_and_norms_are_not_decayed_and_the_backbone_moves_slower():
    model = model_of()
    optimizer = make_optimizer(model, replace(PLAN, weight_decay=0.05, backbone_lr_scale=0.3))
    seen = 0
    for group in optimizer.param_groups:
        matrices = {p.ndim > 1 for p in group["params"]}
        assert len(matrices) == 1
        assert group["weight_decay"] == (0.05 if matrices == {True} else 0.0)
        of_backbone = {any(p is q for q in model.backbone.parameters()) for p in group["params"]}
        assert group["lr"] == pytest.approx(3e-4 if of_backbone == {True} else 1e-3)
        seen += len(group["params"])
    assert seen == len(list(model.parameters()))


def test_schedules():
    cosine = make_schedule(replace(PLAN, warmup=0.1), 100)
    assert [cosine(0), cosine(9), cosine(10)] == pytest.approx([0.1, 1.0, 1.0])
    assert cosine(55) == pytest.approx(0.5)
    assert cosine(100) == pytest.approx(0.0, abs=1e-9)
    linear = make_schedule(replace(PLAN, warmup=0.0, schedule="linear"), 100)
    assert [linear(0), linear(50), linear(100)] == pytest.approx([1.0, 0.5, 0.0])
    assert make_schedule(replace(PLAN, warmup=0.0, schedule="constant"), 100)(99) == 1.0


def test_every_method_gets_the_same_passes_and_paper_its_own():
    base = replace(PLAN, epochs=40)
    two = [replace(JOINT, share=0.5), replace(HEADS, share=0.5, lr_scale=2.0)]
    plans = [phase_plan(p, 20, base, paper=False) for p in two]
    assert sum(p.epochs for p in plans) == phase_plan(JOINT, 20, base, paper=False).epochs == 20
    assert plans[1].lr == 2 * base.lr
    recipe = Recipe(epochs=50, lr=5e-5, batch_size=192, schedule="linear", clip=1.0)
    paper = phase_plan(replace(JOINT, paper=recipe), 20, base, paper=True)
    assert (paper.epochs, paper.lr, paper.batch_size, paper.schedule, paper.backbone_lr_scale) == (
        50,
        5e-5,
        192,
        "linear",
        1,
    )
    assert phase_plan(JOINT, 20, base, paper=True).epochs == 20  # no recipe known: the budget's


def test_budgets():
    quick = BUDGETS["quick"]
    assert quick.epochs(1200, pretrained=False) == 40
    assert quick.method_epochs(1200, pretrained=False) == 20
    assert quick.epochs(3872, pretrained=True) == 4
    assert quick.epochs(10**6, pretrained=False) == 2
    assert BUDGETS["smoke"].epochs(128, pretrained=False) == 1


def test_default_learning_rates():
    assert default_lr(64, pretrained=False) == 1e-3
    assert default_lr(768, pretrained=False) == pytest.approx(1e-3 / np.sqrt(12))
    assert default_lr(768, pretrained=True) == 1e-4


@pytest.mark.parametrize("samples", [1, 2, 15, 16, 17, 18, 32, 33, 50])
def test_a_last_batch_of_one_joins_the_one_before(samples):
    data = tiny_data("vit", TASK, samples=samples) if samples > 3 else tiny_data("vit", TASK, samples=4)
    split = replace(data.train, inputs=data.train.inputs[:samples], targets=data.train.targets[:samples])
    sizes = [len(b.targets) for b in batches(split, torch.stack, 16, seed=0)]
    assert sum(sizes) == samples
    assert len(sizes) == steps_per_epoch(samples, 16)
    assert samples == 1 or min(sizes) > 1


def test_batches_are_a_function_of_seed_and_epoch():
    data = tiny_data("vit", TASK)
    ids = [
        [b.ids.tolist() for b in batches(data.train, torch.stack, 16, seed=s, epoch=e)]
        for s, e in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]
    assert ids[0] != ids[3]
    assert sorted(i for batch in ids[2] for i in batch) == list(range(len(data.train)))
