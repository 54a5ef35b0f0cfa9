"""Data sets made in Python."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from eebench import data
from eebench.api import Task
from eebench.data.base import Data, Split, content_sha256
from eebench.errors import UserError

from .test_pixels import noise


def labels(n):
    return np.arange(n) % 3


@pytest.mark.parametrize("shape", ["NCHW", "NHWC", "NHW"])
def test_images_in_every_order(shape):
    pixels = noise(90, channels=1 if shape == "NHW" else 3, side=12)
    given = {"NCHW": pixels, "NHWC": pixels.permute(0, 2, 3, 1).numpy(), "NHW": pixels[:, 0].numpy()}[shape]
    found = data.from_arrays("mine", {"train": (given, labels(90))}, labels=["x", "y", "z"])
    assert (found.name, found.task.labels, found.image_size, found.augment) == ("mine", ("x", "y", "z"), 12, "shift")
    held = torch.cat([s.inputs.pixels for s in (found.train, found.val, found.test)])
    assert {p.numpy().tobytes() for p in held} == {p.numpy().tobytes() for p in pixels}
    assert data.load(found).split_hash == found.split_hash
    assert content_sha256(found) != content_sha256(
        data.from_arrays("mine", {"train": (255 - pixels, labels(90))}, labels=["x", "y", "z"])
    )


def test_texts_pairs_and_ratings():
    texts = [f"text {i}" for i in range(60)]
    found = data.from_arrays("t", {"train": (texts, labels(60)), "test": (["a", "b"], [0, 2])})
    assert (found.modality, found.task.labels, len(found.test)) == ("text", ("0", "1", "2"), 2)
    pairs = data.from_arrays("t", {"train": ([[t, "x"] for t in texts], labels(60))})
    assert pairs.preprocessing.pairs
    assert isinstance(pairs.train.inputs[0], tuple)
    rated = data.from_arrays("t", {"train": (texts, np.linspace(0, 5, 60))}, regression=True)
    assert (rated.task.kind, rated.train.targets.dtype) == ("regression", np.float32)


def own(**changed):
    """What a user may put together without any help: inputs of any sequence."""
    split = Split([torch.rand(1, 8, 8) for _ in range(30)], np.arange(30, dtype=np.int64) % 2)
    return replace(Data("own", "vision", Task(classes=2), split, split, split, channels=1, image_size=8), **changed)


def test_an_object_of_ones_own_is_checked_and_limited():
    found = data.load(own())
    assert found.split_hash
    fewer = data.load(own(), limit=10)
    assert [len(s) for s in (fewer.train, fewer.val, fewer.test)] == [10, 10, 10]
    assert [len(s) for s in (data.load(own(official=frozenset({"test"})), limit=10).test,)] == [30]

    epochs = []

    class Lazy:
        def __len__(self):
            return 30

        def __getitem__(self, i):
            return torch.full((1, 8, 8), float(i))

        def set_epoch(self, seed, epoch):
            epochs.append((seed, epoch))

    lazy = data.load(own(train=Split(Lazy(), np.arange(30, dtype=np.int64) % 2)), limit=10).train
    lazy.inputs.set_epoch(1, 2)
    assert epochs == [(1, 2)]
    assert len({float(x[0, 0, 0]) for x in (lazy.inputs[i] for i in range(10))}) == 10


WRONG = {
    "no data": (lambda: data.load(3), "a data set is a name or an eebench.data.Data (see eebench.data.from_arrays)"),
    "modality": (lambda: data.load(own(modality="sound")), "modality 'sound' is neither vision nor text"),
    "lengths": (lambda: data.load(own(val=Split([1], labels(3)))), "val has 1 inputs, but 3 targets"),
    "few": (lambda: data.load(own(test=Split([1], labels(1)))), "test has 1 samples, at least 2 are needed"),
    "type": (lambda: data.load(own(val=Split([1, 2], np.array([0, 1.0])))), "class ids 0 to 1, int64"),
    "range": (lambda: data.load(own(val=Split([1, 2], np.array([0, 2])))), "class ids 0 to 1, int64"),
    "shape": (lambda: data.load(own(val=Split([1, 2], np.zeros((2, 1))))), "no array of one dimension"),
    "option": (lambda: data.load(own(), image_size=32), "was made in Python: image_size is decided there"),
    "splits": (lambda: data.from_arrays("x", {"test": ([], [])}), "splits are train and perhaps val and test"),
    "counts": (lambda: data.from_arrays("x", {"train": (noise(6), labels(5))}), "6 train samples, but 5 targets"),
    "floats": (lambda: data.from_arrays("x", {"train": (noise(6) / 255, labels(6))}), "expected uint8 (N, C, H, W)"),
    "squares": (lambda: data.from_arrays("x", {"train": (noise(6)[..., :5], labels(6))}), "8x5; expected squares"),
    "targets": (lambda: data.from_arrays("x", {"train": (noise(3), ["a", "b", "c"])}), "class ids (whole numbers)"),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_hold_together_is_one_line(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
