"""The training loop: what moves, what a loss is told, learning rates, and the cache that must not show."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from eebench.api import Backbone, Phase, Recipe, Task, only
from eebench.engine.features import FeatureCache
from eebench.engine.model import EarlyExitModel
from eebench.engine.optimise import steps_per_epoch
from eebench.engine.state import state_of
from eebench.engine.train import backbone_phase, fit, smoothed, trains_backbone
from eebench.measure.quality import score
from eebench.parts import LinearExit, joint_loss
from eebench.testing import TinyText, tiny_backbone, tiny_data

CPU = torch.device("cpu")
TASK = Task(classes=3)


def recipe(epochs=2, batch_size=16, lr=1e-2, **changes):
    """As the budgets have it, unless told otherwise."""
    return Recipe(epochs=epochs, batch_size=batch_size, lr=lr, **{"warmup": 0.1, "clip": 1.0, **changes})


RECIPE = recipe()


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
    fit(model, EXITS, RECIPE, data, seed=1, device=CPU, cache=FeatureCache() if cached else None)
    after = weights(model)
    assert_same(*({n: v for n, v in w.items() if n.startswith("backbone.")} for w in (before, after)))
    moved = [n for n in before if n.startswith("exits.") and not torch.equal(before[n], after[n])]
    assert any("classifier" in n for n in moved)


def test_only_what_a_phase_names_is_trained():
    model, data = model_of(), tiny_data("vit", TASK, 32)
    before = weights(model)
    fit(model, Phase("one", joint, trains=only("exits.2.", "backbone.net.head.")), RECIPE, data, seed=1, device=CPU)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(("exits.2.", "backbone.net.head.")) for name in moved)


def test_what_is_frozen_is_in_eval_mode_while_training_and_everything_afterwards():
    model, data = model_of(), tiny_data("vit", TASK, 16)
    modes = {}

    def look(step):
        modes.update({name: module.training for name, module in model.named_modules()})
        return joint(step)

    fit(model, Phase("one", look, trains=only("exits.2.")), recipe(1, 16, 1e-3), data, seed=1, device=CPU)
    assert modes["exits.2"]
    assert not any(modes[name] for name in ("backbone", "backbone.net.blocks.0", "exits.1", "exits.3"))
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())


def test_a_phase_that_trains_nothing_is_an_error():
    with pytest.raises(ValueError, match="'idle' trains no parameter"):
        fit(
            model_of(), Phase("idle", joint, trains=only("nobody.")), RECIPE, tiny_data("vit", TASK), seed=1, device=CPU
        )


def test_a_loss_that_is_no_scalar_is_named():
    phase = Phase("wide", lambda step: step.loss(step.visits[-1].logits, step.targets))
    with pytest.raises(ValueError, match=r"the loss of phase 'wide' has shape \(\d+,\), it must be a scalar"):
        fit(model_of(), phase, RECIPE, tiny_data("vit", TASK), seed=1, device=CPU)


def test_the_backbone_learns():
    torch.manual_seed(0)
    model, data = EarlyExitModel(tiny_backbone("vit", 3, 3), {}), tiny_data("vit", TASK, 64)
    history = fit(model, backbone_phase(), recipe(25, 16, 3e-3), data, seed=1, device=CPU)
    assert len(history.losses) == 25
    assert history.losses[-1] < 0.75 * history.losses[0]


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
        history = fit(model, ALL, RECIPE, data, seed=seed, device=CPU)
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
        history = fit(model, EXITS, RECIPE, data, seed=1, device=CPU, cache=cache)
        found.append((history, weights(model)))
    assert_same(found[0][1], found[1][1], rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(found[0][0].losses, found[1][0].losses, rtol=1e-5)
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
    fit(model, Phase("p", note), recipe(2, 16, 1e-3), data, seed=1, device=CPU, progress=lambda *p: progress.append(p))
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

    fit(model_of(), Phase("p", note), recipe(2, 16, 1e-3), data, seed=1, device=CPU)
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

    fit(model_of(), Phase("p", note), recipe(1, size, 1e-3), data, seed=1, device=CPU)
    assert len(sizes) == steps
    assert sum(sizes) == samples
    assert min(sizes) > 1 or samples == 1


@pytest.mark.parametrize("kind", ["vit", "text"])
def test_epoch_end_gets_validation_outputs(kind):
    model, data, calls = model_of(kind), tiny_data(kind, TASK, 40), []

    def look(visits, targets):
        calls.append((visits, targets, weights(model)))

    fit(model, Phase("p", joint, epoch_end=look), recipe(2, 8, 1e-3), data, seed=1, device=CPU)
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
    fit(model, phase, recipe(2, 16, 1e-3), data, seed=1, device=CPU)
    assert modes == [(True, False), (True, False)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_phase(bad):
    phase = Phase("broken", lambda step: joint(step) * bad)
    with pytest.raises(FloatingPointError, match=r"phase 'broken' is (nan|inf) in epoch 1"):
        fit(model_of(), phase, RECIPE, tiny_data("vit", TASK, 32), seed=1, device=CPU)


# --- choosing an epoch on validation data ----------------------------------------------------------------------------


def scores_by_hand(model, data):
    """Mean accuracy over exits on the validation split."""
    model.eval()
    with torch.no_grad():
        visits = model.trace(model.backbone.prepare(data.val.inputs))
    return float(np.mean([score("accuracy", v.logits.argmax(-1).numpy(), data.val.targets) for v in visits]))


@pytest.mark.parametrize("patience", [None, 1, 2])
def test_the_best_epochs_weights_are_kept(patience):
    """The scores of every epoch are those of a training of that many epochs, whose weights are the ones kept."""
    data, states = tiny_data("vit", TASK, 64), []
    options = {"schedule": "constant", "warmup": 0.0, "lr": 2e-2}  # so that a shorter training begins in the same way

    def look(visits, targets):
        states.append(weights(model))

    model = model_of()
    history = fit(model, Phase("p", joint, epoch_end=look), recipe(9, keep_best=True, patience=patience, **options),
                  data, seed=1, device=CPU)  # fmt: skip
    expected = []
    for state in states:
        then = model_of()
        then.load_state_dict(state)
        expected.append(scores_by_hand(then, data))
    assert history.scores == pytest.approx(expected)
    assert history.best == int(np.argmax(expected))
    assert_same(weights(model), states[history.best])
    assert history.best < len(states) - 1, "the last epoch was the best: nothing was put back"
    if patience is not None:
        assert len(history.scores) == history.best + 1 + patience < 9
        assert max(expected[: history.best + 1]) == expected[history.best]


def test_choosing_an_epoch_does_not_change_the_training():
    found = []
    for keep in (False, True):
        states = []
        model = model_of()
        phase = Phase("p", joint, epoch_end=lambda visits, targets, m=model, s=states: s.append(weights(m)))
        fit(model, phase, recipe(3, keep_best=keep), tiny_data("vit", TASK, 40), seed=1, device=CPU)
        found.append(states)
    for without, with_ in zip(*found, strict=True):
        assert_same(without, with_)


def test_a_phase_may_say_what_is_scored():
    """Here the last exit alone, turned upside down: the epoch with the worst accuracy wins."""
    data, model = tiny_data("vit", TASK, 64), model_of()
    phase = Phase("p", joint, answers=lambda visits: -visits[-1].logits)
    history = fit(model, phase, recipe(4, lr=2e-2, keep_best=True), data, seed=1, device=CPU)
    visits = model.trace(model.backbone.prepare(data.val.inputs))
    worst = score("accuracy", visits[-1].logits.argmin(-1).numpy(), data.val.targets)
    assert history.scores[history.best] == max(history.scores) == pytest.approx(worst)


def test_labels_are_smoothed():
    data, seen = tiny_data("vit", TASK, 16), []

    def look(step):
        loss = step.loss(step.visits[0].logits, step.targets)
        seen.append((loss, step.visits[0].logits, step.targets))
        return joint(step)

    fit(model_of(), Phase("p", look), recipe(1, label_smoothing=0.2), data, seed=1, device=CPU)
    ((loss, logits, targets),) = seen
    truth = 0.8 * F.one_hot(targets, 3) + 0.2 / 3
    torch.testing.assert_close(loss, -(truth * logits.log_softmax(-1)).sum(-1))
    values = Task(kind="regression", classes=1)
    assert float(smoothed(values, 0.2)(torch.ones(1, 1), torch.zeros(1))) == 1.0


def test_the_state_of_a_model_is_whole_and_counts_what_is_shared_once():
    model = model_of("resnet")
    shared = nn.Linear(4, 4)
    model.exits["1"].extra, model.exits["2"].extra = shared, shared
    state = state_of(model)
    assert {id(t) for t in state.values()} == {id(t) for t in [*model.parameters(), *model.buffers()]}
    assert sum(".extra." in name for name in state) == 2
    assert any(name.endswith("running_mean") for name in state)
