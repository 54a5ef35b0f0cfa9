"""What of the data goes into a record for its report: which samples, what is said of them, and nothing when asked."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eebench.api import Task
from eebench.data.base import Data, Split
from eebench.data.preprocessing import Preprocessing
from eebench.runs.samples import SHOWN, picture, sample_rows

N, BLOCKS = 60, (2, 6, 12)
GREY = Preprocessing(modality="vision", native=8, size=8, scale=255.0, mean=(0.5,), std=(0.25,), channels=1)


def levels(n=N, channels=1, side=8):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, channels, side, side), dtype=np.uint8))


def data_of(inputs, task, preprocessing=GREY, modality="vision"):
    targets = np.zeros(len(inputs)) if task.kind == "regression" else np.arange(len(inputs)) % 3
    split = Split(inputs, targets)
    return Data("mine", modality, task, split, split, split, preprocessing=preprocessing)


def scored(exits, task, targets, right=None):
    """What one method gives at drop_1: where every sample stops, and whether it is right there."""
    n = len(exits)
    right = np.arange(n) % 4 > 0 if right is None else right
    said = np.where(right[:, None], targets[:, None], (targets[:, None] + 1) % 3) * np.ones((1, 3), int)
    trace = SimpleNamespace(
        ids=np.arange(n), targets=targets, blocks=BLOCKS, correct=said == targets[:, None],
        confidence=np.full((n, 3), 0.75),
    )  # fmt: skip
    point = SimpleNamespace(exits=exits, predictions=said[:, 0], of=SimpleNamespace(trace=trace, task=task))
    other = SimpleNamespace(exits=exits[::-1], predictions=said[:, 0], of=point.of)
    chosen = [SimpleNamespace(target="macs_50", test=other), SimpleNamespace(target="drop_1", test=point)]
    return SimpleNamespace(chosen={"dynamic": chosen})


def seed_of(**models):
    return SimpleNamespace(number=7, models={"backbone": SimpleNamespace(chosen={})} | models)


@pytest.fixture
def task():
    return Task(classes=3, labels=("ant", "bee", "cow"))


def test_first_and_last_right_and_wrong(task):
    data = data_of((levels().float() / 255 - 0.5) / 0.25, task)
    exits = np.repeat([0, 1, 2], 20)
    rows, arrays = sample_rows(seed_of(pabee=scored(exits, task, data.test.targets)), data)
    assert len(rows) == 4 * SHOWN
    for row in rows:
        i = row["sample"]
        assert (row["method"], row["seed"], row["target"]) == ("pabee", 7, "drop_1")
        assert row["exit"] == (2 if row["stops"] == "early" else 12) == BLOCKS[exits[i]]
        assert row["correct"] == (i % 4 > 0) == (row["truth"] == row["answer"])
        assert row["truth"] == task.labels[data.test.targets[i]]
        assert row["confidence"] == 0.75
    tiles = arrays["samples"]["tiles"]
    for row in rows:  # the normalisation is undone to the very pixel
        np.testing.assert_array_equal(tiles[row["tile"]], levels()[row["sample"], 0].numpy())


def test_methods_share_samples_and_nobody_picks(task):
    data = data_of(levels().float(), task)
    exits = np.zeros(N, int)
    exits[5:] = 1
    models = {name: scored(exits, task, data.test.targets) for name in ("a", "b")}
    rows, _ = sample_rows(seed_of(**models), data)
    mine = {name: [row["sample"] for row in rows if row["method"] == name] for name in models}
    assert mine["a"] == mine["b"]
    again, _ = sample_rows(seed_of(**models), data)
    assert again == rows
    late = [row["sample"] for row in rows if row["method"] == "a" and row["stops"] == "late"]
    assert late != sorted(late)  # drawn, not the first ones of the split


def test_where_all_stop_together_nobody_is_late(task):
    data = data_of(levels().float(), task)
    rows, _ = sample_rows(seed_of(a=scored(np.ones(N, int), task, data.test.targets)), data)
    assert {row["stops"] for row in rows} == {"early"}


@pytest.mark.parametrize("pair", [False, True])
def test_texts_are_cut_to_a_line(task, pair):
    long = "word " * 500
    inputs = [(f"{i} a\n b", long) if pair else f"{i} a\n b {long}" for i in range(N)]
    data = data_of(inputs, task, None, "text")
    rows, arrays = sample_rows(seed_of(a=scored(np.repeat([0, 2], 30), task, data.test.targets)), data)
    for row in rows:
        assert row["text"].startswith(f"{row['sample']} a b")
        assert len(row["text"]) <= 203
        assert "\n" not in row["text"]
        assert "tile" not in row
    assert arrays == {}


def test_a_number_is_neither_right_nor_wrong():
    task = Task("regression", 1, "pearson_spearman")
    data = data_of([f"text {i}" for i in range(N)], task, None, "text")
    model = scored(np.repeat([0, 2], 30), task, np.linspace(0, 5, N))
    rows, _ = sample_rows(seed_of(a=model), data)
    assert {row["stops"] for row in rows} == {"early", "late"}
    assert all("correct" not in row and "confidence" not in row for row in rows)


def test_pictures_of_any_input():
    photo = torch.rand(3, 200, 100)
    known = Preprocessing(modality="vision", size=200, scale=255.0, mean=(0.5,) * 3, std=(0.25,) * 3)
    shown = np.asarray(picture((photo - 0.5) / 0.25, known))
    np.testing.assert_allclose(shown, 255 * photo.numpy().transpose(1, 2, 0), atol=0.6)
    spread = np.asarray(picture(torch.tensor([[[-3.0, 5.0], [1.0, 1.0]]]), None))
    assert spread.tolist() == [[0, 255], [128, 128]]
    for none in ("a text", torch.zeros(5), torch.zeros(4, 8, 8), torch.full((1, 2, 2), float("nan"))):
        assert picture(none, None) is None


def test_large_pictures_become_small_and_keep_their_shape(task):
    inputs = [torch.rand(3, 100, 50) for _ in range(N)]
    data = data_of(inputs, task, None)
    _, arrays = sample_rows(seed_of(a=scored(np.repeat([0, 2], 30), task, data.test.targets)), data)
    tiles = arrays["samples"]["tiles"]
    assert tiles.shape[1:] == (48, 48, 3)
    assert (tiles[:, :, :12] == 0).all()
    assert (tiles[:, :, 12:36].mean((1, 2, 3)) > 50).all()
