"""Copies of samples are kept in one split; fewer samples are a fixed, fair choice."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from eebench import data
from eebench.data.pixels import pixel_data
from eebench.data.sampling import stratified
from eebench.data.splits import divide
from eebench.data.texts import normal
from eebench.errors import UserError

from .test_images import fill, picture
from .test_pixels import noise
from .test_text import write


def members(split):
    return {image.numpy().tobytes() for image in split.inputs.pixels}


def test_planted_copies_of_images():
    train, val, test = noise(60), noise(20, seed=1), noise(20, seed=2)
    train[:3], train[3:7], val[:2] = test[:3], val[10:14], test[5:7]
    train[20] = train[21]  # within one split they may stay
    train[30] = val[0]  # a copy of a validation image that is itself a copy of a test image
    sources = {name: (x, np.arange(len(x)) % 2) for name, x in (("train", train), ("val", val), ("test", test))}
    found = pixel_data("x", sources, ["a", "b"])
    assert found.copies == {"train/test": 4, "train/val": 4, "val/test": 2}
    assert [len(s) for s in (found.train, found.val, found.test)] == [52, 18, 20]
    assert torch.equal(found.test.inputs.pixels, test)
    assert not members(found.train) & members(found.val)
    assert not (members(found.train) | members(found.val)) & members(found.test)
    assert "4 training samples left out: copies of test samples (same content)" in found.notes
    assert "2 validation samples left out: copies of test samples (same content)" in found.notes


@pytest.mark.parametrize("copies", [0, 40])
def test_a_data_set_in_one_piece_against_brute_force(copies):
    pixels = noise(200)
    pixels[200 - copies :] = pixels[:copies]
    found = pixel_data("x", {"train": (pixels, np.arange(200) % 2)}, ["a", "b"])
    splits = [members(found.train), members(found.val), members(found.test)]
    assert not splits[0] & splits[1]
    assert not (splits[0] | splits[1]) & splits[2]
    assert set.union(*splits) == {image.numpy().tobytes() for image in pixels}
    assert (sum(found.copies.values()) > 0) == (copies > 0)


def test_texts_are_compared_without_case_and_white_space(tmp_path):
    train = [("How  big is it?", "a"), ("ﬁne", "b"), *((f"train {i}", "ab"[i % 2]) for i in range(30))]
    write(tmp_path / "train.csv", ("text", "label"), train)
    write(tmp_path / "test.csv", ("text", "label"), [("how big\nis IT?", "a"), ("fine", "b"), ("new", "b")])
    found = data.load(f"csv:{tmp_path}")
    assert found.copies["train/test"] + found.copies["val/test"] == 2
    assert found.test.inputs == ["how big\nis IT?", "fine", "new"]
    seen = {normal(text) for split in (found.train, found.val) for text in split.inputs}
    assert seen == {f"train {i}" for i in range(30)}


def test_pairs_are_copies_when_both_texts_are(tmp_path):
    write(tmp_path / "train.csv", ("text", "text2", "label"), [(f"t{i}", "x", i % 2) for i in range(40)])
    write(tmp_path / "test.csv", ("text", "text2", "label"), [("t0", "x", 0), ("t1", "y", 1), ("t2 x", "", 0)])
    assert sum(data.load(f"csv:{tmp_path}").copies.values()) == 1


@pytest.mark.parametrize("size", [(28, 28), (40, 36)])
def test_copies_among_files(tmp_path, size):
    fill(tmp_path / "train", ["a", "b"], 20, size=size)
    fill(tmp_path / "test", ["a", "b"], 4, start=1000, size=size)
    for i in range(3):
        (tmp_path / "train" / "a" / f"again{i}.png").write_bytes((tmp_path / "test" / "a" / f"{i}.png").read_bytes())
    found = data.load(str(tmp_path), image_size=28)
    assert sum(found.copies.values()) == 3
    assert len(found.train) + len(found.val) == 40
    assert len(found.test) == 8


def test_nothing_but_copies_is_an_error(tmp_path):
    fill(tmp_path / "train", ["a", "b"], 10)
    fill(tmp_path / "test", ["a", "b"], 10)
    with pytest.raises(UserError, match="0 training samples are left without the 20"):
        data.load(str(tmp_path))
    pixels, targets = noise(40), np.arange(40) % 2
    sources = {"train": (pixels, targets), "test": (pixels[1::2], targets[1::2])}
    sources["val"] = (noise(9, seed=3), targets[:9])
    with pytest.raises(UserError, match="every training sample of class 'b' is a copy"):
        pixel_data("x", sources, ["a", "b"])


@pytest.mark.parametrize("count", [10, 37, 99, 100, 500])
def test_fewer_samples_keep_the_classes_shares(count):
    targets = np.random.default_rng(0).choice(10, 1000, p=[0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01])
    ids = stratified(targets, count)
    assert len(ids) == len(set(ids)) == count
    assert np.array_equal(ids, stratified(targets, count))
    quota, share = np.bincount(targets[ids], minlength=10), np.bincount(targets) * count / 1000
    assert quota.min() >= 1
    assert (quota <= np.maximum(np.ceil(share), 1)).all()
    if count >= 99:
        assert (quota >= np.floor(share)).all()


def test_fewer_than_classes_and_real_numbers_and_all():
    targets = np.arange(20)
    assert len(set(targets[stratified(targets, 7)])) == 7
    assert stratified(targets, 20).tolist() == list(range(20))
    numbers = np.random.default_rng(0).normal(size=500).astype(np.float32)
    assert len(stratified(numbers, 50, stratify=False)) == 50


def test_a_limit_leaves_official_splits_alone(tmp_path):
    whole = data.load("digits")
    found = data.load("digits", limit=300)
    assert [len(s) for s in (found.train, found.val, found.test)] == [300, 59, 90]
    assert members(found.train) < members(whole.train)
    assert members(found.test) < members(whole.test)
    assert found.split_hash != whole.split_hash
    assert "limited to 300 training samples: 300 train, 59 validation, 90 test" in found.notes
    fill(tmp_path / "train", ["a", "b"], 50)
    fill(tmp_path / "test", ["a", "b"], 10, start=1000)
    folder = data.load(str(tmp_path), limit=45)
    assert [len(s) for s in (folder.train, folder.val, folder.test)] == [45, 5, 20]
    assert data.load(str(tmp_path), limit=10**6).split_hash == data.load(str(tmp_path)).split_hash
    with pytest.raises(UserError, match="--limit 9 leaves fewer training samples than its 10 classes"):
        data.load("digits", limit=9)


def test_a_smoke_runs_subset_is_of_every_split():
    found = data.load("digits").fewer(128, 64, 64)
    assert [len(s) for s in (found.train, found.val, found.test)] == [128, 64, 64]
    assert torch.equal(found.train.inputs[5], found.train.inputs.take(np.array([5]))[0])
    assert np.bincount(found.train.targets).min() >= 12


@pytest.mark.parametrize("brought", ["val", "test"])
def test_one_sample_judges_nothing(brought):
    targets = {"train": np.arange(40) % 2, "val": np.arange(4) % 2, "test": np.arange(4) % 2}
    targets[brought] = np.array([1])
    with pytest.raises(UserError, match="split has one sample, on which nothing can be judged"):
        divide(targets, "x", labels=["a", "b"])


# --- every image is read before anything trains ---------------------------------------------------------------------


def test_an_unreadable_image_is_found_at_once_with_the_number_of_others(tmp_path):
    for split, start in (("train", 0), ("test", 1000)):
        fill(tmp_path / split, ["a", "b"], 10, start=start)
    for name in ("3", "7"):
        path = tmp_path / "test" / "b" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError) as error:
        data.load(str(tmp_path))
    assert str(error.value).startswith(f"image '{tmp_path / 'test' / 'b' / '3.png'}' cannot be read: ")
    assert str(error.value).endswith("(and 1 more)")


def test_a_jpeg_that_is_cut_short_is_found(tmp_path):
    for split, start in (("train", 0), ("test", 100)):
        for c, name in enumerate(("a", "b")):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(10):
                picture(start + 20 * c + i, size=(300, 200)).save(tmp_path / split / name / f"{i}.jpg")
    data.load(str(tmp_path))
    path = tmp_path / "train" / "a" / "0.jpg"
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(UserError, match=r"a/0.jpg' cannot be read: .*truncated"):
        data.load(str(tmp_path))


def test_what_was_read_once_is_not_read_again_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fill(tmp_path / "set" / "train", ["a", "b"], 20)
    fill(tmp_path / "set" / "test", ["a", "b"], 4, start=1000)
    opened = []
    look = Image.open
    monkeypatch.setattr("eebench.data.index.Image.open", lambda *a, **o: opened.append(a) or look(*a, **o))
    first = data.load(str(tmp_path / "set"))
    seen = len(opened)
    assert seen >= 48
    opened.clear()
    assert data.load(str(tmp_path / "set")).split_hash == first.split_hash
    assert len(opened) == seen - 48  # what tells small images from large ones alone
    (tmp_path / "set" / "test" / "a" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"0.png' cannot be read"):
        data.load(str(tmp_path / "set"))
    for kept in (tmp_path / "cache" / "eebench").iterdir():
        kept.write_bytes(kept.read_bytes()[:30])
    picture(5000).save(tmp_path / "set" / "test" / "a" / "0.png")
    assert len(data.load(str(tmp_path / "set")).test) == 8


def test_a_home_that_cannot_be_written_to_costs_time_alone(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fill(tmp_path / "set", ["a", "b"], 20)
    assert len(data.load(str(tmp_path / "set")).train) == 28


def test_a_link_that_leads_back_is_named(tmp_path):
    fill(tmp_path / "train", ["a", "b"], 20)
    fill(tmp_path / "test", ["a", "b"], 4, start=1000)
    (tmp_path / "train" / "a" / "more").mkdir()
    (tmp_path / "train" / "a" / "more" / "round").symlink_to(tmp_path / "train" / "a")
    with pytest.raises(UserError, match=r"more/round' is a link that leads back to a folder above it"):
        data.load(str(tmp_path))
    (tmp_path / "train" / "a" / "more" / "round").unlink()
    (tmp_path / "elsewhere").mkdir()
    picture(77).save(tmp_path / "elsewhere" / "x.png")
    (tmp_path / "train" / "a" / "more" / "out").symlink_to(tmp_path / "elsewhere")
    found = data.load(str(tmp_path))
    assert len(found.train) + len(found.val) == 41
    itself = tmp_path / "train" / "a" / "itself.png"
    itself.symlink_to(itself)
    with pytest.raises(UserError, match=r"itself.png' cannot be read: Too many levels of symbolic links"):
        data.load(str(tmp_path))
    itself.unlink()
    (tmp_path / "train" / "a" / "broken.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"broken.png' cannot be read: No such file"):
        data.load(str(tmp_path))


def test_names_that_are_not_utf_8(tmp_path):
    fill(tmp_path, ["a", "b"], 20)
    strange = bytes(tmp_path / "a") + b"/\xe9.png"
    with open(strange, "wb") as file:
        picture(500).save(file, "png")
    found = data.load(str(tmp_path))
    assert sum(map(len, (found.train, found.val, found.test))) == 41
    with open(strange, "wb") as file:
        file.write(b"no image")
    with pytest.raises(UserError) as error:
        data.load(str(tmp_path))
    assert r"a/\udce9.png' cannot be read" in str(error.value)
    str(error.value).encode()
    os.mkdir(bytes(tmp_path) + b"/\xff")
    with pytest.raises(UserError, match="its name cannot be printed as UTF-8; rename it"):
        data.load(str(tmp_path))
