"""The cache of frozen features: the very features, for the right backbone, within its budget."""

import pytest
import torch

from eebench.api import Task
from eebench.engine.features import FeatureCache
from eebench.engine.model import EarlyExitModel
from eebench.engine.train import backbone_features
from eebench.parts import LinearExit
from eebench.testing import tiny_backbone, tiny_data

TASK = Task(classes=3)
IDS = torch.tensor([5, 0, 17, 5])


def model_of(kind, blocks=(1, 3), seed=0):
    torch.manual_seed(seed)
    backbone = tiny_backbone(kind, 3, 4)
    return EarlyExitModel(backbone, {b: LinearExit(backbone.layouts[b - 1], 3) for b in blocks}).eval()


@pytest.mark.parametrize("kind", ["vit", "deit", "swin", "resnet", "text"])
def test_rows_are_the_backbones_features(kind):
    model, data, cache = model_of(kind), tiny_data(kind, TASK, 20), FeatureCache()
    assert cache.fits(model, data)
    found = cache.rows(IDS, model.blocks)
    with torch.no_grad():
        expected = backbone_features(model, model.backbone.prepare([data.train.inputs[i] for i in IDS.tolist()]))
    assert found.keys() == expected.keys() == set(model.blocks)
    for block in model.blocks:
        mine, theirs = found[block], expected[block]
        assert mine.layout is model.backbone.layouts[block - 1]
        if kind == "text":
            assert torch.equal(mine.mask, theirs.mask)
            real = theirs.mask[:, :, None]
            torch.testing.assert_close(mine.tokens * real, theirs.tokens * real, rtol=1e-4, atol=1e-5)
        else:
            assert mine.mask is None
            torch.testing.assert_close(mine.tokens, theirs.tokens, rtol=1e-4, atol=1e-5)


def test_nothing_is_run_twice_for_the_same_backbone():
    data, cache, runs = tiny_data("vit", TASK, 20), FeatureCache(), []
    model = model_of("vit")
    block = model.backbone.block
    model.backbone.block = lambda number, features: runs.append(number) or block(number, features)
    assert cache.fits(model, data)
    assert runs == [1, 2, 3, 4]
    assert cache.fits(model, data)
    assert len(runs) == 4
    more = EarlyExitModel(model.backbone, {2: LinearExit(model.backbone.layouts[1], 3)}).eval()
    assert cache.fits(more, data)
    assert runs[4:] == [1, 2]  # only as far as the block that was missing
    assert set(cache.rows(IDS, (1, 2, 3, 4))) == {1, 2, 3, 4}


def test_a_moved_weight_empties_the_cache():
    model, data, cache = model_of("vit"), tiny_data("vit", TASK, 20), FeatureCache()
    cache.fits(model, data)
    before = cache.rows(IDS, [3])[3].tokens
    with torch.no_grad():
        model.backbone.net.blocks[0].attn.qkv.weight[0, 0] += 0.5
    assert cache.fits(model, data)
    after = cache.rows(IDS, [3])[3].tokens
    assert not torch.allclose(before, after)
    with torch.no_grad():
        expected = backbone_features(model, model.backbone.prepare([data.train.inputs[i] for i in IDS.tolist()]))
    torch.testing.assert_close(after, expected[3].tokens, rtol=1e-4, atol=1e-5)


def test_cached_features_carry_no_gradient_and_share_no_memory():
    model, data, cache = model_of("vit"), tiny_data("vit", TASK, 20), FeatureCache()
    cache.fits(model, data)
    first = cache.rows(IDS, [1])[1].tokens
    assert not first.requires_grad
    first.zero_()
    assert cache.rows(IDS, [1])[1].tokens.abs().sum() > 0


def test_random_inputs_are_not_cached():
    model, data = model_of("vit"), tiny_data("vit", TASK, 20)
    data.augment = "crop"
    assert not FeatureCache().fits(model, data)


def test_a_cache_keeps_within_its_budget():
    model, data = model_of("vit"), tiny_data("vit", TASK, 20)
    need = 20 * 25 * 32 * 4 * 3  # samples, tokens, channels, bytes, exits (the last one included)
    assert not FeatureCache(need - 1).fits(model, data)
    assert FeatureCache(need).fits(model, data)
