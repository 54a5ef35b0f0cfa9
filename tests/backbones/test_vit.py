"""The VisionTransformer adapter, over every kind of model timm builds with that class."""

import pytest
import timm
import torch
from conformance import OUTPUTS, check, images, run
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import ParallelScalingBlock, ParallelThingsBlock, ResPostBlock, VisionTransformer

from eebench.backbones import create
from eebench.backbones.vit import ViT

SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": OUTPUTS}

KINDS = {
    "plain": {},
    "non-square": {"img_size": (16, 24)},
    "grey": {"in_chans": 1},
    "registers": {"reg_tokens": 3, "no_embed_class": True, "init_values": 1.0},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "register, no class token": {"class_token": False, "reg_tokens": 1, "global_pool": "avg"},
    "average pooled": {"global_pool": "avg"},
    "average pooled, normed before": {"global_pool": "avg", "fc_norm": False},
    "attention pooled": {"global_pool": "map", "class_token": False},
    "pre-norm": {"pre_norm": True},
    "no positions": {"pos_embed": "none"},
    "dynamic size": {"dynamic_img_size": True},
    "drops": {"pos_drop_rate": 0.1, "proj_drop_rate": 0.1, "drop_path_rate": 0.2, "drop_rate": 0.1},
    "post-norm blocks": {"block_fn": ResPostBlock},
    "parallel branches": {"block_fn": ParallelThingsBlock},
    "parallel attention and MLP": {"block_fn": ParallelScalingBlock},
}


@pytest.mark.parametrize("kind", KINDS)
def test_walk_is_the_timm_model(kind):
    torch.manual_seed(0)
    options = {**SMALL, **KINDS[kind]}
    net = VisionTransformer(**options)
    backbone = ViT(net)
    assert backbone.heads == (2,) * 4
    assert backbone.mlp_ratio == 4.0
    check(backbone, net.blocks, images(options["img_size"], channels=options.get("in_chans", 3)))


@pytest.mark.parametrize(
    ("kind", "prefix", "cls", "pool"),
    [
        ("plain", 1, True, "cls"),
        ("registers", 4, True, "cls"),
        ("no class token", 0, False, "mean"),
        ("register, no class token", 1, False, "mean"),
        ("average pooled", 1, True, "mean"),
        ("attention pooled", 0, False, "mean"),
    ],
)
def test_layout_names_the_prefix_and_the_token_that_is_pooled(kind, prefix, cls, pool):
    layout = ViT(VisionTransformer(**{**SMALL, **KINDS[kind]})).layouts[0]
    assert (layout.prefix, layout.cls, layout.dist, layout.grid) == (prefix, cls, False, (4, 4))
    assert layout.pool == pool


def test_grid_is_rows_then_columns():
    backbone = ViT(VisionTransformer(**{**SMALL, "img_size": (16, 24)})).eval()
    assert backbone.layouts[0].grid == (4, 6)
    picture = torch.zeros(1, 3, 16, 24)
    picture[:, :, 4:8, 20:24] = 5.0  # row 1, column 5
    with torch.inference_mode():
        seen = backbone.embed(picture).map - backbone.embed(torch.zeros_like(picture)).map
    assert (seen.abs().amax(1)[0] > 0).nonzero().tolist() == [[1, 5]]


def test_distilled_deit_has_two_prefix_tokens_and_averages_two_classifiers():
    torch.manual_seed(0)
    net = VisionTransformerDistilled(**SMALL)
    backbone = ViT(net)
    layout = backbone.layouts[0]
    assert (layout.prefix, layout.cls, layout.dist) == (2, True, True)
    check(backbone, net.blocks, images(16))
    backbone.eval()
    with torch.inference_mode():
        features = run(backbone, backbone.embed(images(16)), 0)
        normed = backbone.norm(features).tokens
        by_hand = (net.head(normed[:, 0]) + net.head_dist(normed[:, 1])) / 2
        torch.testing.assert_close(backbone.classify(features), by_hand)


def test_distilled_deit_answers_with_one_tensor_in_distillation_mode_too():
    net = VisionTransformerDistilled(**SMALL)
    net.set_distilled_training(True)
    backbone = ViT(net).train()
    pair = net(images(16))
    assert isinstance(pair, tuple)
    torch.testing.assert_close(backbone.plain(images(16)), (pair[0] + pair[1]) / 2)
    features = run(backbone, backbone.embed(images(16)), 0)
    torch.testing.assert_close(backbone.classify(features), (pair[0] + pair[1]) / 2)


@pytest.mark.parametrize(
    ("name", "options", "prefix"),
    [
        ("vit_micro", {"image_size": 8, "patch_size": 2, "channels": 1}, 1),
        ("vit_ti", {"image_size": 32, "patch_size": 8}, 1),
        ("deit_ti", {"image_size": 32, "patch_size": 8}, 2),
        ("deit_tiny_patch16_224", {"image_size": 32}, 1),
        ("vit_small_patch14_reg4_dinov2", {"image_size": 28}, 5),
        ("vit_pwee_patch16_reg1_gap_256", {"image_size": 32}, 1),
    ],
)
def test_models_by_name(name, options, prefix):
    torch.manual_seed(0)
    backbone = create(name, outputs=OUTPUTS, **options)
    assert isinstance(backbone, ViT)
    assert backbone.layouts[0].prefix == prefix
    check(backbone, backbone.net.blocks, images(options["image_size"], channels=options.get("channels", 3)))


def test_vit_b_has_the_parameters_of_the_paper_and_its_own_size():
    with torch.device("meta"):
        backbone = create("vit_b", outputs=100)
    assert backbone.layouts[0].grid == (14, 14)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(85.88, abs=0.005)
    assert backbone.heads == (12,) * 12


def test_every_model_of_the_family_says_its_heads_and_mlp_width():
    names = ["vit_giant_patch14_dinov2", "vit_base_patch16_xp_224", "aimv2_large_patch14_224", "vit_base_r50_s16_224"]
    found = {}
    for name in names:
        with torch.device("meta"):
            backbone = ViT(timm.create_model(name))
        found[name] = (backbone.heads[0], round(backbone.mlp_ratio, 2))
    assert found == {  # Zhai et al. 2022 table 2 and the models' files: heads; hidden width of the MLP over the tokens'
        "vit_giant_patch14_dinov2": (24, 2.67),
        "vit_base_patch16_xp_224": (12, 4.0),
        "aimv2_large_patch14_224": (8, 2.75),
        "vit_base_r50_s16_224": (12, 4.0),
    }


def test_model_without_pooling_is_refused():
    with pytest.raises(ValueError, match="no classifier"):
        ViT(VisionTransformer(**SMALL, global_pool=""))


def test_samples_are_stacked():
    backbone = ViT(VisionTransformer(**SMALL))
    assert torch.equal(backbone.prepare(list(images(16))), images(16))
