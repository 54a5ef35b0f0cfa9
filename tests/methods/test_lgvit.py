"""LGViT: heads and losses against independent computations, the two stages' gradients, published sizes and costs."""

import math

import numpy as np
import pytest
import timm
import torch
from scipy.special import rel_entr, softmax
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from eebench.api import Features, Layout, Recipe, Task
from eebench.backbones.vit import ViT
from eebench.data.base import Data, Split
from eebench.engine.features import FeatureCache
from eebench.engine.model import EarlyExitModel, assemble
from eebench.engine.train import fit
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
from eebench_methods.lgvit import LGViT
from eebench_methods.lgvit.heads import GlobalAggregation, LGViTExit, LocalPerception, default_blocks, head_plan
from eebench_methods.lgvit.losses import (
    alternating_weighted,
    feature_kl,
    gram,
    heterogeneous_loss,
    homogeneous_loss,
    prediction_kl,
)

VISION = [kind for kind in BACKBONES if kind != "text"]


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shaken(module: nn.Module) -> nn.Module:
    """In eval mode, every weight and every BatchNorm statistic something else than what it starts as."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return module.eval()


# --- exit rule ---------------------------------------------------------------------------------------------------


def test_golden_trace():
    # probabilities of the two classes by hand: softmax(0, ln 9) = (.1, .9), (0, ln 4) = (.2, .8), (0, ln 1) = (.5, .5)
    nine, four, even = math.log(9), math.log(4), 0.0
    logits = torch.tensor(
        [
            [[0, nine], [0, nine], [0, nine]],  # .9 .9 .9
            [[0, even], [four, 0], [0, nine]],  # .5 .8 .9: sure of another class at first, only the height counts
            [[0, four], [0, even], [0, four]],  # .8 .5 .8
        ]
    )
    seen = {"score": logits.softmax(-1).amax(-1).numpy()}
    assert replay(Confidence(), seen, 0.85).tolist() == [0, 2, 3]
    assert replay(Confidence(), seen, 0.75).tolist() == [0, 1, 0]
    assert replay(Confidence(), seen, 0.4).tolist() == [0, 0, 0]
    # strict: a score of exactly the threshold goes on
    assert replay(Confidence(), {"score": np.array([[0.5, 0.75]])}, 0.5).tolist() == [1]


@pytest.mark.parametrize("kind", VISION)
def test_replay_is_dynamic(kind):
    method, model = build(LGViT, BACKBONES[kind](3), noise=0.1)
    where = assert_replay_is_dynamic(model, method.rule(), inputs_for(model.backbone, 16))
    assert len(where) >= 5
    assert (where[-1.0] == 0).all()
    assert (where[1.0] == len(model.blocks) - 1).all()


@pytest.mark.parametrize("kind", VISION)
@pytest.mark.parametrize("threshold", [1.0, 1.5])
def test_never_stopping_is_the_plain_backbone_exactly(kind, threshold):
    method, model = build(LGViT, BACKBONES[kind](3))
    inputs = inputs_for(model.backbone)
    with torch.inference_mode():
        decision = model.dynamic(inputs, method.rule(), threshold)
        assert torch.equal(decision.logits, model.backbone.plain(inputs))


# --- heads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depthwise", [True, False])
def test_local_head_cell_by_cell(depthwise):
    dim, rows, columns = 4, 3, 5
    head = shaken(LocalPerception(dim, depthwise=depthwise))
    grid = seeded(2, dim, rows, columns)

    def batch_norm(x, bn):  # eps is torch's default, 1e-5
        return (x - bn.running_mean) / torch.sqrt(bn.running_var + 1e-5) * bn.weight + bn.bias

    tokens = grid.permute(0, 2, 3, 1)
    conv, _, bn = head.pointwise
    x = batch_norm(F.gelu(tokens @ conv.weight[:, :, 0, 0].T + conv.bias), bn)
    if depthwise:
        conv, _, bn = head.depthwise
        spread = torch.zeros_like(x)
        for row in range(rows):
            for column in range(columns):
                for i in (-1, 0, 1):
                    for j in (-1, 0, 1):
                        if 0 <= row + i < rows and 0 <= column + j < columns:
                            kernel = conv.weight[:, 0, 1 + i, 1 + j]
                            spread[:, row, column] += kernel * x[:, row + i, column + j]
        x = batch_norm(F.gelu(spread + conv.bias), bn)
    conv, bn = head.projection
    x = batch_norm(x @ conv.weight[:, :, 0, 0].T + conv.bias, bn)
    torch.testing.assert_close(head(grid), (x + tokens).flatten(1, 2))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_global_head_is_multi_head_attention_on_every_sth_patch(stride):
    dim = 16
    head = shaken(GlobalAggregation(dim, stride=stride))
    oracle = nn.MultiheadAttention(dim, 8, bias=True, batch_first=True)
    with torch.no_grad():
        oracle.in_proj_weight.copy_(head.qkv.weight)
        oracle.in_proj_bias.zero_()
        oracle.out_proj.load_state_dict(head.proj.state_dict())
    grid = seeded(2, dim, 5, 4)
    picked = [grid[:, :, r, c] for r in range(0, 5, stride) for c in range(0, 4, stride)]
    tokens = torch.stack(picked, 1)
    torch.testing.assert_close(head(grid), oracle(tokens, tokens, tokens)[0])


def test_token_counts():
    grid = seeded(1, 8, 14, 14)
    assert [GlobalAggregation(8, stride=s).reduce(grid).shape[1] for s in (1, 2, 3)] == [196, 49, 25]


@pytest.mark.parametrize("size", [(14, 14), (5, 5), (4, 4), (2, 1), (1, 1), (7, 3)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_averaging_means_windows_and_keeps_the_count(size, stride):
    grid = seeded(2, 8, *size)
    picked, averaged = (GlobalAggregation(8, stride=stride, average=a).reduce(grid) for a in (False, True))
    windows = [
        grid[:, :, r : r + stride, c : c + stride].mean((2, 3))
        for r in range(0, size[0], stride)
        for c in range(0, size[1], stride)
    ]
    torch.testing.assert_close(averaged, torch.stack(windows, 1))
    assert picked.shape == averaged.shape
    assert picked.shape[1] == math.ceil(size[0] / stride) * math.ceil(size[1] / stride)


def test_attention_heads_divide_any_width():
    assert [GlobalAggregation(dim, stride=1).heads for dim in (768, 64, 12, 6, 5)] == [8, 8, 4, 2, 1]
    assert GlobalAggregation(6, stride=2)(seeded(1, 6, 3, 3)).shape == (1, 4, 6)


@pytest.mark.parametrize("kind", ["conv1_1", "conv2_1", 2])
@pytest.mark.parametrize(
    "layout",
    [
        Layout(8, prefix=1, grid=(2, 3)),
        Layout(8, prefix=2, grid=(2, 3), dist=True),
        Layout(8, prefix=5, grid=(2, 3)),  # registers
        Layout(8, prefix=0, grid=(2, 3), cls=False),
    ],
)
def test_classifier(kind, layout):
    head = shaken(LGViTExit(kind, layout, 4))
    features = Features(seeded(3, layout.tokens, 8), layout)
    output = head(features, {})
    grid = features.tokens[:, layout.prefix :].transpose(1, 2).reshape(3, 8, 2, 3)
    mixed = head.mix(grid)
    torch.testing.assert_close(output.aux["tokens"], mixed)
    if not layout.cls:
        normed = F.layer_norm(mixed, (8,), head.norm.weight, head.norm.bias)
        expected = F.linear(normed.mean(1), head.classifier.weight, head.classifier.bias)
    else:
        pooled = mixed.sum(1) / mixed.shape[1]
        expected = head.classifier(pooled + features.tokens[:, 0])
        if layout.dist:
            expected = expected / 2 + head.classifier_dist(pooled + features.tokens[:, 1]) / 2
    torch.testing.assert_close(output.logits, expected)


# --- blocks ---------------------------------------------------------------------------------------------------


def isotropic(depth):
    return [Layout(8, prefix=1, grid=(4, 4))] * depth


SWIN_B = [
    Layout(128 * 2**stage, 0, (56 >> stage,) * 2, cls=False) for stage, n in enumerate((2, 2, 18, 2)) for _ in range(n)
]


def test_default_blocks():
    assert default_blocks(isotropic(12)) == [4, 5, 6, 7, 8, 9, 10, 11]
    assert default_blocks(isotropic(24)) == [8, 10, 12, 14, 16, 18, 20, 22]
    assert default_blocks(isotropic(6)) == [2, 3, 4, 5]
    assert default_blocks(isotropic(2)) == [1]
    assert default_blocks(SWIN_B) == [4, 7, 10, 13, 16, 19, 22, 23]
    for depth in range(2, 50):
        assert all(1 <= block < depth for block in default_blocks(isotropic(depth)))


def test_head_plan_has_the_released_lists():
    assert head_plan(8) == ["conv1_1", "conv1_1", "conv2_1", "conv2_1", 2, 2, 3, 3]
    assert head_plan(6) == ["conv1_1", "conv2_1", 2, 2, 3, 3]
    assert head_plan(4) == ["conv1_1", "conv2_1", 2, 3]
    assert head_plan(2) == ["conv1_1", 2]
    assert head_plan(8, pyramid=True) == ["conv1_1", "conv1_1", "conv2_1", "conv2_1", 1, 1, 2, 2]
    assert head_plan(4, heads="local") == ["conv1_1", "conv1_1", "conv2_1", "conv2_1"]
    assert head_plan(3, heads="global") == [2, 2, 3]


@pytest.mark.parametrize("blocks", [(12,), (0, 4), (4, 4), (-1,)])
def test_blocks_outside_are_an_error(blocks):
    method = LGViT(blocks=blocks)
    with pytest.raises(UserError, match="from 1 to 11"):
        method.build(tiny_vit(12), Task(classes=3))


def test_options_as_typed():
    (chosen,) = Registry.installed().choose("lgvit[blocks=4+5+6,gah=avg,kd=batch,detach_teachers=true,threshold=0.9]")
    assert chosen.method == LGViT((4, 5, 6), gah="avg", kd="batch", detach_teachers=True)
    assert chosen.pinned == 0.9
    exits = chosen.method.build(tiny_vit(12), Task(classes=3))
    assert list(exits) == [4, 5, 6]
    assert exits[6].mix.average


def test_says_why_not():
    assert unmet(LGViT(), tiny_text(), Task(classes=3)) == "it needs a patch grid, which text has not"
    assert unmet(LGViT(), tiny_vit(), Task(kind="regression", classes=1))
    assert unmet(LGViT(), tiny_vit(1), Task(classes=3))
    assert all(unmet(LGViT(), BACKBONES[kind](3), Task(classes=3)) is None for kind in VISION)


# --- published sizes and costs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "backbone_m", "model_m"), [(100, 85.88, 100.69), (1000, 86.57, 106.92)])
def test_parameters_on_vit_b(classes, backbone_m, model_m):
    with torch.device("meta"):
        backbone = ViT(timm.create_model("vit_base_patch16_224", num_classes=classes))
        model = EarlyExitModel(backbone, LGViT().build(backbone, Task(classes=classes)))
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(backbone_m, abs=0.01)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(model_m, abs=0.01)


def test_macs_on_vit_b():
    # every head up to the exit charged, attention's two products included; computed from the layers' shapes by hand
    expected = {4: 6.164, 5: 7.851, 6: 9.536, 7: 11.221, 8: 12.794, 9: 14.368, 10: 15.882, 11: 17.396, 12: 18.850}
    with torch.device("meta"):
        backbone = ViT(timm.create_model("vit_base_patch16_224", num_classes=100))
        model = EarlyExitModel(backbone, LGViT().build(backbone, Task(classes=100))).eval()
        image = torch.empty(1, 3, 224, 224)
    for block, gmacs in expected.items():
        with FlopCounterMode(display=False) as counter:
            model.forced(image, block)
        assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=1e-3)


# --- losses --------------------------------------------------------------------------------------------------------


def test_prediction_kl():
    student, teacher = seeded(6, 5, seed=1) * 3, seeded(6, 5, seed=2) * 3
    p, q = softmax(teacher.numpy() / 2, -1), softmax(student.numpy() / 2, -1)
    total = 4 * rel_entr(p, q).sum()
    assert float(prediction_kl(student, teacher, 2.0, "batch")) == pytest.approx(total / 6, rel=1e-4)
    assert float(prediction_kl(student, teacher, 2.0, "batch_classes")) == pytest.approx(total / 30, rel=1e-4)
    assert float(prediction_kl(student, student)) == pytest.approx(0, abs=1e-6)


def test_feature_kl_is_over_channels():
    student, teacher = seeded(2, 3, 4, seed=1), seeded(2, 3, 4, seed=2)
    expected = sum(
        rel_entr(softmax(teacher[b, n].numpy()), softmax(student[b, n].numpy())).sum()
        for b in range(2)
        for n in range(3)
    )
    assert float(feature_kl(student, teacher)) == pytest.approx(expected / 2, rel=1e-4)


def test_gram():
    tokens = seeded(2, 5, 3)
    expected = np.einsum("bni,bnj->bij", tokens.numpy(), tokens.numpy())
    np.testing.assert_allclose(gram(tokens).numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gram(tokens, normalise=True).numpy(), expected / 5, rtol=1e-5, atol=1e-6)


def made_exits(kinds, dim=4, size=(5, 5)):
    """Heads and tokens of the shape each would make of a grid."""
    exits = []
    for seed, kind in enumerate(kinds):
        layout = Layout(dim, 0, size, cls=False)
        head = LGViTExit(kind, layout, 3).mix
        exits.append((head, seeded(*head.reduce(seeded(2, dim, *size)).shape, seed=seed)))
    return exits


@pytest.mark.parametrize("count", [2, 4, 6, 8, 3, 5])
def test_feature_losses_with_any_number_of_exits(count):
    exits = made_exits(head_plan(count))
    target = seeded(2, 4, 5, 5, seed=99)
    local = [tokens for head, tokens in exits if isinstance(head, LocalPerception)]
    heads = [head for head, _ in exits if isinstance(head, GlobalAggregation)]
    aggregated = [tokens for head, tokens in exits if isinstance(head, GlobalAggregation)]
    flat = target.flatten(2).transpose(1, 2)
    hete = sum(feature_kl(local[i], flat) for i in {0, len(local) - 1})
    for i in {0, len(heads) - 1}:
        thinned = target[:, :, :: heads[i].stride, :: heads[i].stride].flatten(2).transpose(1, 2)
        hete = hete + feature_kl(aggregated[i], thinned)
    torch.testing.assert_close(heterogeneous_loss(exits, target), hete)
    homo = sum(((tokens - local[-1]) ** 2).mean() for tokens in local[:-1])
    homo = homo + sum(((gram(tokens) - gram(aggregated[-1])) ** 2).mean() for tokens in aggregated[:-1])
    torch.testing.assert_close(homogeneous_loss(exits), torch.as_tensor(homo, dtype=torch.float32))


def test_feature_losses_where_widths_change():
    # Swin-B's plan with small grids: what can be compared is, the rest is left out
    shapes = [(8, 8), (4, 4), (4, 4), (4, 4), (4, 4), (4, 4), (4, 4), (2, 2)]
    dims = [2, 4, 4, 4, 4, 4, 4, 8]
    exits = [
        made_exits([kind], dim, size)[0]
        for kind, dim, size in zip(head_plan(8, pyramid=True), dims, shapes, strict=True)
    ]
    exits = [(head, tokens * (i + 1)) for i, (head, tokens) in enumerate(exits)]
    tokens = [t for _, t in exits]
    target = seeded(2, 8, 2, 2, seed=99)
    torch.testing.assert_close(
        heterogeneous_loss(exits, target), feature_kl(tokens[7], target[:, :, :1, :1].flatten(2).mT)
    )
    homo = F.mse_loss(tokens[1], tokens[3]) + F.mse_loss(tokens[2], tokens[3])  # 4 stands alone, 7 and 10 learn from 13
    homo = homo + sum(F.mse_loss(gram(tokens[i]), gram(tokens[6])) for i in (4, 5))  # 16, 19 from 22; 23 stands alone
    torch.testing.assert_close(homogeneous_loss(exits), homo)


def test_teachers_are_detached_on_demand():
    for detach in (False, True):
        exits = [(head, tokens.requires_grad_()) for head, tokens in made_exits(head_plan(4, heads="local"))]
        homogeneous_loss(exits, detach=detach).backward()
        assert all(tokens.grad is not None for _, tokens in exits[:-1])
        assert (exits[-1][1].grad is None) == detach


@pytest.mark.parametrize("index", range(4))
def test_stage_1_alternates(index):
    method, model = build(LGViT, tiny_vit(), blocks=(2, 3))
    targets = classes_for(8)
    step = train_step(model, method.phases()[0], inputs_for(model.backbone, 8), targets, method.task, index=index)
    losses = [F.cross_entropy(visit.logits, targets) for visit in step.visits]
    weighted = (2 * losses[0] + 3 * losses[1] + 4 * losses[2]) / 9
    torch.testing.assert_close(alternating_weighted(step), weighted if index % 2 else losses[2])


@pytest.mark.parametrize("options", [{}, {"kd": "batch", "gram_norm": True, "target_norm": True, "kd_weight": 0.6}])
def test_stage_2_adds_up(options):
    method, model = build(LGViT, tiny_vit(), **options)
    targets = classes_for(8)
    step = train_step(model, method.phases()[1], inputs_for(model.backbone, 8), targets, method.task)
    share = options.get("kd_weight", 0.3)
    *early, last = step.visits
    expected = torch.zeros(())
    for visit in early:
        expected += (1 - share) * F.cross_entropy(visit.logits, targets)
        expected += share * prediction_kl(visit.logits, last.logits, 2.0, options.get("kd", "batch_classes"))
    final = model.backbone.net.norm(last.features.tokens) if "target_norm" in options else last.features.tokens
    patches = final[:, 1:].transpose(1, 2).reshape(8, 32, 4, 4)
    exits = [(visit.head.mix, visit.output.aux["tokens"]) for visit in early]
    expected += 0.01 * heterogeneous_loss(exits, patches)
    expected += 0.01 * homogeneous_loss(exits, normalise="gram_norm" in options)
    torch.testing.assert_close(method.distillation(step), expected)
    # the teacher's logits went through the final norm: they are what inference says
    torch.testing.assert_close(last.logits, model.backbone.plain(inputs_for(model.backbone, 8)))


# --- gradients and training ------------------------------------------------------------------------------------------


def test_stage_1_gradients():
    method, model = build(LGViT, tiny_vit())
    inputs, targets, stage = inputs_for(model.backbone), classes_for(), method.phases()[0]
    even = gradients(model, stage, inputs, targets, method.task, index=0)
    odd = gradients(model, stage, inputs, targets, method.task, index=1)
    assert set(even) == {name for name, _ in model.named_parameters() if name.startswith("backbone.")}
    # a bias right in front of a BatchNorm has no effect, so that its gradient is nothing but rounding
    idle = {f"exits.{block}.mix.projection.0.bias" for block in (1, 2)}
    assert {name for name, _ in model.named_parameters()} - set(odd) <= idle


@pytest.mark.parametrize("kind", VISION)
def test_stage_2_moves_exits_only(kind):
    method, model = build(LGViT, BACKBONES[kind](3))
    moved = gradients(model, method.phases()[1], inputs_for(model.backbone), classes_for(), method.task)
    assert moved
    assert all(name.startswith("exits.") for name in moved)
    assert {name.split(".")[1] for name in moved} == {str(block) for block in model.blocks[:-1]}


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("kind", ["vit", "pyramid"])
def test_training_both_stages(kind, cached):
    backbone = BACKBONES[kind](3)
    images, targets = inputs_for(backbone, 33), classes_for(33).numpy()  # batches of 16, 16 and 1
    split = Split(list(images), targets)
    data = Data("noise", "vision", Task(classes=3), split, split, split, "")
    backbone.prepare = lambda raw: torch.stack(list(raw))
    method = LGViT()
    model = assemble(method, backbone, data.task)
    first, second = method.phases(data.task)
    assert first.share + second.share == 1
    common = {"seed": 0, "device": torch.device("cpu"), "cache": FeatureCache() if cached else None}
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(model, first, Recipe(epochs=1, batch_size=16, lr=1e-3), data, **common)
    between = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    history = fit(model, second, Recipe(epochs=6, batch_size=16, lr=3e-3), data, **common)
    end = model.state_dict()
    assert any(not torch.equal(start[name], between[name]) for name in start if name.startswith("backbone."))
    for name in end:
        if name.startswith("backbone."):
            assert torch.equal(between[name], end[name]), name
    assert any(not torch.equal(between[name], end[name]) for name in end if name.endswith("running_mean"))
    assert history.losses[-1] < history.losses[0]


def test_pyramid_exits_read_their_own_width():
    exits = LGViT().build(TinyPyramid(), Task(classes=3))
    assert {block: head.classifier.in_features for block, head in exits.items()} == {1: 16, 2: 16, 3: 32}
