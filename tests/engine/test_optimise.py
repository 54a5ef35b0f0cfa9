"""From a recipe to an optimiser and its learning rates: against torch's own, and by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, MultiStepLR, OneCycleLR, SequentialLR

from eebench.api import Phase, Recipe, Task, only
from eebench.engine.model import EarlyExitModel
from eebench.engine.optimise import (
    BACKBONE_LR_SCALE,
    common_recipe,
    default_lr,
    make_optimizer,
    overridden,
    phase_recipes,
    rate_factor,
    share_epochs,
)
from eebench.engine.train import fit
from eebench.parts import LinearExit, joint_loss
from eebench.testing import tiny_backbone, tiny_data

CPU = torch.device("cpu")
TASK = Task(classes=3)


def recipe(epochs=1, batch_size=16, lr=1e-2, **changes):
    return Recipe(epochs=epochs, batch_size=batch_size, lr=lr, **changes)


def model_of():
    torch.manual_seed(0)
    backbone = tiny_backbone("vit", TASK.classes, 4)
    return EarlyExitModel(
        backbone, {b: LinearExit(backbone.layouts[b - 1], TASK.classes, norm=True) for b in (1, 2, 3)}
    )


def joint(step):
    return joint_loss(step, [1.0] * len(step.visits))


ALL = Phase("all", joint)
EXITS = Phase("exits", joint, trains=only("exits."))


# --- what a recipe may say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": -1}, "epochs must not be negative"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"optimizer": "lion"}, "optimizer is adamw, adam or sgd"),
        ({"decay": "some"}, "decay is matrices or all"),
        ({"schedule": "triangle"}, "schedule is constant"),
        ({"every": "week"}, "every is batch or epoch"),
        ({"floor": 1.0}, "are shares below 1"),
        ({"label_smoothing": -0.1}, "are shares below 1"),
        ({"warmup": 0.1, "warmup_steps": 5}, "give warmup or warmup_steps"),
        ({"schedule": "one-cycle"}, "warmup, which must be above 0"),
        ({"schedule": "step"}, "milestones ascend"),
        ({"schedule": "step", "milestones": (5, 3)}, "milestones ascend"),
        ({"milestones": (3,)}, "only step has them"),
        ({"patience": 0}, "patience must be at least 1"),
    ],
)
def test_a_recipe_that_contradicts_itself(change, words):
    with pytest.raises(ValueError, match=words):
        recipe(**change)


def test_epochs_may_depend_on_the_data_set():
    own = recipe(epochs=14, epochs_on={"cifar100": 29})
    assert own.on("cifar100").epochs == 29
    assert own.on("cifar10") == recipe(epochs=14)


def test_a_recipe_goes_into_json_and_back():
    own = recipe(schedule="step", milestones=(2, 4), betas=(0.99, 0.999), epochs_on={"a": 3})
    assert Recipe(**dataclasses.asdict(own)) == own


# --- optimisation ----------------------------------------------------------------------------------------------------


def groups(own, phase=ALL):
    model = model_of()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(phase.trains(name))
    names = {id(p): n for n, p in model.named_parameters()}
    found = {}
    for group in make_optimizer(model, own).param_groups:
        for parameter in group["params"]:
            found[names[id(parameter)]] = (parameter.ndim, group["lr"], group["weight_decay"])
    return found, model


def test_biases_and_norms_are_not_decayed_and_the_backbone_learns_slower():
    found, model = groups(recipe(1, 16, 1e-2, weight_decay=0.05, backbone_lr_scale=0.3))
    assert found.keys() == {name for name, _ in model.named_parameters()}
    for name, (ndim, lr, decay) in found.items():
        assert lr == pytest.approx(3e-3 if name.startswith("backbone.") else 1e-2), name
        assert decay == (0.05 if ndim > 1 else 0.0), name
    assert {ndim > 1 for ndim, *_ in found.values()} == {True, False}


def test_biases_and_norms_are_decayed_where_a_recipe_says_so():
    found, _ = groups(recipe(1, 16, 1e-2, weight_decay=0.05, decay="all"))
    assert {decay for _, _, decay in found.values()} == {0.05}


def test_frozen_parameters_are_not_given_to_the_optimizer():
    found, model = groups(recipe(1, 16, 1e-2), EXITS)
    assert found.keys() == {name for name, _ in model.named_parameters() if name.startswith("exits.")}


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_optimizers_by_name(name, kind):
    optimizer = make_optimizer(
        model_of(), recipe(1, 16, 1e-2, optimizer=name, momentum=0.7, betas=(0.8, 0.9), eps=1e-6)
    )
    assert type(optimizer) is kind
    if name == "sgd":
        assert {group["momentum"] for group in optimizer.param_groups} == {0.7}
    else:
        assert {(group["betas"], group["eps"]) for group in optimizer.param_groups} == {((0.8, 0.9), 1e-6)}


def test_gradients_are_clipped_to_a_norm():
    model, data = model_of(), tiny_data("vit", TASK, 16)
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    own = recipe(1, 16, 1.0, optimizer="sgd", momentum=0.0, clip=1e-3)
    fit(model, Phase("p", lambda step: 1e3 * joint(step)), own, data, seed=1, device=CPU)
    step = nn.utils.parameters_to_vector(model.parameters()).detach() - before
    assert float(step.norm()) == pytest.approx(1e-3, rel=1e-3)


def learning_rates(own, per_epoch):
    factor = rate_factor(own, per_epoch)
    return [factor(step) for step in range(per_epoch * own.epochs)]


def torchs(schedule, steps, each=1):
    """Learning rates of a torch schedule that moves every ``each`` steps, and the optimiser that it needs."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    made, found = schedule(optimizer), []
    for step in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % each == 0:
            made.step()
    return found


