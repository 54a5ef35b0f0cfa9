"""A deployed model sees exactly what it was scored on: raw samples through ``Preprocessing`` equal the test inputs."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from eebench import data
from eebench.data.kinds.mnist5k import read_mnist5k
from eebench.data.preprocessing import Preprocessing
from eebench.errors import UserError

from .test_idx import write as write_idx
from .test_images import fill, picture
from .test_vision import cifar  # noqa: F401  # a fixture


def stored(found):
    """As a run's record brings it back."""
    return Preprocessing.from_dict(json.loads(json.dumps(found.preprocessing.to_dict())))


def same(found, raw):
    prepared = stored(found).apply(raw)
    assert torch.equal(torch.stack(prepared), torch.stack([found.test.inputs[i] for i in range(len(found.test))]))


def rows_of(found, pixels):
    """Positions of the test images among all of ``pixels`` (N, H, W)."""
    where = {image.tobytes(): i for i, image in enumerate(pixels)}
    return [where[image.numpy().tobytes()] for image in found.test.inputs.pixels]


@pytest.mark.parametrize("size", [None, 20])
def test_digits_in_every_form(size):
    found = data.load("digits", image_size=size)
    whole = load_digits().images  # float64, 0 to 16
    images = whole[rows_of(found, whole.astype(np.uint8))]
    same(found, images)
    same(found, images.astype(np.uint8))
    same(found, torch.from_numpy(images))
    same(found, list(images.astype(np.int64)))
    same(found, images[..., None])
    same(found, images / 16)  # shares of white


def test_a_picture_of_a_digit_is_brought_to_the_data_sets_levels():
    found = data.load("digits")
    levels = found.test.inputs.pixels[0, 0].numpy()
    image = Image.fromarray((levels * 255.0 / 16).round().astype(np.uint8))
    torch.testing.assert_close(stored(found).apply(image)[0], found.test.inputs[0], atol=0.01, rtol=0)
    assert stored(found).apply(image.resize((50, 70)))[0].shape == (1, 8, 8)


@pytest.mark.parametrize("size", [None, 40])
def test_mnist5k(size):
    found = data.load("mnist5k", image_size=size)
    whole, _ = read_mnist5k()
    images = whole[rows_of(found, whole)]
    same(found, images)
    same(found, [Image.fromarray(image) for image in images])
    same(found, images.astype(np.float64))
    assert len(stored(found).apply(images[0])) == 1


def test_idx(tmp_path):
    made = write_idx(tmp_path)
    same(data.load("fashion_mnist", data_dir=tmp_path), made["test"][0])


@pytest.mark.parametrize("size", [None, 48])
def test_torchvision(cifar, size):  # noqa: F811
    root, made = cifar
    found = data.load("cifar10", data_dir=root, image_size=size)
    planes = made["test_batch"].reshape(-1, 3, 32, 32)
    same(found, planes)
    same(found, planes.transpose(0, 2, 3, 1))
    same(found, [Image.fromarray(image) for image in planes.transpose(0, 2, 3, 1)])


@pytest.mark.parametrize("options", [{"size": (28, 28)}, {"size": (28, 28), "mode": "L"}, {"size": (90, 60)}])
@pytest.mark.parametrize("size", [None, 32])
@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_folders(tmp_path, options, size, memory, monkeypatch):
    monkeypatch.setattr("eebench.data.images.MEMORY", memory)
    for start, split in enumerate(("train", "test")):
        fill(tmp_path / split, ["a", "b"], 10, start=1000 * start, **options)
    found = data.load(str(tmp_path), image_size=size)
    files = [tmp_path / "test" / name / f"{i}.png" for name in "ab" for i in range(10)]
    same(found, files)
    same(found, [str(file) for file in files])
    same(found, [Image.open(file) for file in files])
    same(found, [np.asarray(Image.open(file)) for file in files])


def test_modes_and_sizes_a_data_set_never_showed():
    colour = Preprocessing("vision", native=28, size=28, mean=(0.0,) * 3, std=(1.0,) * 3)
    grey = Preprocessing("vision", colours="L", native=28, size=28, mean=(0.0,), std=(1.0,), channels=1)
    for mode in ("L", "RGBA", "P", "I;16", "1"):
        assert colour.apply(picture(0).convert("L").convert(mode))[0].shape == (3, 28, 28)
        assert grey.apply(picture(0).convert("L").convert(mode))[0].shape == (1, 28, 28)
    array = np.asarray(picture(1, size=(50, 30)))
    oracle = np.asarray(picture(1, size=(50, 30)).resize((28, 28), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.array_equal(colour.apply(array)[0].numpy(), oracle)
    assert np.array_equal(colour.apply(array / 255)[0].numpy(), oracle)
    assert len(grey.apply(np.zeros((5, 28, 28), np.uint8))) == 5
    assert len(colour.apply(np.zeros((3, 28, 28), np.uint8))) == 1


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (np.full((8, 8), 17), "values from 17 to 17, expected 0 to 16: hand in a PIL image"),
        (np.full((8, 8), 255, np.uint8), "values from 255 to 255, expected 0 to 16: hand in a PIL image"),
        (np.full((8, 8), -0.5), "values from -0.5 to -0.5, expected 0 to 16: raw values, please, not normalised"),
        (np.full((8, 8), np.nan), "values from nan to nan"),
        (np.zeros((2, 8, 8, 5)), "an array of 8x8x5: expected (H, W)"),
        ([3], "sample 0 is int: expected an image"),
        (3, "int is no image"),
        ("nowhere.png", "image 'nowhere.png' cannot be read"),
        (np.array([["a"]]), "array of <U1: expected numbers"),
    ],
)
def test_what_cannot_be_meant_is_said(sample, message):
    how = Preprocessing("vision", colours="L", white=16, native=8, size=8, mean=(0.0,), std=(1.0,), channels=1)
    with pytest.raises(UserError) as error:
        how.apply(sample)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_texts():
    single, pair = Preprocessing("text", labels=("a", "b")), Preprocessing("text", pairs=True)
    assert single.apply("one text") == ["one text"]
    assert single.apply(["one", "two"]) == ["one", "two"]
    assert pair.apply(("a", "b")) == [("a", "b")]
    assert pair.apply([["a", "b"], ("c", "d")]) == [("a", "b"), ("c", "d")]
    with pytest.raises(UserError, match="sample 1 is int: expected a string"):
        single.apply(["a", 2])
    with pytest.raises(UserError, match="sample 0 is no pair of texts"):
        pair.apply("alone")


def test_a_later_versions_fields_are_left_out():
    how = Preprocessing("vision", labels=("a",), mean=(1.0,), std=(2.0,))
    assert Preprocessing.from_dict({**how.to_dict(), "sharpen": 3}) == how
