"""Raw samples are prepared without torch as the run's data set prepared them with it."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_text import LONG, PAIRS, TEXTS, write

from eebench import data
from eebench.data.preprocessing import Preprocessing
from eebench.deploy.export import _resizing
from eebench.deploy.samples import Images, Texts
from eebench.raw import Raw, _cropped


def prepared(found, raw):
    """The batch that a deployed model makes of raw samples."""
    of = found.preprocessing
    resize = None if of.native in (None, of.size) else _resizing(of)
    return Images.from_dict(of.to_dict()).batch(raw, resize)


@pytest.mark.parametrize("size", [None, 20, 6])
def test_small_images(size):
    found = data.load("digits", image_size=size)
    raw = found.test.inputs.pixels[:5].numpy()
    expected = torch.stack([found.test.inputs[i] for i in range(5)]).numpy()
    np.testing.assert_allclose(prepared(found, list(raw[:, 0])), expected, atol=2e-6)
    if size is None:
        np.testing.assert_array_equal(prepared(found, list(raw[:, 0])), expected)


@pytest.mark.parametrize("shape", [(100, 140), (141, 100), (64, 64), (73, 73)])
@pytest.mark.parametrize("colours", ["L", "RGB"])
def test_pictures(shape, colours):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(colours)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    of = Preprocessing("vision", colours=colours, crop=0.9, size=64, scale=255.0, mean=mean, std=std, channels=3)
    found = Images.from_dict(of.to_dict()).batch([image, image])
    assert found.shape == (2, 3, 64, 64)
    np.testing.assert_array_equal(found, torch.stack(of.apply([image, image])).numpy())


@pytest.mark.parametrize("size", [(100, 140), (141, 100), (77, 77), (333, 71)])
@pytest.mark.parametrize(("side", "crop"), [(64, 0.875), (63, 0.9), (32, 1.0)])
def test_cropping_is_torchvisions(size, side, crop):
    from torchvision.transforms import InterpolationMode, functional

    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8))
    resized = functional.resize(image, [int(side / crop)], InterpolationMode.BICUBIC)
    expected = functional.center_crop(resized, [side, side])
    np.testing.assert_array_equal(np.array(_cropped(image, side, crop)), np.array(expected))


@pytest.mark.parametrize("pairs", [False, True])
def test_texts_are_tokenized_as_the_backbone_does(tmp_path, pairs):
    from eebench import backbones

    backbone = backbones.create(str(write(tmp_path / "bert", "bert")), outputs=2, max_length=12)
    text, pads = backbone.tokenizer_json()
    (tmp_path / "tokenizer.json").write_text(text)
    raw = [*PAIRS, (LONG, LONG)] if pairs else [*TEXTS, LONG]
    expected = {name: column.numpy() for name, column in backbone.prepare(raw).items()}
    texts = Texts(tmp_path, Raw("text", pairs=pairs), {**pads, "max_tokens": backbone.max_tokens}, {*expected})
    found = texts.batch(raw)
    assert {*found} == {*expected}
    for name, column in found.items():
        np.testing.assert_array_equal(column, expected[name])
    assert found["input_ids"].shape == (len(raw), 12)
