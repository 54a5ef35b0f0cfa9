"""The training loop: what moves, what a loss is told, learning rates, and the cache that must not show."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from eebench.api import Backbone, Phase, Recipe, Task, only
from eebench.engine.features import FeatureCache
from eebench.engine.model import EarlyExitModel
from eebench.engine.train import (
    BACKBONE_LR_SCALE,
    Plan,
    _optimizer,
    _schedule,
    backbone_phase,
    default_lr,
    fit,
    phase_plans,
    share_epochs,
    steps_per_epoch,
    trains_backbone,
)
from eebench.parts import LinearExit, joint_loss
from eebench.plugins.tiny import TinyText, tiny_backbone, tiny_data

CPU = torch.device("cpu")
TASK = Task(classes=3)
PLAN = Plan(epochs=2, batch_size=16, lr=1e-2)


class Dropped(LinearExit):
    """A linear exit with dropout, so that random numbers are drawn in training."""

    def __init__(self, layout, outputs):
        super().__init__(layout, outputs, norm=True)
        self.pooler = nn.Dropout(0.3)


def model_of(kind="vit", backbone=None, seed=0):
    torch.manual_seed(seed)
    backbone = backbone or tiny_backbone(kind, TASK.classes, 4)
    assert isinstance(backbone, Backbone)
    blocks = range(1, backbone.depth)
    return EarlyExitModel(backbone, {b: Dropped(backbone.layouts[b - 1], TASK.classes) for b in blocks})


def joint(step):
    return joint_loss(step, [1.0] * len(step.visits))


EXITS = Phase("exits", joint, trains=only("exits."))
ALL = Phase("all", joint)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], **(tolerance or {"rtol": 0, "atol": 0}))


# --- what moves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", ["vit", "resnet", "text"])
def test_a_frozen_backbone_is_bit_for_bit_what_it_was(kind, cached):
    model, data = model_of(kind), tiny_data(kind, TASK, 40)
    before = weights(model)
    fit(model, EXITS, PLAN, data, seed=1, device=CPU, cache=FeatureCache() if cached else None)
    after = weights(model)
    assert_same(*({n: v for n, v in w.items() if n.startswith("backbone.")} for w in (before, after)))
    moved = [n for n in before if n.startswith("exits.") and not torch.equal(before[n], after[n])]
    assert any("classifier" in n for n in moved)


def test_only_what_a_phase_names_is_trained():
    model, data = model_of(), tiny_data("vit", TASK, 32)
    before = weights(model)
    fit(model, Phase("one", joint, trains=only("exits.2.", "backbone.net.head.")), PLAN, data, seed=1, device=CPU)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(("exits.2.", "backbone.net.head.")) for name in moved)


def test_what_is_frozen_is_in_eval_mode_while_training_and_everything_afterwards():
    model, data = model_of(), tiny_data("vit", TASK, 16)
    modes = {}

    def look(step):
        modes.update({name: module.training for name, module in model.named_modules()})
        return joint(step)

    fit(model, Phase("one", look, trains=only("exits.2.")), Plan(1, 16, 1e-3), data, seed=1, device=CPU)
    assert modes["exits.2"]
    assert not any(modes[name] for name in ("backbone", "backbone.net.blocks.0", "exits.1", "exits.3"))
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())


def test_a_phase_that_trains_nothing_is_an_error():
    with pytest.raises(ValueError, match="'idle' trains no parameter"):
        fit(model_of(), Phase("idle", joint, trains=only("nobody.")), PLAN, tiny_data("vit", TASK), seed=1, device=CPU)


def test_a_loss_that_is_no_scalar_is_named():
    phase = Phase("wide", lambda step: step.loss(step.visits[-1].logits, step.targets))
    with pytest.raises(ValueError, match=r"the loss of phase 'wide' has shape \(\d+,\), it must be a scalar"):
        fit(model_of(), phase, PLAN, tiny_data("vit", TASK), seed=1, device=CPU)


def test_the_backbone_learns():
    torch.manual_seed(0)
    model, data = EarlyExitModel(tiny_backbone("vit", 3, 3), {}), tiny_data("vit", TASK, 64)
    history = fit(model, backbone_phase(), Plan(25, 16, 3e-3), data, seed=1, device=CPU)
    assert len(history) == 25
    assert history[-1] < 0.75 * history[0]


def test_trains_backbone():
    model = model_of()
    assert trains_backbone(model, ALL)
    assert not trains_backbone(model, EXITS)


# --- reproducible, cached or not -------------------------------------------------------------------------------------


def test_a_seed_decides_everything():
    data = tiny_data("vit", TASK, 40)
    found = []
    for seed in (1, 1, 2):
        model = model_of()
        torch.manual_seed(100 + len(found))  # whatever was drawn before does not matter
        history = fit(model, ALL, PLAN, data, seed=seed, device=CPU)
        found.append((history, weights(model)))
    assert found[0][0] == found[1][0]
    assert_same(found[0][1], found[1][1])
    assert found[0][0] != found[2][0]


class LeavesMasksOut(TinyText):
    """Like the transformers adapters: no mask where nothing is padded."""

    def embed(self, inputs):
        features = super().embed(inputs)
        assert features.mask is not None
        return features if not features.mask.all() else type(features)(features.tokens, features.layout)

    def block(self, number, features):
        if features.mask is not None:
            return super().block(number, features)
        return type(features)(self.blocks[number - 1](features.tokens), features.layout)


class MeanText(LeavesMasksOut):
    """A text backbone without a class token: pooling must leave padding out."""

    def __init__(self, outputs, depth=4):
        super().__init__(outputs, depth)
        self.layouts = tuple(copy.copy(type(layout)(layout.dim, cls=False)) for layout in self.layouts)


def same_lengths(data):
    data.train.inputs[:] = [row[:4] for row in data.train.inputs]


def last_alone(data):
    """The cache is filled 64 samples at a time; the last of 65 comes alone, so its batch has no padding."""
    assert len(data.train) == 65


@pytest.mark.parametrize(
    ("make", "samples", "change"),
    [
        (lambda: tiny_backbone("vit", 3, 4), 40, None),
        (lambda: tiny_backbone("swin", 3), 24, None),
        (lambda: TinyText(3, 4), 40, None),
        (lambda: MeanText(3), 40, None),
        (lambda: MeanText(3), 40, same_lengths),
        (lambda: MeanText(3), 65, last_alone),
    ],
    ids=["vit", "swin", "text", "text, mean pooled", "text, one length", "text, last alone"],
)
def test_a_cached_phase_gives_the_weights_of_an_uncached_one(make, samples, change):
    data = tiny_data("text" if "Text" in type(make()).__name__ else "vit", TASK, samples)
    if change:
        change(data)
    found = []
    for cache in (None, FeatureCache()):
        torch.manual_seed(0)
        model = model_of(backbone=make())
        history = fit(model, EXITS, PLAN, data, seed=1, device=CPU, cache=cache)
        found.append((history, weights(model)))
    assert_same(found[0][1], found[1][1], rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    assert cache is not None
    assert cache._tokens, "the cache was never used"


# --- what the loss and the end of an epoch are told ------------------------------------------------------------------


def test_a_loss_is_told_where_it_is():
    data, told = tiny_data("vit", TASK, 40), []

    def note(step):
        told.append((step.index, step.epoch, step.batch, len(step.targets), len(step.visits)))
        return joint(step)

    progress = []
    model = model_of()
    fit(model, Phase("p", note), Plan(2, 16, 1e-3), data, seed=1, device=CPU, progress=lambda *p: progress.append(p))
    assert told == [
        (0, 0, 0, 16, 4),
        (1, 0, 1, 16, 4),
        (2, 0, 2, 8, 4),
        (3, 1, 0, 16, 4),
        (4, 1, 1, 16, 4),
        (5, 1, 2, 8, 4),
    ]
    assert [(done, total) for done, total, _ in progress] == [(i, 6) for i in range(1, 7)]
    assert math.isfinite(progress[-1][2])


def test_every_sample_is_seen_once_an_epoch_in_another_order():
    data, seen = tiny_data("vit", TASK, 40), []
    data.train.targets[:] = 0
    data.train.targets[:10] = 1

    def note(step):
        seen.append(step.targets.tolist())
        return joint(step)

    fit(model_of(), Phase("p", note), Plan(2, 16, 1e-3), data, seed=1, device=CPU)
    first, second = ([t for batch in part for t in batch] for part in (seen[:3], seen[3:]))
    assert sum(first) == sum(second) == 10
    assert first != second


@pytest.mark.parametrize(
    ("samples", "size", "steps"), [(40, 16, 3), (32, 16, 2), (33, 16, 2), (34, 16, 3), (1, 16, 1), (5, 16, 1)]
)
def test_a_last_sample_alone_joins_the_batch_before(samples, size, steps):
    assert steps_per_epoch(samples, size) == steps
    data, sizes = tiny_data("vit", TASK, samples), []

    def note(step):
        sizes.append(len(step.targets))
        return joint(step)

    fit(model_of(), Phase("p", note), Plan(1, size, 1e-3), data, seed=1, device=CPU)
    assert len(sizes) == steps
    assert sum(sizes) == samples
    assert min(sizes) > 1 or samples == 1


@pytest.mark.parametrize("kind", ["vit", "text"])
def test_epoch_end_gets_validation_outputs(kind):
    model, data, calls = model_of(kind), tiny_data(kind, TASK, 40), []

    def look(visits, targets):
        calls.append((visits, targets, weights(model)))

    fit(model, Phase("p", joint, epoch_end=look), Plan(2, 8, 1e-3), data, seed=1, device=CPU)
    assert len(calls) == 2
    for visits, targets, state in calls:
        assert targets.tolist() == data.val.targets.tolist()
        assert [v.block for v in visits] == list(model.blocks)
        then = model_of(kind)
        then.load_state_dict(state)
        with torch.no_grad():
            expected = then.eval().trace(then.backbone.prepare(data.val.inputs))
        for visit, other in zip(visits, expected, strict=True):
            torch.testing.assert_close(visit.logits, other.logits, rtol=1e-4, atol=1e-5)
            assert not visit.logits.requires_grad
            assert len(visit.features.tokens) == 0


def test_training_goes_on_as_before_after_an_epoch_end():
    model, data, modes = model_of(), tiny_data("vit", TASK, 16), []

    def note(step):
        modes.append((model.exits["1"].training, model.backbone.training))
        return joint(step)

    phase = Phase("p", note, trains=only("exits."), epoch_end=lambda visits, targets: None)
    fit(model, phase, Plan(2, 16, 1e-3), data, seed=1, device=CPU)
    assert modes == [(True, False), (True, False)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_phase(bad):
    phase = Phase("broken", lambda step: joint(step) * bad)
    with pytest.raises(FloatingPointError, match=r"phase 'broken' is (nan|inf) in epoch 1"):
        fit(model_of(), phase, PLAN, tiny_data("vit", TASK, 32), seed=1, device=CPU)


# --- optimisation ----------------------------------------------------------------------------------------------------


def groups(plan, phase=ALL):
    model = model_of()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(phase.trains(name))
    names = {id(p): n for n, p in model.named_parameters()}
    found = {}
    for group in _optimizer(model, plan).param_groups:
        for parameter in group["params"]:
            found[names[id(parameter)]] = (parameter.ndim, group["lr"], group["weight_decay"])
    return found, model


def test_biases_and_norms_are_not_decayed_and_the_backbone_learns_slower():
    found, model = groups(Plan(1, 16, 1e-2, weight_decay=0.05, backbone_lr_scale=0.3))
    assert found.keys() == {name for name, _ in model.named_parameters()}
    for name, (ndim, lr, decay) in found.items():
        assert lr == pytest.approx(3e-3 if name.startswith("backbone.") else 1e-2), name
        assert decay == (0.05 if ndim > 1 else 0.0), name
    assert {ndim > 1 for ndim, *_ in found.values()} == {True, False}


def test_frozen_parameters_are_not_given_to_the_optimizer():
    found, model = groups(Plan(1, 16, 1e-2), EXITS)
    assert found.keys() == {name for name, _ in model.named_parameters() if name.startswith("exits.")}


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_optimizers_by_name(name, kind):
    optimizer = _optimizer(model_of(), Plan(1, 16, 1e-2, optimizer=name, momentum=0.7))
    assert type(optimizer) is kind
    if name == "sgd":
        assert {group["momentum"] for group in optimizer.param_groups} == {0.7}


def test_gradients_are_clipped_to_a_norm():
    model, data = model_of(), tiny_data("vit", TASK, 16)
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    plan = Plan(1, 16, 1.0, weight_decay=0.0, optimizer="sgd", momentum=0.0, warmup=0.0, clip=1e-3)
    fit(model, Phase("p", lambda step: 1e3 * joint(step)), plan, data, seed=1, device=CPU)
    step = nn.utils.parameters_to_vector(model.parameters()).detach() - before
    assert float(step.norm()) == pytest.approx(1e-3, rel=1e-3)


def learning_rates(plan, total):
    factor = _schedule(plan, total)
    return [factor(step) for step in range(total)]


def test_cosine_with_warm_up_is_torchs_own():
    plan, total, warm = Plan(1, 1, 1.0, warmup=0.2), 50, 10
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    rising = LinearLR(optimizer, 1 / warm, 1.0, total_iters=warm - 1)
    schedule = SequentialLR(optimizer, [rising, CosineAnnealingLR(optimizer, total - warm)], [warm])
    expected = []
    for _ in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(learning_rates(plan, total), expected, atol=1e-12)


def test_schedules_by_hand():
    assert learning_rates(Plan(1, 1, 1.0, schedule="constant", warmup=0.5), 4) == [0.5, 1.0, 1.0, 1.0]
    assert learning_rates(Plan(1, 1, 1.0, schedule="linear", warmup=0.0), 4) == [1.0, 0.75, 0.5, 0.25]
    assert learning_rates(Plan(1, 1, 1.0, warmup=0.0), 2) == pytest.approx([1.0, 0.5])
    assert learning_rates(Plan(1, 1, 1.0), 1) == [1.0]


def test_default_learning_rate():
    assert default_lr(64, pretrained=False) == default_lr(16, pretrained=False) == 1e-3
    assert default_lr(256, pretrained=False) == pytest.approx(5e-4)
    assert default_lr(768, pretrained=True) == 1e-4


def test_phase_plans_share_the_budgets_epochs():
    base = Plan(epochs=40, batch_size=32, lr=1e-3)
    quarter = Phase(
        "p", joint, share=0.25, lr_scale=10.0, paper=Recipe(50, 5e-5, 192, "sgd", 0.1, 0.8, "linear", 0.05, 2.0)
    )
    rest = Phase("q", joint, share=0.75)
    plan, _ = phase_plans([quarter, rest], 20, base, paper=False)
    assert (plan.epochs, plan.lr, plan.batch_size, plan.backbone_lr_scale) == (5, 1e-2, 32, BACKBONE_LR_SCALE)
    papers = phase_plans([quarter, rest], 20, base, paper=True)
    assert papers[0] == Plan(50, 192, 5e-5, 0.1, "sgd", 0.8, "linear", 0.05, 2.0, 1.0)
    assert papers[1].epochs == 15


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.5), (0.25, 0.75), (0.75, 0.25), (0.9, 0.1), (0.2, 0.5, 0.3)])
def test_every_method_makes_the_same_number_of_passes(shares):
    for total in range(1, 51):
        epochs = share_epochs(shares, total)
        assert min(epochs) >= 1
        assert sum(epochs) == max(total, len(shares))
        if all(share * total >= 1 for share in shares):
            assert all(abs(n - share * total) < 1 for n, share in zip(epochs, shares, strict=True))


@pytest.mark.parametrize(
    ("shares", "total", "epochs"),
    [((0.25, 0.75), 20, [5, 15]), ((0.5, 0.5), 5, [3, 2]), ((0.25, 0.75), 3, [1, 2]), ((0.5, 0.5), 1, [1, 1])],
)
def test_epochs_of_phases_by_hand(shares, total, epochs):
    assert share_epochs(shares, total) == epochs
