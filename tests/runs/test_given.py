"""Own networks, data sets and methods, given to ``eebench.run`` as Python objects."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import eebench
from eebench.api import Backbone, Features, Knob, Layout, Method, Phase, top_probability
from eebench.data import from_arrays
from eebench.errors import UserError
from eebench.parts import LinearExit, joint_loss
from eebench.rules import Above
from eebench.runs.given import named


class Wide(Backbone):
    """Convolutions of one width over a map, averaged at the end."""

    name = "wide"
    modality = "vision"
    family = "convs"

    def __init__(self, outputs, depth=3, width=8, side=8):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.head = nn.Linear(width, outputs)
        self.layouts = (Layout(width, grid=(side, side), cls=False),) * depth
        self.heads = (1,) * depth
        self.image_shape = (1, side, side)

    @classmethod
    def create(cls, *, outputs, image_size=None, patch_size=None, channels=1):
        return cls(outputs)

    def _features(self, image):
        return Features(image.flatten(2).transpose(1, 2), self.layouts[0])

    def embed(self, inputs):
        return self._features(self.stem(inputs).relu())

    def block(self, number, features):
        return self._features(self.convs[number - 1](features.map).relu())

    def norm(self, features):
        return features

    def classify(self, features):
        return self.head(features.pooled)

    def plain(self, inputs):
        image = self.stem(inputs).relu()
        for conv in self.convs:
            image = conv(image).relu()
        return self.head(image.flatten(2).mean(2))

    def prepare(self, raw):
        return torch.stack(list(raw))


@dataclass(frozen=True)
class Sure(Method):
    """Stop when sure."""

    name = "sure"

    def build(self, backbone, task):
        return {1: LinearExit(backbone.layouts[0], task.outputs)}

    def rule(self, task):
        return Above(lambda output: top_probability(output.logits), Knob("sure", never=1.0))

    def phases(self, task):
        return [Phase("joint", lambda step: joint_loss(step, [1.0] * len(step.visits)))]


@pytest.fixture(scope="module")
def own_data():
    images, targets = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8) * 15).astype(np.uint8)
    return from_arrays(
        "own_digits", {"train": (pixels[:300], targets[:300]), "test": (pixels[300:400], targets[300:400])}
    )


def run(tmp_path, **values):
    fast = {"budget": "smoke", "static": (1.0,), "latency_samples": 4, "device": "cpu"}
    return eebench.run(results=tmp_path, **(fast | values))


def test_all_three_from_python(tmp_path, own_data):
    tables = run(tmp_path, methods=(Sure, "pabee"), backbone=Wide, dataset=own_data)
    assert set(tables["operating_points"]["method"]) == {"sure", "pabee", "static"}
    path = tables["curves"].attrs["path"]
    assert Path(path).name.startswith("own_digits-wide-smoke-")
    assert not tables["curves"].attrs["failed"]
    again = run(tmp_path, methods=(Sure, "pabee"), backbone=Wide, dataset=own_data)
    assert set(again["training"]["reused"]) == {True}
    deployed = eebench.load(path, "sure", plugins=[Sure, Wide])
    assert len(deployed([own_data.test.inputs[i] for i in range(3)], prepared=True).labels) == 3


def test_a_network_made_starts_with_its_weights_as_they_are(own_data):
    torch.manual_seed(5)
    network = Wide(own_data.task.outputs)
    values, (cls,) = named({"backbone": network}, [])
    assert values == {"backbone": "wide"}
    made = cls.create(outputs=10)
    torch.testing.assert_close(made.state_dict(), network.state_dict())
    assert made is not network
    with torch.no_grad():
        network.head.bias += 1
    (other,) = named({"backbone": network}, [])[1]
    assert other.create(outputs=10).own_weights != made.own_weights
    with pytest.raises(UserError, match="answers 10 numbers, the data set needs 3"):
        cls.create(outputs=3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"backbone": nn.Linear}, "backbone: .* is neither a name nor an eebench Backbone"),
        ({"backbone": 7}, "backbone: 7 is neither"),
        ({"methods": (Wide,)}, "methods: .* is neither a name nor an eebench Method"),
        ({"dataset": Sure}, "dataset: .* is neither a name nor an eebench DataSet"),
        ({"backbone": Backbone}, "class Backbone has no name"),
    ],
)
def test_what_is_refused(values, words):
    with pytest.raises(UserError, match=words):
        named(values, [])
