"""The fingerprint of what splits hold: the same folder with other files in it is another data set."""

import numpy as np
import pytest
import torch
from PIL import Image

from eebench.api import Task
from eebench.data import load
from eebench.data.base import PEEKED, Data, Split, content_sha256


def texts(**changed):
    splits = {name: Split([f"{name} {i}" for i in range(200)], np.arange(200) % 2) for name in ("train", "val", "test")}
    return Data("toy", "text", Task(), **{**splits, **changed}, split_hash="same")


def images(pixels, targets=None):
    split = Split(list(pixels), np.arange(len(pixels)) % 2 if targets is None else targets)
    return Data("toy", "vision", Task(), split, split, split, split_hash="same")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_any_text_and_any_label_counts(split):
    before = content_sha256(texts())
    assert content_sha256(texts()) == before
    words = [f"{split} {i}" for i in range(200)]
    flipped = 1 - np.arange(200) % 2
    assert content_sha256(texts(**{split: Split([*words[:-1], "other"], np.arange(200) % 2)})) != before
    assert content_sha256(texts(**{split: Split(words, flipped)})) != before


def test_pairs_of_texts_count_both():
    def pairs(second):
        return texts(test=Split([("a", second)], np.zeros(1, dtype=np.int64)))

    assert content_sha256(pairs("b")) != content_sha256(pairs("c"))


def test_images_are_looked_at_evenly_and_labels_all():
    pixels = torch.rand(500, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    before = content_sha256(images(pixels))
    assert content_sha256(images(pixels.clone())) == before
    assert content_sha256(images(pixels + 0.01)) != before
    targets = np.arange(500) % 2
    targets[77] = 1 - targets[77]
    assert content_sha256(images(pixels, targets)) != before
    looked = []

    class Watched:
        def __len__(self):
            return len(pixels)

        def __getitem__(self, i):
            looked.append(i)
            return pixels[i]

    data = images(pixels)
    data.test = Split(Watched(), data.test.targets)
    content_sha256(data)
    assert len(looked) == PEEKED
    assert (looked[0], looked[-1]) == (0, 499)


def test_files_count_by_size_and_time_and_pixels_in_memory_all(tmp_path):
    for split, shade in (("train", 40), ("test", 90)):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            for i in range(80):
                Image.new("RGB", (8, 8), (shade + i, 0, i)).save(tmp_path / split / label / f"{i}.png")
    before = content_sha256(load(str(tmp_path)))
    assert content_sha256(load(str(tmp_path))) == before
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "dog" / "33.png")  # one of 320, looked at by no sample
    assert content_sha256(load(str(tmp_path))) != before
    digits = load("digits")
    before = content_sha256(digits)
    digits.train.inputs.pixels[123, 0, 0, 0] += 1
    assert content_sha256(digits) != before
