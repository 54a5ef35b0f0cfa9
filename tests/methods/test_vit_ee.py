"""ViT-EE: the rule by hand, every branch against an independent computation, the two regimes, published sizes."""

import math

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from eebench.api import Features, Layout, Task
from eebench.backbones.vit import ViT
from eebench.engine.macs import exit_costs
from eebench.engine.model import EarlyExitModel
from eebench.errors import UserError
from eebench.plugins.needs import unmet
from eebench.plugins.registry import Registry
from eebench.rules import Confidence
from eebench.testing import (
    BACKBONES,
    TinyPyramid,
    assert_replay_is_dynamic,
    build,
    classes_for,
    gradients,
    inputs_for,
    replay,
    tiny_text,
    tiny_vit,
    train_step,
)
from eebench_methods.vit_ee import ViTEE
from eebench_methods.vit_ee.heads import ConvExit, MixerExit, MLPExit, ResMLPExit, TransformerExit
from eebench_methods.vit_ee.method import default_blocks

HEADS = ["vit", "mlp", "cnn_ignore", "cnn_add", "cnn_project", "mixer", "resmlp"]
VISION = [kind for kind in BACKBONES if kind != "text"]
LAYOUTS = {
    "cls": Layout(8, prefix=1, grid=(2, 3)),
    "dist": Layout(8, prefix=2, grid=(2, 3), dist=True),
    "registers": Layout(8, prefix=3, grid=(2, 3)),
    "mean": Layout(8, prefix=0, grid=(2, 3), cls=False),
}


def case(kind):
    """Random features of a layout; their patches, and their class token or mean."""
    layout = LAYOUTS[kind]
    tokens = torch.randn(3, layout.tokens, 8, generator=torch.Generator().manual_seed(0))
    patches = tokens[:, layout.prefix :]
    return Features(tokens, layout), patches, tokens[:, 0] if layout.cls else patches.mean(1)


def shaken(module):
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return module.eval()


# --- exit rule ---------------------------------------------------------------------------------------------------


def test_golden_trace():
    # softmax of (ln 7, ln 2, 0) is (.7, .2, .1); of (ln 2, ln 3, ln 5): (.2, .3, .5); of (0, ln 8, 0): (.1, .8, .1)
    sure, torn, high = [math.log(7), math.log(2), 0.0], [math.log(2), math.log(3), math.log(5)], [0.0, math.log(8), 0.0]
    logits = torch.tensor([[sure, torn], [torn, high], [torn, torn], [high, sure]])
    seen = {"score": logits.softmax(-1).amax(-1).numpy()}
    assert replay(Confidence(), seen, 0.6).tolist() == [0, 1, 2, 0]
    assert replay(Confidence(), seen, 0.75).tolist() == [2, 1, 2, 0]
    assert replay(Confidence(), seen, 0.2).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("head", HEADS)
def test_replay_is_dynamic(head):
    method, model = build(ViTEE, tiny_vit(size=(8, 6)), noise=0.1, head=head, blocks=(1, 3))
    where = assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone, 16))
    assert len(where) >= 5
    assert (where[-1.0] == 0).all()
    assert (where[1.0] == 2).all()


@pytest.mark.parametrize("kind", VISION)
@pytest.mark.parametrize("head", HEADS)
def test_every_head_on_every_backbone(head, kind):
    method, model = build(ViTEE, BACKBONES[kind](3), head=head)
    inputs = inputs_for(model.backbone, 4)
    with torch.inference_mode():
        visits = model.trace(inputs)
        assert all(visit.logits.shape == (4, 3) for visit in visits)
        assert torch.equal(model.dynamic(inputs, method.rule(), 1.0).logits, model.backbone.plain(inputs))


# --- branches ------------------------------------------------------------------------------------------------------


def test_transformer_branch_is_a_pre_norm_block_and_a_pooler():
    features, _, _ = case("registers")
    head = shaken(TransformerExit(features.layout, 4, heads=2, mlp_ratio=2.0))
    block = head.block
    oracle = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0, activation=F.gelu, layer_norm_eps=block.norm1.eps, batch_first=True, norm_first=True
    ).eval()
    with torch.no_grad():
        oracle.self_attn.in_proj_weight.copy_(block.attn.qkv.weight)
        oracle.self_attn.in_proj_bias.copy_(block.attn.qkv.bias)
    for mine, theirs in [
        (block.attn.proj, oracle.self_attn.out_proj),
        (block.mlp.fc1, oracle.linear1),
        (block.mlp.fc2, oracle.linear2),
        (block.norm1, oracle.norm1),
        (block.norm2, oracle.norm2),
    ]:
        theirs.load_state_dict(mine.state_dict())
    token = oracle(features.tokens)[:, 0]
    dense = head.pooler[0]
    expected = torch.tanh(token @ dense.weight.T + dense.bias) @ head.classifier.weight.T + head.classifier.bias
    torch.testing.assert_close(head(features, {}).logits, expected)


