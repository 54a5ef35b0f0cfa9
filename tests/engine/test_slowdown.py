"""The slowdown attack: a network whose slowest input is known, the ball, and a rule that it must make slower."""

from functools import partial

import numpy as np
import pytest
import torch

from eebench.api import Phase, Recipe, Task
from eebench.data.base import Split
from eebench.data.preprocessing import Preprocessing
from eebench.engine.model import EarlyExitModel
from eebench.engine.slowdown import Attack, attacked, exits_loss, noisy, push_late
from eebench.engine.trace import collect
from eebench.engine.train import fit
from eebench.measure.replay import replay
from eebench.parts import LinearExit, joint_loss
from eebench.rules import Confidence
from eebench.testing import tiny_backbone, tiny_data

CPU = torch.device("cpu")
ATTACK = Attack(radius=0.1, steps=40, step_size=0.01)


def by_hand(weight, shares):
    """Two classes whose logits are the weighted pixels about the middle grey, and nothing: unsure on the plane of 0."""
    score = ((shares - 0.5) * weight).sum((1, 2, 3))
    logits = torch.stack([score, torch.zeros_like(score)], -1)
    return -logits.log_softmax(-1).mean(-1)


def test_the_slowest_input_within_the_ball_is_found():
    weight = torch.tensor([4.0, -4.0]).view(1, 1, 1, 2)
    # Scores 4 (0.3 + 0.2) = 2 and far from 0: each pixel must go the whole radius against its weight.
    far = torch.tensor([0.8, 0.3]).view(1, 1, 1, 2)
    found = push_late(far, partial(by_hand, weight), ATTACK)
    torch.testing.assert_close(found, torch.tensor([0.7, 0.4]).view(1, 1, 1, 2))
    # Score 4 (0.05 + 0) = 0.2: a point of no preference lies within the ball, and the loss there is the log of 2.
    near = torch.tensor([0.55, 0.5]).view(1, 1, 1, 2)
    reached = push_late(near, partial(by_hand, weight), ATTACK)
    assert float(by_hand(weight, reached)) == pytest.approx(np.log(2), abs=1e-3)


def test_a_pixel_at_the_edge_stays_a_pixel():
    weight = torch.tensor([4.0, 4.0]).view(1, 1, 1, 2)
    dark = torch.tensor([0.02, 0.3]).view(1, 1, 1, 2)
    found = push_late(dark, lambda shares: -by_hand(weight, shares), ATTACK)  # the other way: surer, darker
    torch.testing.assert_close(found, torch.tensor([0.0, 0.2]).view(1, 1, 1, 2))


def test_what_depends_on_no_pixel_is_left_alone():
    images = torch.rand(3, 1, 4, 4)
    assert torch.equal(push_late(images, lambda shares: torch.zeros(len(shares)), ATTACK), images)


def test_the_best_point_is_kept_however_large_the_steps():
    weight = torch.tensor([4.0, -4.0]).view(1, 1, 1, 2)
    near = torch.tensor([0.51, 0.5]).view(1, 1, 1, 2)
    wild = Attack(radius=0.1, steps=3, step_size=0.1)
    assert by_hand(weight, push_late(near, partial(by_hand, weight), wild)) <= by_hand(weight, near)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    data = tiny_data("vit", Task(classes=3), 96)
    backbone = tiny_backbone("vit", 3, 4)
    model = EarlyExitModel(backbone, {b: LinearExit(backbone.layouts[b - 1], 3) for b in (1, 2, 3)})
    phase = Phase("joint", lambda step: joint_loss(step, [1.0] * 4))
    fit(model, phase, Recipe(epochs=15, batch_size=16, lr=3e-3), data, seed=0, device=CPU)
    inputs = torch.stack([data.train.inputs[i] for i in range(48)])
    low, high = float(inputs.min()), float(inputs.max())
    preprocessing = Preprocessing(
        "vision", colours="L", channels=1, white=1, mean=(-low / (high - low),), std=(1 / (high - low),)
    )
    return model, Split(inputs, data.train.targets[:48]), preprocessing


def exits_at(model, split, knob):
    trace = collect(model, Confidence(), split, Task(classes=3), device=CPU)
    return replay(Confidence(), trace.seen, knob)


def test_a_trained_network_is_slower_and_the_ball_is_kept(trained):
    model, split, preprocessing = trained
    attack = Attack(radius=0.1, steps=20, step_size=0.02)
    late = attacked(model, split, preprocessing, attack)
    before, after = preprocessing.shares(split.inputs), preprocessing.shares(late.inputs)
    assert float((after - before).abs().max()) <= attack.radius + 1e-6
    assert float((after - before).abs().max()) > 0.5 * attack.radius
    assert after.min() >= -1e-6
    assert after.max() <= 1 + 1e-6
    with torch.no_grad():
        assert (exits_loss(model, late.inputs) <= exits_loss(model, split.inputs) + 1e-6).all()
    slower = []
    for knob in (0.5, 0.7, 0.9):
        clean, pushed = exits_at(model, split, knob), exits_at(model, late, knob)
        assert pushed.mean() >= clean.mean()
        slower.append(pushed.mean() - clean.mean())
    assert max(slower) > 0.3, "the probe finds what it looks for"
    assert np.array_equal(late.targets, split.targets)


def test_the_attack_is_the_same_every_time(trained):
    model, split, preprocessing = trained
    attack = Attack(radius=0.05, steps=3, step_size=0.02)
    one, two = (attacked(model, split, preprocessing, attack) for _ in range(2))
    assert torch.equal(one.inputs, two.inputs)


def test_noise_that_looks_for_nothing_is_as_large_and_does_less(trained):
    model, split, preprocessing = trained
    attack = Attack(radius=0.1, steps=20, step_size=0.02)
    noise = noisy(model, split, preprocessing, attack)
    moved = (preprocessing.shares(noise.inputs) - preprocessing.shares(split.inputs)).abs()
    assert float(moved.max()) == pytest.approx(0.1, abs=1e-5)
    with torch.no_grad():
        worse = exits_loss(model, attacked(model, split, preprocessing, attack).inputs).mean()
        assert worse < exits_loss(model, noise.inputs).mean()
