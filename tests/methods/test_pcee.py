"""PCEE: the rule by hand, normalised entropy against scipy, the loss weights, replay against the model."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from torch.nn import functional as F

from eebench.api import ExitOutput, Task
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
from eebench_methods.pcee import PCEE, PatientConfidence, exit_weights

KINDS = ("vit", "two prefix tokens", "grid not square", "pyramid", "text")  # what linear exits can tell apart

# five exits before the last; entropies over ln 4 of a task with four classes; confident is below 0.5
UNCERTAINTY = np.array(
    [
        [0.9, 0.4, 0.4, 0.4, 0.4],  # in a row: 0 1 2 3 4
        [0.4, 0.4, 0.6, 0.1, 0.2],  # 1 2 0 1 2
        [0.4, 0.5, 0.4, 0.5, 0.4],  # 1 0 1 0 1: 0.5 is not below 0.5
        [0.1, 0.1, 0.1, 0.1, 0.1],  # 1 2 3 4 5
    ]
)
SEEN = {"entropy": UNCERTAINTY * math.log(4)}


@pytest.mark.parametrize(
    ("patience", "where"), {1: [1, 0, 0, 0], 2: [2, 1, 5, 1], 3: [3, 5, 5, 2], 5: [5, 5, 5, 4], 6: [5] * 4}.items()
)
def test_golden_trace(patience, where):
    assert replay(PatientConfidence(patience, 4), SEEN, 0.5).tolist() == where


def test_confident_exits_need_not_agree():
    # the two exits are sure of different classes; patience 2 stops all the same
    rule = PatientConfidence(2, 2)
    logits = [torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])]
    columns = [rule.observe(ExitOutput(answer), 0, torch.arange(1))["entropy"] for answer in logits]
    assert replay(rule, {"entropy": torch.stack(columns, 1).numpy()}, 0.5).tolist() == [1]


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("threshold", [0.2, 0.6, 0.9])
def test_threshold_is_on_the_normalised_entropy(classes, threshold):
    sharpness = torch.linspace(0.1, 4, 200)[:, None]
    logits = torch.randn(200, classes, generator=torch.Generator().manual_seed(0)) * sharpness
    rule = PatientConfidence(1, classes)
    stop, _ = rule.step({}, rule.observe(ExitOutput(logits), 0, torch.arange(200)), threshold)
    expected = scipy_entropy(logits.softmax(-1).numpy(), base=classes, axis=1) < threshold
    assert stop.tolist() == expected.tolist()
    assert 0 < expected.sum() < 200


def test_loss_weights():
    assert exit_weights([1, 2, 3, 4], "ascending") == [1, 2, 3, 4]
    assert exit_weights([1, 2, 3, 4], "descending") == [4, 3, 2, 1]
    assert exit_weights([2, 4], "descending") == [3, 1]
    assert exit_weights([2, 4], "equal") == [1, 1]


@pytest.mark.parametrize(
    ("weights", "numbers"), [("ascending", (2, 3, 4)), ("descending", (3, 2, 1)), ("equal", (1,) * 3)]
)
def test_loss(weights, numbers):
    method, model = build(PCEE, tiny_vit(), weights=weights, blocks=(2, 3))
    targets = classes_for(8)
    step = train_step(model, method.phases()[0], inputs_for(model.backbone, 8), targets, method.task)
    losses = [F.cross_entropy(visit.logits, targets) for visit in step.visits]
    expected = sum(w * loss for w, loss in zip(numbers, losses, strict=True)) / sum(numbers)
    torch.testing.assert_close(method.phases()[0].loss(step), expected)


def test_everything_is_trained():
    method, model = build(PCEE, tiny_vit())
    moved = gradients(model, method.phases()[0], inputs_for(model.backbone), classes_for(), method.task)
    assert set(moved) == {name for name, _ in model.named_parameters()}


def test_knob_knows_that_nothing_stops_before_patience_is_met():
    assert PatientConfidence(1, 4).knob.always is not None
    assert PatientConfidence(2, 4).knob.always is None
    grid = PatientConfidence(2, 4).grid(SEEN)
    assert replay(PatientConfidence(2, 4), SEEN, grid[0]).tolist() == [5] * 4
    assert replay(PatientConfidence(2, 4), SEEN, grid[-1]).tolist() == [1] * 4
    assert {0.1, 0.4, 0.9} <= set(grid)


@pytest.mark.parametrize(("kind", "patience"), [*((kind, 2) for kind in KINDS), ("vit", 1)])
def test_replay_is_dynamic(kind, patience):
    method, model = build(PCEE, BACKBONES[kind](3), patience=patience)
    where = assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone))
    assert (where[2.0] == patience - 1).all()
    assert (where[-1.0] == len(model.blocks) - 1).all()


def test_says_why_not():
    assert unmet(PCEE(), tiny_vit(), Task(kind="regression", classes=1))
    assert unmet(PCEE(), tiny_vit(), Task(classes=3)) is None


def test_options_as_typed():
    (chosen,) = Registry.installed().choose("pcee[patience=3,weights=equal,threshold=0.25]")
    assert chosen.method == PCEE(patience=3, weights="equal")
    assert math.isclose(chosen.pinned, 0.25)
    with pytest.raises(ValueError, match="at least 1"):
        PCEE(patience=0)