def test_transformer_branch_of_deit_averages_two_classifiers():
    features, _, _ = case("dist")
    head = shaken(TransformerExit(features.layout, 4, heads=2, mlp_ratio=2.0))
    tokens = F.layer_norm(head.block(features.tokens), (8,), head.norm.weight, head.norm.bias)
    expected = (head.classifier(tokens[:, 0]) + head.classifier_dist(tokens[:, 1])) / 2
    torch.testing.assert_close(head(features, {}).logits, expected)


def test_transformer_branch_without_class_token_takes_the_mean():
    features, _, _ = case("mean")
    head = shaken(TransformerExit(features.layout, 4, heads=2, mlp_ratio=2.0))
    tokens = F.layer_norm(head.block(features.tokens), (8,), head.norm.weight, head.norm.bias)
    torch.testing.assert_close(head(features, {}).logits, head.classifier(tokens.mean(1)))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_mlp_branch(kind):
    features, _, token = case(kind)
    head = shaken(MLPExit(features.layout, 4, mlp_ratio=3.0))
    first, second = head.mlp[0], head.mlp[2]
    hidden = F.gelu(token @ first.weight.T + first.bias)
    assert hidden.shape == (3, 24)
    torch.testing.assert_close(head(features, {}).logits, hidden @ second.weight.T + second.bias)


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("cls", ["ignore", "add", "project"])
def test_convolutional_branches(kind, cls):
    features, patches, token = case(kind)
    head = shaken(ConvExit(features.layout, 4, cls=cls))
    grid = torch.zeros(3, 8, 2, 3)
    for row in range(2):  # patch by patch: a reshape without a transpose would scramble channels
        for column in range(3):
            patch = patches[:, 3 * row + column]
            if cls == "add":
                patch = patch + token
            if cls == "project":
                patch = F.gelu(torch.cat((patch, token), 1) @ head.project[0].weight.T + head.project[0].bias)
            grid[:, :, row, column] = patch
    conv, linear = head.cnn[0], head.cnn[-1]
    maps = F.elu(F.conv2d(grid, conv.weight, conv.bias, padding=1))
    pooled = maps[:, :, :, :2].amax((2, 3))  # a 2x3 grid holds one 2x2 window
    assert linear.in_features == 16
    torch.testing.assert_close(head(features, {}).logits, pooled @ linear.weight.T + linear.bias)


@pytest.mark.parametrize(("grid", "cells"), [((14, 14), 49), ((7, 7), 9), ((4, 4), 4), ((2, 1), 1), ((1, 1), 1)])
def test_pooling_leaves_at_least_one_cell(grid, cells):
    layout = Layout(8, prefix=0, grid=grid, cls=False)
    head = ConvExit(layout, 4, cls="ignore")
    assert head.cnn[-1].in_features == 16 * cells
    assert head(Features(torch.randn(1, layout.tokens, 8), layout), {}).logits.shape == (1, 4)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_mixer_branch(kind):
    features, _, _ = case(kind)
    head = shaken(MixerExit(features.layout, 4))
    block, x = head.block, features.tokens

    def mlp(x, layer):
        return F.gelu(x @ layer.fc1.weight.T + layer.fc1.bias) @ layer.fc2.weight.T + layer.fc2.bias

    normed = F.layer_norm(x, (8,), block.norm1.weight, block.norm1.bias, block.norm1.eps)
    x = x + torch.stack([mlp(normed[:, :, c], block.mlp_tokens) for c in range(8)], 2)
    x = x + mlp(F.layer_norm(x, (8,), block.norm2.weight, block.norm2.bias, block.norm2.eps), block.mlp_channels)
    assert block.mlp_tokens.fc1.out_features == block.mlp_channels.fc1.out_features == 32
    expected = head.classifier(x[:, 0] if features.layout.cls else x.mean(1))
    torch.testing.assert_close(head(features, {}).logits, expected)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_resmlp_branch(kind):
    features, x, _ = case(kind)
    head = shaken(ResMLPExit(features.layout, 4, mlp_ratio=2.0))
    block = head.block

    def affine(x, norm):
        return x * norm.alpha.view(-1) + norm.beta.view(-1)

    mix, fc1, fc2 = block.linear_tokens, block.mlp_channels.fc1, block.mlp_channels.fc2
    mixed = torch.einsum("mn,bnc->bmc", mix.weight, affine(x, block.norm1)) + mix.bias[None, :, None]
    x = x + block.ls1 * mixed
    x = x + block.ls2 * (F.gelu(affine(x, block.norm2) @ fc1.weight.T + fc1.bias) @ fc2.weight.T + fc2.bias)
    torch.testing.assert_close(head(features, {}).logits, head.classifier(x.mean(1)))


