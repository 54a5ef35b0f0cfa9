"""BranchyNet: the entropy rule by hand, the branches, the loss, the gradients, replay against the model."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from torch import nn
from torch.nn import functional as F

from eebench.api import ExitOutput, Features, Task
from eebench.errors import UserError
from eebench.parts import LinearExit
from eebench.plugins.needs import unmet
from eebench.plugins.registry import Registry
from eebench.testing import (
    BACKBONES,
    assert_replay_is_dynamic,
    build,
    classes_for,
    gradients,
    inputs_for,
    replay,
    tiny_text,
    tiny_vit,
    trace,
    train_step,
)
from eebench_methods.branchynet import BlockExit, BranchyNet, MlpExit, branch_weights

KINDS = ("vit", "two prefix tokens", "grid not square", "pyramid", "text")  # what linear exits can tell apart


def test_golden_trace():
    # entropies of two-class softmaxes, in nats: (1/2, 1/2) is ln 2 = 0.6931; (3/4, 1/4) is
    # 0.75 * 0.2877 + 0.25 * 1.3863 = 0.5623; (9/10, 1/10) is 0.9 * 0.1054 + 0.1 * 2.3026 = 0.3251
    half, quarter, tenth = [0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(9)]
    rule = build(BranchyNet, tiny_vit())[0].rule()
    exits = [torch.tensor([half, quarter, tenth, half]), torch.tensor([half, tenth, half, quarter])]
    columns = [rule.observe(ExitOutput(logits), 0, torch.arange(4))["score"] for logits in exits]
    seen = {"score": torch.stack(columns, 1).numpy()}
    np.testing.assert_allclose(seen["score"][:, 0], [0.6931, 0.5623, 0.3251, 0.6931], atol=1e-4)
    assert replay(rule, seen, 0.3).tolist() == [2, 2, 2, 2]
    assert replay(rule, seen, 0.5).tolist() == [2, 1, 0, 2]
    assert replay(rule, seen, 0.6).tolist() == [2, 0, 0, 1]
    assert replay(rule, seen, 0.7).tolist() == [0, 0, 0, 0]


def test_entropy_is_in_nats():
    method, model = build(BranchyNet, tiny_vit())
    seen, logits = trace(model, method.rule(), inputs_for(model.backbone))
    expected = scipy_entropy(logits[:, :-1].softmax(-1).numpy(), axis=-1)
    np.testing.assert_allclose(seen["score"], expected, rtol=1e-4, atol=1e-6)


def test_branch_weights():
    assert branch_weights(3, "equal") == [1, 1, 1]
    assert branch_weights(2, "early") == pytest.approx([1.0, 0.3])
    assert branch_weights(4, "early") == pytest.approx([1.0, 1 - 0.7 / 3, 1 - 1.4 / 3, 0.3])
    assert branch_weights(1, "early") == [1.0]


@pytest.mark.parametrize(("weights", "numbers"), [("equal", (1, 1, 1, 1)), ("early", (1.0, 2.3 / 3, 1.6 / 3, 0.3))])
def test_loss(weights, numbers):
    method, model = build(BranchyNet, tiny_vit(), weights=weights)
    targets = classes_for(8)
    step = train_step(model, method.phases()[0], inputs_for(model.backbone, 8), targets, method.task)
    losses = [F.cross_entropy(visit.logits, targets) for visit in step.visits]
    expected = sum(w * loss for w, loss in zip(numbers, losses, strict=True)) / sum(numbers)
    torch.testing.assert_close(method.phases()[0].loss(step), expected)


@pytest.mark.parametrize("deep", [None, "mlp", "block"])
def test_everything_is_trained(deep):
    method, model = build(BranchyNet, tiny_vit(6), deep=deep)
    moved = gradients(model, method.phases()[0], inputs_for(model.backbone), classes_for(), method.task)
    assert set(moved) == {name for name, _ in model.named_parameters()}


def test_just_the_first_third_is_deeper():
    for deep, kind in (("mlp", MlpExit), ("block", BlockExit)):
        _, model = build(BranchyNet, tiny_vit(12), deep=deep)
        assert [b for b in model.blocks if isinstance(model.exits[str(b)], kind)] == [1, 2, 3, 4]
        assert type(model.exits["5"]) is LinearExit


@pytest.mark.parametrize("deep", ["mlp", "block"])
def test_deep_without_an_early_exit_is_refused(deep):
    with pytest.raises(UserError, match=f"deep={deep}: .* first third of the 12 blocks.* behind block 6") as error:
        build(BranchyNet, tiny_vit(12), deep=deep, blocks=(6, 8))
    assert "\n" not in str(error.value)
    _, model = build(BranchyNet, tiny_vit(12), deep=deep, blocks=(4, 8))
    assert [type(model.exits[str(block)]) is LinearExit for block in (4, 8)] == [False, True]


def test_mlp_branch_is_a_skip_around_norm_and_mlp():
    _, model = build(BranchyNet, tiny_vit(), deep="mlp")
    head, features = model.exits["1"], model.backbone.embed(inputs_for(model.backbone, 5))
    x = features.pooled
    hidden = F.gelu(head.mlp[1].fc1(head.mlp[0](x)))
    expected = head.classifier(head.norm(x + head.mlp[1].fc2(hidden)))
    torch.testing.assert_close(head(features, {}).logits, expected)


def test_block_branch_is_a_transformer_block():
    # against torch's own pre-norm encoder layer with the same weights
    _, model = build(BranchyNet, tiny_vit(), deep="block")
    head, features = model.exits["1"], model.backbone.embed(inputs_for(model.backbone, 5))
    layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    block = head.block
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attn.qkv.weight,
            "self_attn.in_proj_bias": block.attn.qkv.bias,
            **{f"self_attn.out_proj.{p}": getattr(block.attn.proj, p) for p in ("weight", "bias")},
            **{f"linear1.{p}": getattr(block.mlp.fc1, p) for p in ("weight", "bias")},
            **{f"linear2.{p}": getattr(block.mlp.fc2, p) for p in ("weight", "bias")},
            **{
                f"norm{i}.{p}": getattr(norm, p)
                for i, norm in ((1, block.norm1), (2, block.norm2))
                for p in ("weight", "bias")
            },
        }
    )
    layer.norm1.eps, layer.norm2.eps = block.norm1.eps, block.norm2.eps
    expected = head.classifier(head.norm(layer(features.tokens)[:, 0]))
    torch.testing.assert_close(head(features, {}).logits, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("deep", [None, "mlp", "block"])
def test_padding_changes_nothing(deep):
    _, model = build(BranchyNet, tiny_text(), deep=deep)
    features = model.backbone.embed(inputs_for(model.backbone))
    assert features.mask is not None
    assert not features.mask.all()
    noise = torch.randn_like(features.tokens) * (~features.mask)[:, :, None]
    head = model.exits["1"]
    noisy = Features(features.tokens + noise, features.layout, features.mask)
    torch.testing.assert_close(head(noisy, {}).logits, head(features, {}).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_replay_is_dynamic(kind):
    method, model = build(BranchyNet, BACKBONES[kind](3))
    where = assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone))
    assert (where[100.0] == 0).all()
    assert (where[-1.0] == len(model.blocks) - 1).all()


@pytest.mark.parametrize(("kind", "deep"), [("grid not square", "mlp"), ("pyramid", "block"), ("text", "block")])
def test_replay_is_dynamic_with_deep_branches(kind, deep):
    method, model = build(BranchyNet, BACKBONES[kind](3), deep=deep)
    assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone))


def test_says_why_not():
    assert unmet(BranchyNet(), tiny_vit(), Task(kind="regression", classes=1))
    assert unmet(BranchyNet(), tiny_vit(), Task(classes=3)) is None


def test_options_as_typed():
    (chosen,) = Registry.installed().choose("branchynet[weights=early,deep=mlp,threshold=0.5]")
    assert chosen.method == BranchyNet(weights="early", deep="mlp")
    assert chosen.pinned == 0.5
