"""The first blocks of a backbone: what a network built at that depth runs, with the same weights and less of them."""

import copy
import gc
import weakref

import pytest
import timm
import torch
from conformance import run, shake
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from eebench.api import Task
from eebench.backbones.resnet import ResNet
from eebench.backbones.swin import Swin
from eebench.backbones.vit import ViT
from eebench.engine.macs import exit_costs
from eebench.engine.model import EarlyExitModel
from eebench.parts import LinearExit
from eebench.testing import tiny_backbone, tiny_data

KINDS = {"vit": 6, "deit": 6, "swin": 6, "resnet": 6, "text": 6}
SIZES = {"img_size": 16, "patch_size": 4, "num_classes": 5, "drop_path_rate": 0.3}
EVERY = [(kind, blocks) for kind, depth in KINDS.items() for blocks in range(1, depth + 1)]


def tiny(kind):
    torch.manual_seed(0)
    backbone = tiny_backbone(kind, 3)
    shake(backbone)
    data = tiny_data(kind, Task(classes=3), samples=3)
    return backbone.eval(), backbone.prepare(data.test.inputs), backbone.prepare(data.test.inputs[:1])


@pytest.mark.parametrize(("kind", "blocks"), EVERY)
@torch.no_grad()
def test_the_walk_is_plain_and_goes_where_the_long_one_went(kind, blocks):
    backbone, inputs, _ = tiny(kind)
    whole = run(backbone, backbone.embed(inputs), 0, blocks)
    short = copy.deepcopy(backbone)
    assert short.shorten(blocks) is short
    short.eval()
    assert (short.depth, len(short.heads)) == (blocks, blocks)
    assert short.layouts == backbone.layouts[:blocks]
    features = run(short, short.embed(inputs), 0)
    assert torch.equal(features.tokens, whole.tokens)
    assert torch.equal(short.classify(features), short.plain(inputs))
    same_width = short.layouts[-1].dim == backbone.layouts[-1].dim
    if same_width:  # final norm and classifier are the old ones
        assert torch.equal(short.classify(features), backbone.classify(whole))
    assert short.plain(inputs).shape == (3, 3)
    assert short.norm(features).tokens.shape == features.tokens.shape


@pytest.mark.parametrize(("kind", "blocks"), [case for case in EVERY if case[1] in (1, 3, 5)])
def test_what_was_cut_is_gone_and_costs_nothing(kind, blocks):
    backbone, _, one = tiny(kind)
    layout = backbone.layouts[blocks - 1]
    full = exit_costs(EarlyExitModel(backbone, {blocks: LinearExit(layout, 3)}), one)
    before = sum(p.numel() for p in backbone.parameters())
    cut = [weakref.ref(p) for p in backbone.parameters()]
    backbone.shorten(blocks)
    backbone.eval()
    gc.collect()
    assert sum(p.numel() for p in backbone.parameters()) < before
    held = {id(p) for p in backbone.parameters()}
    assert all(ref() is None or id(ref()) in held for ref in cut)
    short = exit_costs(EarlyExitModel(backbone, {}), one)
    assert full.backbone[0] < short.plain < full.plain
    classifier = short.plain - full.backbone[0]  # final norm and classifier: a small part
    assert classifier < 0.05 * short.plain


@pytest.mark.parametrize("kind", KINDS)
def test_depths_there_are_not(kind):
    backbone, _, _ = tiny(kind)
    for wrong in (0, -1, 7):
        with pytest.raises(ValueError, match=f"6 blocks cannot keep {wrong}"):
            backbone.shorten(wrong)
    assert backbone.shorten(6).depth == 6


def check_native(short, native):
    """Same weights, same network: logits in eval and, with its random parts, in train mode."""
    native.load_state_dict(short.net.state_dict(), strict=True)
    inputs = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for training in (False, True):
        short.train(training)
        native.train(training)
        answers = []
        for answer in (short.plain, native):
            torch.manual_seed(4)
            logits = answer(inputs)
            answers.append((logits[0] + logits[1]) / 2 if isinstance(logits, tuple) else logits)
        assert torch.equal(*answers)
    assert repr(native) == repr(short.net)


@pytest.mark.parametrize("kind", [VisionTransformer, VisionTransformerDistilled])
@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_a_vit_is_timms_of_that_depth(kind, blocks):
    options = {**SIZES, "embed_dim": 32, "num_heads": 2}
    short = ViT(kind(depth=4, **options))
    shake(short)
    check_native(short.shorten(blocks), kind(depth=blocks, **options))


@pytest.mark.parametrize(("blocks", "depths"), [(1, (1,)), (2, (2,)), (3, (2, 1)), (5, (2, 2, 1)), (6, (2, 2, 2))])
def test_a_swin_is_timms_of_those_stages(blocks, depths):
    options = {**SIZES, "patch_size": 2, "embed_dim": 16, "window_size": 2}
    short = Swin(SwinTransformer(depths=(2, 2, 2), num_heads=(2, 4, 8), **options))
    shake(short)
    short.shorten(blocks)
    check_native(short, SwinTransformer(depths=depths, num_heads=(2, 4, 8)[: len(depths)], **options))


def test_a_swins_new_classifier_starts_as_timm_starts_it():
    short = Swin(SwinTransformer(depths=(1, 1), num_heads=(2, 4), embed_dim=96, **{**SIZES, "num_classes": 100}))
    fresh = short.shorten(1).net.head.fc
    assert fresh.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not fresh.bias.any()


@pytest.mark.parametrize("blocks", [1, 4, 6])
def test_a_resnet_pools_its_last_map(blocks):
    torch.manual_seed(0)
    net = timm.create_model("resnet18", num_classes=5, drop_path_rate=0.3, channels=(8, 8, 16, 16))
    short = ResNet(net, 16)
    shake(short)
    shapes = [layout.dim for layout in short.layouts]
    seen = []
    short.shorten(blocks).eval()
    short._blocks[-1].register_forward_hook(lambda module, args, out: seen.append(out))
    inputs = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        logits = short.plain(inputs)
        torch.testing.assert_close(logits, short.net.fc(seen[0].mean((2, 3))))
    assert short.net.fc.in_features == shapes[blocks - 1]
    rates = [block.drop_path.drop_prob if block.drop_path else 0.0 for block in short._blocks]
    assert rates == pytest.approx([0.3 * i / max(1, blocks - 1) for i in range(blocks)])


@pytest.mark.parametrize("name", ["vit_base_patch16_224", "deit_s", "swin_s", "resnet50"])
def test_models_of_real_size(name):
    from eebench.backbones import create

    with torch.device("meta"):
        backbone = create(name, outputs=7)
        for blocks in (backbone.depth * 3 // 4, backbone.depth // 2, backbone.depth // 4):
            assert backbone.shorten(blocks).plain(torch.empty(2, 3, 224, 224)).shape == (2, 7)
