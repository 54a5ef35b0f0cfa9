"""Every way a data set can come, and what becomes train, validation and test."""

import numpy as np
import pytest

from eebench.data.base import split_sha256
from eebench.data.splits import HOLDOUT_MOST, divide
from eebench.errors import UserError

LABELS = [str(c) for c in range(20)]


def some(n, classes=4, seed=0):
    return np.random.default_rng(seed).integers(0, classes, n)


def test_all_three_are_taken_as_they_are():
    targets = {"train": some(50), "val": some(20, seed=1), "test": some(30, seed=2)}
    parts = divide(targets, "x", labels=LABELS)
    for split in ("train", "val", "test"):
        part = getattr(parts, split)
        assert part.source == split
        assert part.ids.tolist() == list(range(len(targets[split])))
    assert parts.notes == []
    assert parts.sha256 == split_sha256(range(50), range(20), range(30))


def test_validation_comes_from_train_never_from_test():
    targets = {"train": some(1000), "test": some(100, seed=1)}
    parts = divide(targets, "x", labels=LABELS)
    assert (parts.train.source, parts.val.source, parts.test.source) == ("train", "train", "test")
    assert sorted([*parts.train.ids, *parts.val.ids]) == list(range(1000))
    assert parts.test.ids.tolist() == list(range(100))
    whole, held = np.bincount(targets["train"]), np.bincount(targets["train"][parts.val.ids])
    assert np.abs(held - whole / 10).max() <= 1
    assert any("validation samples taken from the training split" in note for note in parts.notes)


def test_a_validation_split_without_a_test_split_is_the_test_set():
    targets = {"train": some(200), "val": some(50, seed=1)}
    parts = divide(targets, "x", labels=LABELS)
    assert (parts.train.source, parts.val.source, parts.test.source) == ("train", "train", "val")
    assert len(parts.test.ids) == 50
    assert "serves as the test set" in parts.notes[0]


def test_one_piece_is_cut_in_three():
    targets = some(1000)
    parts = divide({"train": targets}, "x", labels=LABELS)
    ids = [parts.train.ids, parts.val.ids, parts.test.ids]
    assert sorted(np.concatenate(ids)) == list(range(1000))
    whole = np.bincount(targets)
    for part, share in zip(ids, (0.7, 0.1, 0.2), strict=True):
        assert np.abs(np.bincount(targets[part]) - share * whole).max() <= 1


def test_the_same_data_give_the_same_split_and_other_labels_another():
    first, again, other = (divide({"train": some(300, seed=s)}, "x", labels=LABELS).sha256 for s in (0, 0, 1))
    assert first == again != other


def test_very_large_sets_hold_out_ten_thousand():
    targets = {"train": some(250_000), "test": some(10)}
    parts = divide(targets, "x", labels=LABELS)
    assert abs(len(parts.val.ids) - HOLDOUT_MOST) <= 4


def test_a_class_with_one_sample_is_trained_on_whichever_it_is():
    for singles in range(1, 12):  # many groups, so that some single draws validation or test
        targets = np.concatenate([np.zeros(30, int), np.ones(30, int), np.arange(2, 2 + singles)])
        for brought in ({"train": targets}, {"train": targets, "test": np.array([0, 1])}):
            parts = divide(brought, "x", labels=LABELS)
            assert set(targets[parts.train.ids]) == set(targets)
            own = [p.ids for p in (parts.train, parts.val, parts.test) if p.source == "train"]
            assert sorted(np.concatenate(own)) == list(range(len(targets)))


def test_regression_is_not_stratified():
    targets = {"train": np.linspace(-1, 1, 100, dtype=np.float32), "test": np.ones(5, np.float32)}
    parts = divide(targets, "x", labels=None)
    assert len(parts.val.ids) in (10, 11)
    assert not set(parts.train.ids) & set(parts.val.ids)


@pytest.mark.parametrize(
    ("targets", "labels", "message"),
    [
        ({"train": np.zeros(9, int), "test": np.zeros(2, int)}, ["cat"], "only one class, 'cat'"),
        ({"train": np.zeros(0, int), "test": np.zeros(2, int)}, ["cat"], "no samples"),
        ({"train": some(50, 2), "test": np.array([2])}, ["a", "b", "c"], "the test split has class 'c'"),
        ({"train": some(50, 2), "test": np.zeros(0, int)}, ["a", "b"], "none is left to test on"),
        ({"train": np.array([0, 1]), "test": np.array([0])}, ["a", "b"], "too few: none is left to validate on"),
        ({"train": np.ones(9, np.float32), "test": np.ones(2, np.float32)}, None, "same target"),
    ],
)
def test_what_cannot_be_learnt_or_judged(targets, labels, message):
    with pytest.raises(UserError) as error:
        divide(targets, "x", labels=labels)
    assert str(error.value).startswith("x: ")
    assert message in str(error.value)
