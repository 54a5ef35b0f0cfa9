"""PABEE: the patience rule by hand and against its definition, the loss, the gradients, replay against the model."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from eebench.api import Task
from eebench.plugins.registry import Registry
from eebench.testing import (
    BACKBONES,
    assert_replay_is_dynamic,
    build,
    classes_for,
    gradients,
    inputs_for,
    pick,
    replay,
    tiny_vit,
    trace,
    train_step,
)
from eebench_methods.pabee import PABEE, Patience

REGRESSION = Task(kind="regression", classes=1, metric="pearson_spearman")

# five exits before the last; agreements in a row behind each:
SAID = np.array(
    [
        [0, 0, 0, 0, 0],  # 0 1 2 3 4
        [0, 1, 1, 0, 0],  # 0 0 1 0 1
        [0, 1, 2, 0, 1],  # 0 0 0 0 0
        [2, 2, 1, 1, 1],  # 0 1 0 1 2
    ]
)
GOLDEN = {  # patience: where each sample stops, 5 being the last exit
    0: [0, 0, 0, 0],
    1: [1, 2, 5, 1],
    2: [2, 5, 5, 4],
    3: [3, 5, 5, 5],
    4: [4, 5, 5, 5],
    5: [5, 5, 5, 5],
    1000: [5, 5, 5, 5],
}


@pytest.mark.parametrize(("patience", "where"), GOLDEN.items())
def test_golden_trace(patience, where):
    assert replay(Patience(), {"said": SAID}, patience).tolist() == where


def test_golden_trace_of_regression():
    # tolerance 0.25, each value against the one right before it; steps are exact in binary
    said = np.array(
        [
            [1.0, 1.125, 1.25, 1.375, 1.5],  # 0 1 2 3 4: a slow drift agrees all the way
            [1.0, 1.125, 1.5, 1.375, 3.0],  # 0 1 0 1 0
            [1.0, 1.25, 1.5, 1.75, 2.0],  # 0 0 0 0 0: a difference of exactly the tolerance does not agree
        ],
        dtype=np.float32,
    )
    assert replay(Patience(0.25), {"said": said}, 1).tolist() == [1, 1, 5]
    assert replay(Patience(0.25), {"said": said}, 2).tolist() == [2, 5, 5]
    assert replay(Patience(0.25), {"said": said}, 0).tolist() == [0, 0, 0]


def patience_by_definition(said, patience):
    """The first exit whose last ``patience`` + 1 answers are all the same."""
    for position in range(patience, len(said)):
        if len(set(said[position - patience : position + 1])) == 1:
            return position
    return len(said)


@pytest.mark.parametrize("patience", range(7))
def test_patience_is_that_many_agreements_in_a_row(patience):
    said = np.random.default_rng(0).integers(0, 2, (200, 6))
    expected = [patience_by_definition(row.tolist(), patience) for row in said]
    assert replay(Patience(), {"said": said}, patience).tolist() == expected


def test_grid_is_every_patience():
    assert list(Patience().grid({"said": SAID})) == [0, 1, 2, 3, 4, 5]
    assert Patience.knob.integer


@pytest.mark.parametrize("last", ["backbone", "own"])
def test_loss_weighs_exits_by_their_number(last):
    method, model = build(PABEE, tiny_vit(), last=last)
    inputs, targets = inputs_for(model.backbone, 8), classes_for(8)
    step = train_step(model, method.phases()[0], inputs, targets, method.task)
    losses = [F.cross_entropy(visit.logits, targets) for visit in step.visits]
    expected = sum(j * loss for j, loss in enumerate(losses, 1)) / (1 + 2 + 3 + 4)
    torch.testing.assert_close(method.phases()[0].loss(step), expected)


@pytest.mark.parametrize("last", ["backbone", "own"])
def test_everything_that_answers_is_trained(last):
    method, model = build(PABEE, tiny_vit(), last=last)
    moved = set(gradients(model, method.phases()[0], inputs_for(model.backbone), classes_for(), method.task))
    still = {name for name, _ in model.named_parameters()} - moved
    unused = {"net.norm.weight", "net.norm.bias", "net.head.weight", "net.head.bias"}  # own: the old head is set aside
    assert still == ({f"backbone.{name}" for name in unused} if last == "own" else set())


def test_the_last_exit_is_the_backbones_own_unless_asked():
    _, model = build(PABEE, tiny_vit())
    inputs = inputs_for(model.backbone)
    torch.testing.assert_close(
        model.dynamic(inputs, Patience(), Patience.knob.never).logits, model.backbone.plain(inputs), atol=0, rtol=0
    )
    _, own = build(PABEE, tiny_vit(), last="own")
    assert own.own_last_exit
    assert not model.own_last_exit
    assert own.exits["4"].pooler is own.exits["1"].pooler


PATIENCES = (0, 1, 2, 3, 1000)


@pytest.mark.parametrize("kind", BACKBONES)
def test_replay_is_dynamic(kind):
    method, model = build(PABEE, BACKBONES[kind](3))
    where = assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone), PATIENCES)
    assert (where[0] == 0).all()
    assert (where[1] >= 1).all()
    assert (where[1000] == len(model.blocks) - 1).all()


@pytest.mark.parametrize("kind", ["vit", "text"])
def test_replay_is_dynamic_on_regression(kind):
    method, model = build(PABEE, BACKBONES[kind](1), REGRESSION, noise=0.15)
    where = assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone), PATIENCES)
    assert len(np.unique(where[1])) > 1


def test_replay_is_dynamic_on_twelve_blocks():
    method, model = build(PABEE, tiny_vit(12))
    assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone), exits=4)


def test_replay_is_dynamic_with_its_own_last_head():
    method, model = build(PABEE, tiny_vit(6), last="own", blocks=(2, 3, 5))
    assert model.blocks == (2, 3, 5, 6)
    assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone))


def test_neighbours_in_a_batch_do_not_reset_the_count():
    _, model = build(PABEE, tiny_vit(6))
    inputs = inputs_for(model.backbone)
    seen, _ = trace(model, Patience(), inputs)
    where = replay(Patience(), seen, 1)
    assert len(set(where.tolist())) > 1, "samples must differ for this test to mean anything"
    together = model.dynamic(inputs, Patience(), 1).exit
    alone = [int(model.dynamic(pick(inputs, torch.tensor([i])), Patience(), 1).exit) for i in range(len(where))]
    assert together.tolist() == alone


def test_options_as_typed():
    (chosen,) = Registry.installed().choose("pabee[patience=3,regression_threshold=0.5,last=own,blocks=2+4]")
    assert chosen.pinned == 3
    assert chosen.method == PABEE(blocks=(2, 4), last="own", regression_threshold=0.5)
    with pytest.raises(ValueError, match="above 0"):
        PABEE(regression_threshold=0.0)