def test_cosine_with_warm_up_is_torchs_own():
    total, warm = 50, 10

    def schedule(optimizer):
        rising = LinearLR(optimizer, 1 / warm, 1.0, total_iters=warm - 1)
        return SequentialLR(optimizer, [rising, CosineAnnealingLR(optimizer, total - warm)], [warm])

    expected = torchs(schedule, total)
    np.testing.assert_allclose(learning_rates(recipe(warmup=0.2), total), expected, atol=1e-12)
    np.testing.assert_allclose(learning_rates(recipe(warmup_steps=10), total), expected, atol=1e-12)


@pytest.mark.parametrize("every", ["batch", "epoch"])
def test_cosine_to_a_floor_is_torchs_own(every):
    """JEI-DNN's: once an epoch, from 0.01 to 2e-4."""
    epochs, each = (1, 1) if every == "batch" else (5, 4)
    steps = 20
    expected = torchs(lambda o: CosineAnnealingLR(o, steps // each, eta_min=0.02), steps, each)
    own = recipe(epochs, floor=0.02, every=every)
    np.testing.assert_allclose(learning_rates(own, steps // epochs), expected, atol=1e-12)


def test_steps_are_torchs_own():
    expected = torchs(lambda o: MultiStepLR(o, [2, 5], 0.3), 28, 4)
    own = recipe(7, schedule="step", milestones=(2, 5), gamma=0.3)
    np.testing.assert_allclose(learning_rates(own, 4), expected, rtol=1e-12)


@pytest.mark.parametrize("share", [0.3, 0.25, 0.1])
def test_one_cycle_is_torchs_own(share):
    expected = torchs(lambda o: OneCycleLR(o, 1.0, 40, pct_start=share, cycle_momentum=False), 40)
    found = learning_rates(recipe(4, schedule="one-cycle", warmup=share), 10)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_schedules_by_hand():
    assert learning_rates(recipe(schedule="constant", warmup=0.5), 4) == [0.5, 1.0, 1.0, 1.0]
    assert learning_rates(recipe(schedule="constant", warmup_steps=2), 4) == [0.5, 1.0, 1.0, 1.0]
    assert learning_rates(recipe(schedule="linear"), 4) == [1.0, 0.75, 0.5, 0.25]
    assert learning_rates(recipe(2, schedule="linear", every="epoch", floor=0.5), 2) == [1.0, 1.0, 0.75, 0.75]
    assert learning_rates(recipe(), 2) == pytest.approx([1.0, 0.5])
    assert learning_rates(recipe(warmup=0.1), 1) == [1.0]


def test_the_optimizer_is_given_these_rates():
    data, seen = tiny_data("vit", TASK, 32), []
    own = recipe(2, lr=1e-2, schedule="step", milestones=(1,), gamma=0.5, backbone_lr_scale=0.1)
    real = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        seen.append([group["lr"] for group in self.param_groups])
        return real(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        fit(model_of(), ALL, own, data, seed=1, device=CPU)
    assert [sorted(set(rates)) for rates in seen] == [pytest.approx([1e-3, 1e-2])] * 2 + [
        pytest.approx([5e-4, 5e-3])
    ] * 2


def test_default_learning_rate():
    assert default_lr(64, pretrained=False) == default_lr(16, pretrained=False) == 2e-3
    assert default_lr(256, pretrained=False) == pytest.approx(1e-3)
    assert default_lr(768, pretrained=True) == 1e-4


def test_phases_share_the_budgets_epochs():
    base = recipe(40, 32, 1e-3)
    quarter = Phase("p", joint, share=0.25, lr_scale=10.0)
    own, rest = phase_recipes([quarter, Phase("q", joint, share=0.75)], 20, base)
    assert own == dataclasses.replace(base, epochs=5, lr=1e-2, backbone_lr_scale=BACKBONE_LR_SCALE)
    assert rest == dataclasses.replace(base, epochs=15, backbone_lr_scale=BACKBONE_LR_SCALE)


def test_what_is_asked_for_replaces_what_a_recipe_says():
    own = recipe(100, 128, 0.1, schedule="step", milestones=(35, 60, 85))
    assert overridden(own) == own
    asked = overridden(own, epochs=10, lr=0.5, batch_size=8)
    assert asked == dataclasses.replace(own, epochs=10, lr=0.5, batch_size=8, milestones=(4, 6, 8))
    assert overridden(own, epochs=1).milestones == (1, 2, 3), "still ascending, reached or not"


def test_the_common_recipe():
    own = common_recipe(256, pretrained=False, epochs=7)
    assert own == recipe(7, 64, 1e-3, weight_decay=0.05, warmup=0.1, clip=1.0)
    own = common_recipe(256, pretrained=True, epochs=7, batch_size=8, lr=0.5)
    assert own == recipe(7, 8, 0.5, weight_decay=0.01, warmup=0.1, clip=1.0)


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
