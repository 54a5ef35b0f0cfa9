"""IDX files: round trips, damage of every kind, and the real Fashion-MNIST where it is at hand."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from eebench import data
from eebench.data.kinds.idx import STEMS, read_idx
from eebench.errors import UserError


def idx_bytes(array, kind=8):
    return struct.pack(">BBBB", 0, 0, kind, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder: Path, train=120, test=40, side=28, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    made = {}
    for split, n in (("train", train), ("test", test)):
        images = rng.integers(0, 256, (n, side, side), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        for stem, array in zip(STEMS[split], (images, labels), strict=True):
            content = idx_bytes(array)
            if packed:
                (folder / f"{stem}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / stem).write_bytes(content)
        made[split] = images, labels
    return made


@pytest.mark.parametrize("place", [".", "fashion_mnist", "fashion-mnist", "FashionMNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_found_read_and_split(tmp_path, place, packed):
    made = write(tmp_path / place, packed=packed)
    found = data.load("fashion_mnist", data_dir=tmp_path)
    assert (found.image_size, found.patch_size, found.channels) == (28, 4, 1)
    assert [len(s) for s in (found.train, found.val, found.test)] == [108, 12, 40]
    assert found.task.labels[9] == "Ankle boot"
    how = found.preprocessing
    back = torch.stack(list(found.test.inputs)) * how.std[0] + how.mean[0]
    assert np.array_equal(back.round().squeeze(1).byte().numpy(), made["test"][0])
    assert np.array_equal(found.test.targets, made["test"][1])
    rest = {image.tobytes() for split in (found.train, found.val) for image in split.inputs.pixels.numpy()}
    assert rest == {image.tobytes() for image in made["train"][0]}


def test_grey_images_are_shifted_never_mirrored(tmp_path):
    write(tmp_path)
    for name in ("fashion_mnist", "mnist", "kmnist"):
        found = data.load(name, data_dir=tmp_path)
        assert found.augment == "shift"
        assert not found.train.inputs.augmentation.mirrors


def test_at_a_pre_trained_models_size(tmp_path):
    write(tmp_path)
    found = data.load("fashion_mnist", data_dir=tmp_path, image_size=70)
    assert (found.image_size, found.patch_size, found.channels) == (70, None, 3)
    assert found.train.inputs[0].shape == (3, 70, 70)


def test_debians_place_is_looked_in_without_a_data_directory(tmp_path, monkeypatch):
    write(tmp_path / "debian")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("eebench.data.kinds.idx.DEBIAN", {"fashion_mnist": tmp_path / "debian"})
    assert len(data.load("fashion_mnist").test) == 40


GOOD = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))


DAMAGE = {
    "short": (GOOD[:-1], False, "is cut short: its header promises 12 values, it has 11"),
    "header": (GOOD[:9], False, "is cut short: it ends within its header"),
    "long": (GOOD + b"x", False, "is too long: its header promises 12 values, it has 13"),
    "empty": (b"", False, "not an IDX file: it starts with nothing"),
    "magic": (b"\x89PNG" + GOOD, False, "not an IDX file: it starts with 89 50 4e 47"),
    "labels": (idx_bytes(np.zeros(3, np.uint8)), False, "holds type 8 with 1 dimensions"),
    "floats": (idx_bytes(np.zeros((3, 2, 2), np.uint8), kind=13), False, "holds type 13 with 3 dimensions"),
    "stream": (gzip.compress(GOOD)[:-9], True, "cut short: the gzip stream ends"),
    "plain": (GOOD, True, "cannot be read: Not a gzipped file"),
    "garbage": (gzip.compress(GOOD)[:10] + b"\xff" * 30, True, "cannot be read: Error -3"),
}


@pytest.mark.parametrize(("content", "packed", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named(tmp_path, content, packed, message):
    path = tmp_path / ("images.gz" if packed else "images")
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_idx(path, 3)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_do_not_belong_together(tmp_path):
    write(tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx_bytes(np.zeros(39, np.uint8))))
    with pytest.raises(UserError, match=r"t10k-images.* has 40 images, .*t10k-labels.* 39 labels"):
        data.load("fashion_mnist", data_dir=tmp_path)
    labels.write_bytes(gzip.compress(idx_bytes(np.full(40, 10, np.uint8))))
    with pytest.raises(UserError, match="has label 10; expected 0 to 9"):
        data.load("fashion_mnist", data_dir=tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(np.zeros((40, 3, 4), np.uint8))))
    labels.write_bytes(gzip.compress(idx_bytes(np.zeros(40, np.uint8))))
    with pytest.raises(UserError, match="expected squares"):
        data.load("fashion_mnist", data_dir=tmp_path)


@pytest.mark.skipif("EEBENCH_REAL_DATA" not in os.environ, reason="EEBENCH_REAL_DATA names no folder of real data")
def test_the_real_fashion_mnist():
    found = data.load("fashion_mnist", data_dir=Path(os.environ["EEBENCH_REAL_DATA"]) / "fashion-mnist")
    assert [len(s) for s in (found.train, found.val, found.test)] == [54_000, 6_000, 10_000]
    assert np.bincount(found.val.targets).tolist() == [600] * 10
    assert np.bincount(found.test.targets).tolist() == [1_000] * 10
    # The mean and standard deviation that are quoted for its 60,000 training images: 0.2860 and 0.3530.
    assert found.preprocessing.mean[0] / 255 == pytest.approx(0.2860, abs=5e-4)
    assert found.preprocessing.std[0] / 255 == pytest.approx(0.3530, abs=5e-4)
