"""The estimate of memory: counted exactly where it can be, the largest part found, nothing of the model touched."""

import numpy as np
import pytest
import torch
from torch import nn

from eebench.api import Task
from eebench.data import lengths
from eebench.data.base import steps
from eebench.engine import memory
from eebench.engine.features import FeatureCache, lengths_of
from eebench.engine.memory import TRANSIENT, estimate_memory, kept_bytes
from eebench.engine.model import EarlyExitModel
from eebench.parts import LinearExit
from eebench.testing import tiny_backbone, tiny_data

TASK = Task(classes=3)


def model_of(kind, blocks=(1, 2)):
    torch.manual_seed(0)
    backbone = tiny_backbone(kind, 3, 3)
    return EarlyExitModel(backbone, {b: LinearExit(backbone.layouts[b - 1], 3) for b in blocks})


class Chain(nn.Module):
    """Linear(4, 8), ReLU, Linear(8, 2) as something with blocks and exits."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    def trace(self, inputs):
        return [type("Visit", (), {"logits": self.layers(inputs)})]


def test_what_autograd_keeps_is_counted_once_and_without_weights():
    inputs = torch.randn(5, 4)
    # The input of the first layer, and the ReLU's output, which the last layer keeps as well.
    assert kept_bytes(Chain(), inputs) == 4 * (5 * 4 + 5 * 8)


@pytest.mark.parametrize("kind", ["vit", "swin", "resnet", "text"])
def test_twice_the_samples_keep_twice_as_much(kind):
    model, data = model_of(kind).train(), tiny_data(kind, TASK, 8)
    raw = [data.train.inputs[0]] * 8  # of one length
    once, twice = (kept_bytes(model, model.backbone.prepare(raw[:n])) for n in (4, 8))
    assert twice == pytest.approx(2 * once, rel=0.01)


def test_a_length_that_was_not_probed_is_predicted():
    model, data = model_of("text"), tiny_data("text", TASK, 40)
    data.train.inputs[7] = torch.randint(2, 50, (60,))
    found = estimate_memory(model, data, 1)
    assert (found.samples, found.tokens) == (1, 60)
    both = model.backbone.prepare([data.train.inputs[7], data.train.inputs[7][:59]])
    assert found.activations == pytest.approx((1 + TRANSIENT) * kept_bytes(model.train(), both) / 2, rel=0.02)


def test_no_part_of_training_is_larger_than_the_one_that_is_told(monkeypatch):
    model, data = model_of("text"), tiny_data("text", TASK, 60)
    rng = np.random.default_rng(0)
    for row in range(0, 60, 9):
        data.train.inputs[row] = torch.as_tensor(rng.integers(2, 50, 50))
    monkeypatch.setattr(lengths, "TRAINED", 200)
    monkeypatch.setattr(memory, "TRAINED", 200)
    found = estimate_memory(model, data, 16)
    assert (found.samples, found.tokens) == (4, 50)
    model.train()
    sizes = lengths_of(model.backbone, data.train)
    parts = [p for step in steps(data.train, model.backbone.prepare, 16, seed=0, lengths=sizes) for p in step]
    largest = max((1 + TRANSIENT) * kept_bytes(model, part.inputs) for part in parts)
    assert 0.5 * found.activations < largest <= 1.01 * found.activations


@pytest.mark.parametrize("kind", ["vit", "text"])
def test_cached_features_and_weights_are_what_they_are(kind):
    model, data, cache = model_of(kind), tiny_data(kind, TASK, 30), FeatureCache()
    found = estimate_memory(model, data, 8)
    cache.fits(model.eval(), data)
    held = sum(t.numel() * t.element_size() for column in cache._tokens.values() for t in column)
    assert found.features == held
    assert found.optimizer == 3 * 4 * sum(p.numel() for p in model.parameters())
    assert found.weights == sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
    assert found.peak == max(found.training, found.frozen)


def test_features_that_will_not_be_cached_take_nothing(monkeypatch):
    monkeypatch.setattr(memory, "CACHE_BYTES", 1000)
    assert estimate_memory(model_of("vit"), tiny_data("vit", TASK, 30), 8).features == 0


def test_the_model_is_left_as_it_was():
    model, data = model_of("resnet").eval(), tiny_data("resnet", TASK, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    estimate_memory(model, data, 4)
    assert not model.training
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in model.parameters())
