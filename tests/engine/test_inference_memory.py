"""What inference holds: a network worked out by hand, views and weights counted once, the walk's own tensors."""

import pytest
import torch
from torch import nn

from eebench.api import Task
from eebench.engine.inference_memory import inference_bytes, live_bytes, state_bytes
from eebench.engine.model import EarlyExitModel
from eebench.parts import LinearExit
from eebench.rules import Confidence
from eebench.runs.workshop import NEVER
from eebench.testing import tiny_backbone, tiny_data

TASK = Task(classes=3)
FLOAT = 4


def network(inplace=False):
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=inplace), nn.Linear(8, 2))


def test_a_network_worked_out_by_hand():
    net, inputs = network(), torch.randn(1, 4)
    # The input, which the caller holds, the hidden layer and what ReLU makes of it; the answer comes when that is gone.
    assert live_bytes(net, net, inputs) == FLOAT * (4 + 8 + 8)
    assert live_bytes(network(inplace=True), network(inplace=True), inputs) >= FLOAT * (4 + 8 + 2)
    assert state_bytes(net) == FLOAT * (4 * 8 + 8 + 8 * 2 + 2)


def test_in_place_makes_no_tensor():
    net = network(inplace=True)
    assert live_bytes(net, net, torch.randn(1, 4)) == FLOAT * (4 + 8 + 2)


def test_a_view_holds_what_it_shows_and_is_counted_once():
    net, inputs = network(), torch.randn(1, 4)

    def run(x):
        hidden = net[0](x)
        view = hidden.view(2, 4)
        both = hidden + net[0](x)
        del hidden
        answer = net[2](both)
        del both
        return answer, view

    # Input, hidden (held by its view), the sum and the answer; the second hidden layer is gone by then.
    assert live_bytes(net, run, inputs) == FLOAT * max(4 + 8 + 8 + 8, 4 + 8 + 8 + 2)


def test_what_stays_is_what_counts():
    net, inputs = network(), torch.randn(1, 4)

    def keep(x):
        hidden = [net[0](x) for _ in range(5)]
        return net[2](hidden[0])

    assert live_bytes(net, keep, inputs) == FLOAT * (4 + 5 * 8 + 2)


def test_shared_weights_are_counted_once():
    one = nn.Linear(4, 4)
    assert state_bytes(nn.Sequential(one, one)) == FLOAT * (16 + 4)


@pytest.mark.parametrize("kind", ["vit", "swin", "resnet", "text"])
def test_a_model_with_exits_needs_more_than_one_without(kind):
    torch.manual_seed(0)
    data = tiny_data(kind, TASK, 12)
    plain = EarlyExitModel(tiny_backbone(kind, 3, 3), {}).train()
    backbone = tiny_backbone(kind, 3, 3)
    exits = EarlyExitModel(backbone, {1: LinearExit(backbone.layouts[0], 3)})
    alone, more = inference_bytes(plain, NEVER, data), inference_bytes(exits, Confidence(), data)
    extra = sum(p.nbytes for p in exits.exits["1"].parameters())
    assert more >= alone + extra
    assert plain.training, "left as it was"
    assert alone == inference_bytes(plain, NEVER, data)


def test_a_longer_text_needs_more_and_the_longest_is_taken():
    backbone, data = tiny_backbone("text", 3, 3), tiny_data("text", TASK, 12)
    model = EarlyExitModel(backbone, {})
    before = inference_bytes(model, NEVER, data)
    data.test.inputs[3] = torch.randint(2, 50, (60,))
    assert inference_bytes(model, NEVER, data) > before
