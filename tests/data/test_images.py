"""Image folders and lazily read images: modes, layouts, damage, and randomness that can be repeated."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform

from eebench import data
from eebench.data.augment import seeded
from eebench.data.base import batches
from eebench.data.images import CROP, Images, Source, native_size
from eebench.data.preprocessing import Preprocessing, rgb
from eebench.errors import UserError


def picture(seed, size=(40, 36), mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def fill(folder: Path, classes, n=10, start=0, **options):
    for c, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            picture(start + 100 * c + i, **options).save(folder / name / f"{i}.png")


def files_of(split):
    """The file behind every item of a split, with its class."""
    files = split.inputs.source.files
    return {(str(files[i]), int(t)) for i, t in zip(split.inputs.ids, split.targets, strict=True)}


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_three_folders(tmp_path, validation):
    for start, (split, n) in enumerate((("train", 6), (validation, 3), ("test", 4))):
        fill(tmp_path / split, ["cat", "dog"], n, start=1000 * start)
    found = data.load(f"folder:{tmp_path}", image_size=32)
    assert [len(s) for s in (found.train, found.val, found.test)] == [12, 6, 8]
    assert found.task.labels == ("cat", "dog")
    for split, folder in ((found.train, "train"), (found.val, validation), (found.test, "test")):
        oracle = {
            (str(path), c) for c, name in enumerate(("cat", "dog")) for path in (tmp_path / folder / name).iterdir()
        }
        assert files_of(split) == oracle
    assert (found.image_size, found.patch_size, found.channels, found.augments) == (32, None, 3, True)


def test_class_folders_alone_are_split_by_eebench(tmp_path):
    fill(tmp_path, ["10", "9"], 20)
    found = data.load(str(tmp_path))
    assert found.task.labels == ("9", "10")
    assert found.image_size == 224
    parts = [files_of(s) for s in (found.train, found.val, found.test)]
    assert [len(p) for p in parts] == [28, 4, 8]
    assert set.union(*parts) == {(str(p), int(p.parent.name == "10")) for p in tmp_path.glob("*/*.png")}
    assert "split by eebench: 28 train, 4 validation, 8 test" in found.notes
    assert data.load(str(tmp_path)).split_hash == found.split_hash


def test_imagenets_validation_images_are_the_test_set(tmp_path):
    fill(tmp_path / "imagenet" / "train", ["n01", "n02"], 20)
    fill(tmp_path / "imagenet" / "val", ["n01", "n02"], 5, start=1000)
    found = data.load("imagenet", data_dir=tmp_path)
    assert [len(s) for s in (found.train, found.val, found.test)] == [36, 4, 10]
    assert all("/val/" in file for file, _ in files_of(found.test))
    assert all("/train/" in file for file, _ in files_of(found.val))
    assert any("serves as the test set" in note for note in found.notes)
    assert found.image_size == 224


def test_training_is_random_and_repeatable_and_the_rest_is_neither_random_nor_cropped_twice(tmp_path):
    fill(tmp_path, ["a", "b"], 10)
    found = data.load(str(tmp_path), image_size=24)

    def epoch(split, seed, number, order=None):
        split.inputs.set_epoch(seed, number)
        items = {i: split.inputs[i] for i in (order or range(len(split)))}
        return torch.stack([items[i] for i in range(len(split))])

    first = epoch(found.train, 0, 1)
    assert first.shape == (14, 3, 24, 24)
    assert torch.equal(first, epoch(found.train, 0, 1, order=list(range(14))[::-1]))
    assert not torch.equal(first, epoch(found.train, 0, 2))
    assert not torch.equal(first, epoch(found.train, 1, 1))
    assert torch.equal(epoch(found.val, 0, 1), epoch(found.val, 1, 7))


def test_seeded_random_numbers_leave_the_others_alone():
    random.seed(1)
    torch.manual_seed(1)
    before = random.random(), torch.rand(3).tolist()
    random.seed(1)
    torch.manual_seed(1)
    with seeded(3, 4, 5):
        inside = random.random(), torch.rand(3).tolist()
    assert (random.random(), torch.rand(3).tolist()) == before
    with seeded(3, 4, 5):
        assert (random.random(), torch.rand(3).tolist()) == inside
    with seeded(3, 4, 6):
        assert (random.random(), torch.rand(3).tolist()) != inside
    with pytest.raises(ZeroDivisionError), seeded(3, 4, 5):
        _ = 1 / 0
    random.seed(1)
    assert random.random() == before[0]


def test_evaluation_is_resize_and_centre_crop():
    image = picture(0, size=(90, 60))
    how = Preprocessing("vision", crop=CROP, size=28, scale=255.0, mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
    source = Source(lambda i: image, np.zeros(1, int))
    got = Images(source, np.array([0]), how)[0]
    assert torch.equal(got, create_transform(28, is_training=False, interpolation="bicubic")(image))
    resized = image.resize((48, 32), Image.Resampling.BICUBIC)  # 28 / 0.875 = 32 on the short side
    pixels = np.asarray(resized.crop((10, 2, 38, 30)), dtype=np.float32) / 255
    oracle = (pixels - np.array(IMAGENET_DEFAULT_MEAN)) / np.array(IMAGENET_DEFAULT_STD)
    np.testing.assert_allclose(got.permute(1, 2, 0), oracle, atol=1e-5)


def test_a_folder_of_small_images_runs_at_their_size_in_memory(tmp_path):
    fill(tmp_path, ["a", "b"], 10, size=(28, 28))
    found = data.load(str(tmp_path))
    assert (found.image_size, found.patch_size, found.channels, found.augment) == (28, 4, 3, "shift")
    held = torch.cat([s.inputs.pixels for s in (found.train, found.val, found.test)])
    oracle = {np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in tmp_path.glob("*/*.png")}
    assert {image.numpy().tobytes() for image in held} == oracle
    larger = data.load(str(tmp_path), image_size=56)
    assert (larger.image_size, larger.patch_size) == (56, None)
    assert larger.train.inputs[0].shape == larger.test.inputs[0].shape == (3, 56, 56)


def test_a_folder_of_small_grey_images_has_one_channel(tmp_path):
    fill(tmp_path, ["a", "b"], 10, size=(28, 28), mode="L")
    found = data.load(str(tmp_path))
    assert (found.channels, found.preprocessing.colours) == (1, "L")
    assert data.load(str(tmp_path), image_size=56).test.inputs[0].shape == (3, 56, 56)
    picture(0, size=(28, 28)).save(tmp_path / "a" / "0.png")  # one in colour
    assert data.load(str(tmp_path)).channels == 3


def test_too_many_small_images_stay_on_disk(tmp_path, monkeypatch):
    fill(tmp_path, ["a", "b"], 10, size=(28, 28))
    monkeypatch.setattr("eebench.data.images.MEMORY", 1000)
    found = data.load(str(tmp_path))
    assert isinstance(found.train.inputs, Images)
    assert (found.image_size, found.patch_size, found.augment) == (28, 4, "shift")
    image = found.test.inputs.source.read(int(found.test.inputs.ids[0]))
    pixels = np.asarray(image, dtype=np.float32) / 255
    oracle = (pixels - np.array(IMAGENET_DEFAULT_MEAN)) / np.array(IMAGENET_DEFAULT_STD)
    np.testing.assert_allclose(found.test.inputs[0].permute(1, 2, 0), oracle, atol=1e-5)
    found.train.inputs.set_epoch(0, 3)
    first = torch.stack(list(found.train.inputs))
    assert torch.equal(first, torch.stack(list(found.train.inputs)))
    found.train.inputs.set_epoch(0, 4)
    assert not torch.equal(first, torch.stack(list(found.train.inputs)))


def test_native_size_needs_one_small_square():
    def source(*sizes):
        return Source(lambda i: Image.new("RGB", sizes[i % len(sizes)]), np.zeros(50, int))

    assert native_size(source((32, 32))) == 32
    assert native_size(source((32, 32), (28, 28))) is None
    assert native_size(source((32, 30))) is None
    assert native_size(source((33, 33))) is None


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("L", "png"),
        ("LA", "png"),
        ("1", "png"),
        ("P", "png"),
        ("P", "gif"),
        ("RGBA", "png"),
        ("CMYK", "jpg"),
        ("YCbCr", "jpg"),
    ],
)
def test_mixed_modes_become_rgb(tmp_path, mode, suffix):
    fill(tmp_path, ["a", "b"], 10)
    for i in range(10):
        (tmp_path / "a" / f"{i}.png").unlink()
        picture(i).convert(mode).save(tmp_path / "a" / f"{i}.{suffix}")
    found = data.load(str(tmp_path), image_size=16)
    for split in (found.train, found.val, found.test):
        for batch in batches(split, torch.stack, 4):
            assert batch.inputs.shape[1:] == (3, 16, 16)
            assert batch.inputs.isfinite().all()


def test_colours_survive_the_way_to_rgb():
    for mode in ("RGB", "RGBA", "P", "CMYK"):
        red = rgb(Image.new("RGB", (2, 2), (255, 0, 0)).convert(mode))
        assert red.mode == "RGB"
        assert np.abs(np.asarray(red, int) - (255, 0, 0)).max() <= 1
    palette = Image.new("RGB", (2, 2), (0, 128, 255)).convert("P")
    palette.info["transparency"] = b"\x80" * 256
    assert np.abs(np.asarray(rgb(palette), int) - (0, 128, 255)).max() <= 60


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bit_grey_keeps_its_levels(dtype):
    levels = np.array([[0, 257, 32768, 65535]], dtype=dtype)
    assert np.asarray(rgb(Image.fromarray(levels)))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"no image"])
def test_an_unreadable_image_is_named_and_never_replaced(tmp_path, damage):
    fill(tmp_path, ["a", "b"], 10)
    found = data.load(str(tmp_path), image_size=16)
    source, index = found.test.inputs.source, int(found.test.inputs.ids[1])
    path = source.files[index]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError) as error:
        found.test.inputs[1]
    assert str(error.value).startswith(f"image '{path}' cannot be read: ")
    assert "\n" not in str(error.value)
    assert found.test.inputs[0].shape == (3, 16, 16)


def test_folders_that_cannot_be_learnt_from(tmp_path):
    fill(tmp_path / "one", ["cat"], 10)
    with pytest.raises(UserError, match="only one class, 'cat'"):
        data.load(str(tmp_path / "one"))
    fill(tmp_path / "gap", ["cat", "dog"], 10)
    (tmp_path / "gap" / "eel").mkdir()
    with pytest.raises(UserError, match=r"class folder '.*gap/eel' holds no images"):
        data.load(str(tmp_path / "gap"))
    (tmp_path / "none" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match=r"none' holds no images"):
        data.load(str(tmp_path / "none"))
    fill(tmp_path / "new" / "train", ["cat", "dog"], 10)
    fill(tmp_path / "new" / "test", ["cat", "eel"], 2)
    with pytest.raises(UserError, match=r"test/eel' is a class that the training images in '.*train' lack"):
        data.load(str(tmp_path / "new"))


def test_what_was_left_out_is_said(tmp_path):
    fill(tmp_path / "train", ["cat", "dog"], 20)
    fill(tmp_path / "test", ["cat"], 5, start=1000)
    (tmp_path / "test" / "dog").mkdir()
    (tmp_path / "train" / "cat" / "notes.txt").touch()
    (tmp_path / "train" / ".cache").mkdir()
    found = data.load(str(tmp_path), image_size=16)
    assert "no test image of class dog" in found.notes
    assert f"1 files in '{tmp_path / 'train'}' are no images of a class and were ignored" in found.notes
    assert found.task.classes == 2


def test_positions_are_those_of_the_split():
    source = Source(lambda i: Image.new("RGB", (4, 4), (i, i, i)), np.arange(9))
    how = Preprocessing("vision", native=4, size=4, mean=(0.0,) * 3, std=(1.0,) * 3)
    images = Images(source, np.array([2, 5, 7]), how)
    assert [int(image[0, 0, 0]) for image in images] == [2, 5, 7]
    assert [int(image[0, 0, 0]) for image in images.subset(np.array([2, 0]))] == [7, 2]