def test_transformer_branch_has_the_backbone_blocks_own_shape():
    backbone = TinyPyramid()
    exits = ViTEE(blocks=(2, 3)).build(backbone, Task(classes=3))
    assert [exits[b].block.attn.num_heads for b in (2, 3)] == [1, 2]
    assert [exits[b].block.mlp.fc1.out_features for b in (2, 3)] == [32, 64]
    vit = tiny_vit()
    (branch,) = ViTEE(blocks=(2,)).build(vit, Task(classes=3)).values()
    shapes = {name: tensor.shape for name, tensor in vit.net.blocks[0].state_dict().items()}
    assert {name: tensor.shape for name, tensor in branch.block.state_dict().items()} == shapes


# --- blocks, options ----------------------------------------------------------------------------------------------


def test_default_blocks():
    assert default_blocks(12) == [2, 4, 6]
    assert default_blocks(24) == [4, 8, 12]
    assert default_blocks(4) == [1, 2]
    assert default_blocks(2) == [1]


@pytest.mark.parametrize("blocks", [(4,), (0,), (2, 2)])
def test_blocks_outside_are_an_error(blocks):
    method = ViTEE(blocks=blocks)
    with pytest.raises(UserError, match="from 1 to 3"):
        method.build(tiny_vit(), Task(classes=3))


def test_options_as_typed():
    (chosen,) = Registry.installed().choose("vit_ee[head=cnn_add,blocks=3,regime=classifier_wise]")
    assert chosen.method == ViTEE("cnn_add", (3,), "classifier_wise")
    with pytest.raises(UserError, match="head=transformer"):
        Registry.installed().choose("vit_ee[head=transformer]")


def test_says_why_not():
    assert unmet(ViTEE(), tiny_text(), Task(classes=3)) == "it needs a patch grid, which text has not"
    assert unmet(ViTEE(), tiny_vit(), Task(kind="regression", classes=1))
    assert unmet(ViTEE(), tiny_vit(1), Task(classes=3))
    assert all(unmet(ViTEE(), BACKBONES[kind](3), Task(classes=3)) is None for kind in VISION)


# --- regimes ------------------------------------------------------------------------------------------------------


def test_end_to_end_counts_the_last_exit_twice():
    method, model = build(ViTEE, tiny_vit(), blocks=(1, 3))
    (phase,) = method.phases()
    targets = classes_for(8)
    step = train_step(model, phase, inputs_for(model.backbone, 8), targets, method.task)
    losses = [F.cross_entropy(visit.logits, targets) for visit in step.visits]
    torch.testing.assert_close(phase.loss(step), (losses[0] + losses[1] + 2 * losses[2]) / 4)
    moved = gradients(model, phase, inputs_for(model.backbone), classes_for(), method.task)
    assert set(moved) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("head", HEADS)
def test_classifier_wise_leaves_the_backbone_alone(head):
    method, model = build(ViTEE, tiny_vit(), head=head, blocks=(1, 3), regime="classifier_wise")
    (phase,) = method.phases()
    targets = classes_for(8)
    step = train_step(model, phase, inputs_for(model.backbone, 8), targets, method.task)
    losses = [F.cross_entropy(visit.logits, targets) for visit in step.visits]
    torch.testing.assert_close(phase.loss(step), (losses[0] + losses[1]) / 2)
    moved = gradients(model, phase, inputs_for(model.backbone), classes_for(), method.task)
    assert set(moved) == {name for name, _ in model.named_parameters() if name.startswith("exits.")}


# --- published sizes and costs ------------------------------------------------------------------------------------


def test_size_on_vit_b():
    # one exit behind block 6, 100 classes: branch 7.755 M, model 93.63 M, 1.4546 GMAC for the branch
    with torch.device("meta"):
        backbone = ViT(timm.create_model("vit_base_patch16_224", num_classes=100))
        exits = ViTEE(blocks=(6,)).build(backbone, Task(classes=100))
        model = EarlyExitModel(backbone, exits).eval()
        image = torch.empty(1, 3, 224, 224)
    assert sum(p.numel() for p in exits[6].parameters()) / 1e6 == pytest.approx(7.755, abs=0.001)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(93.63, abs=0.01)
    with FlopCounterMode(display=False) as counter:
        model.forced(image, 6)
    with FlopCounterMode(display=False) as bare:
        features = backbone.embed(image)
        for number in range(1, 7):
            features = backbone.block(number, features)
    assert (counter.get_total_flops() - bare.get_total_flops()) / 2e9 == pytest.approx(1.4546, rel=1e-3)


@pytest.mark.parametrize("head", HEADS)
def test_engine_can_count_every_head(head):
    _, model = build(ViTEE, tiny_vit(), head=head, blocks=(2,))
    costs = exit_costs(model, inputs_for(model.backbone, 1))
    assert np.all(costs.heads > 0)
    assert np.all(np.diff(costs.total) > 0)
