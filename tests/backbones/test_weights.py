"""Weights: what is loaded, resized and left new, against timm's own loading; and every broken file in one line."""

import os
from pathlib import Path

import pytest
import timm
import torch
from conformance import images
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed, resample_patch_embed, resize_rel_pos_bias_table
from timm.models import adapt_input_conv
from timm.models.deit import VisionTransformerDistilled
from timm.models.resnet import BasicBlock
from timm.models.resnet import ResNet as TimmResNet
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from eebench.backbones import create
from eebench.backbones.resnet import ResNet, small_stem
from eebench.backbones.swin import Swin
from eebench.backbones.vit import ViT
from eebench.backbones.weights import fit_weights, load_weights
from eebench.engine.model import EarlyExitModel
from eebench.errors import UserError
from eebench.parts import LinearExit

VIT = {"img_size": 24, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 7}
SWIN = {"img_size": 32, "patch_size": 2, "embed_dim": 16, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 4, 8)}
CNN = {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (16, 16, 32, 32)}


def vit(seed=0, kind=VisionTransformer, **changes):
    torch.manual_seed(seed)
    return ViT(kind(**{**VIT, **changes}))


def swin(seed=0, **changes):
    torch.manual_seed(seed)
    return Swin(SwinTransformer(**{**SWIN, "window_size": 4, "num_classes": 7, **changes}))


def save(net, path):
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)
    return path


def before_and_after(backbone, path):
    old = {key: value.clone() for key, value in backbone.net.state_dict().items()}
    lines = load_weights(backbone, path, name="tiny")
    return lines, old, backbone.net.state_dict()


def test_none_loads_nothing():
    backbone = vit()
    old = backbone.net.state_dict()["head.weight"].clone()
    assert load_weights(backbone, "none", name="tiny") == []
    assert torch.equal(backbone.net.head.weight, old)


@pytest.mark.parametrize("make", [vit, swin], ids=["vit", "swin"])
def test_same_size_takes_everything_and_says_so(make, tmp_path):
    source, backbone = make(seed=1), make(seed=2)
    lines = load_weights(backbone, save(source.net, tmp_path / "w.safetensors"), name="tiny")
    total = len(source.net.state_dict())
    millions = sum(p.numel() for p in source.net.parameters()) / 1e6
    assert lines == [
        f"loaded {total} of {total} tensors ({millions:.2f} M parameters) from weights '{tmp_path / 'w.safetensors'}'"
    ]
    size = 24 if make is vit else 32
    with torch.inference_mode():
        assert torch.equal(backbone.eval().plain(images(size)), source.eval().plain(images(size)))


def test_vit_is_resampled_by_timms_own_functions(tmp_path):
    source, backbone = vit(seed=1), vit(seed=2, img_size=(16, 24), patch_size=8, in_chans=1, num_classes=3)
    lines, old, new = before_and_after(backbone, save(source.net, tmp_path / "w.safetensors"))
    given = source.net.state_dict()
    assert lines[1:] == [
        "resized position embeddings: 6x6 -> 2x3",
        "adapted patch_embed.proj.weight: 3 -> 1 input channels",
        "resized patch_embed.proj.weight: 4x4 -> 8x8",
        "left new: head.bias, head.weight",
    ]
    assert lines[0].startswith(f"loaded {len(given) - 2} of {len(given)} tensors")
    positions = resample_abs_pos_embed(given["pos_embed"], [2, 3], old_size=[6, 6], num_prefix_tokens=1)
    torch.testing.assert_close(new["pos_embed"], positions)
    patches = adapt_input_conv(1, resample_patch_embed(given["patch_embed.proj.weight"], [8, 8]))
    torch.testing.assert_close(new["patch_embed.proj.weight"], patches)
    assert torch.equal(new["blocks.2.mlp.fc1.weight"], given["blocks.2.mlp.fc1.weight"])
    assert torch.equal(new["head.weight"], old["head.weight"])


def test_grey_weights_of_a_colour_model_see_grey_as_equal_colours(tmp_path):
    source, backbone = vit(seed=1), vit(seed=2, in_chans=1)
    load_weights(backbone, save(source.net, tmp_path / "w.safetensors"), name="tiny")
    grey = images(24, channels=1)
    with torch.inference_mode():
        colour = source.eval().plain(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(backbone.eval().plain(grey), colour, atol=1e-5, rtol=1e-4)


def test_deit_keeps_or_replaces_both_classifiers_together(tmp_path):
    source = vit(seed=1, kind=VisionTransformerDistilled)
    path = save(source.net, tmp_path / "w.safetensors")
    lines, old, new = before_and_after(vit(seed=2, kind=VisionTransformerDistilled, num_classes=3, img_size=16), path)
    assert lines[1] == "resized position embeddings: 6x6 -> 4x4"
    assert lines[2] == "left new: head.bias, head.weight, head_dist.bias and 1 more"
    assert torch.equal(new["head_dist.weight"], old["head_dist.weight"])
    assert torch.equal(new["dist_token"], source.net.dist_token)


def test_registers_keep_their_tokens_out_of_the_positions(tmp_path):
    options = {"reg_tokens": 2, "no_embed_class": True}
    source = vit(seed=1, **options)
    lines, _, new = before_and_after(vit(seed=2, img_size=16, **options), save(source.net, tmp_path / "w.safetensors"))
    assert lines[1] == "resized position embeddings: 6x6 -> 4x4"
    positions = resample_abs_pos_embed(source.net.pos_embed, [4, 4], old_size=[6, 6], num_prefix_tokens=0)
    torch.testing.assert_close(new["pos_embed"], positions.detach())
    assert torch.equal(new["reg_token"], source.net.reg_token)


@pytest.mark.filterwarnings("ignore::UserWarning:timm.layers.interpolate")  # this test's own call of it
def test_swin_resizes_relative_positions_and_patches(tmp_path):
    source, backbone = swin(seed=1), swin(seed=2, img_size=24, patch_size=1, window_size=(6, 6, 6, 3))
    lines, _, new = before_and_after(backbone, save(source.net, tmp_path / "w.safetensors"))
    assert lines[1:] == [
        "resized patch_embed.proj.weight: 2x2 -> 1x1",
        "resized relative position biases: windows 4x4 -> 6x6 (4 tensors)",
        "resized relative position biases: windows 2x2 -> 3x3",
    ]
    key = "layers.1.blocks.1.attn.relative_position_bias_table"
    table = resize_rel_pos_bias_table(source.net.state_dict()[key], (6, 6), (121, 2))
    torch.testing.assert_close(new[key], table)


def test_resized_relative_positions_keep_a_constant_bias_and_the_corners():
    """Not timm's word alone: what does not depend on the offset stays, and the farthest offsets stay the farthest."""
    source, backbone = swin(seed=1), swin(seed=2, window_size=7, img_size=56)
    key = "layers.0.blocks.0.attn.relative_position_bias_table"
    state = source.net.state_dict()
    rows, columns = torch.meshgrid(torch.arange(7.0), torch.arange(7.0), indexing="ij")
    for table in ("layers.0", "layers.1"):
        for name, value in state.items():
            if name.startswith(table) and name.endswith("relative_position_bias_table"):
                value.fill_(0.25)
    state[key][:, 0] = (10 * rows + columns).flatten()
    fit_weights(backbone, state, name="tiny", source="these")
    new = backbone.net.state_dict()
    constant = new["layers.1.blocks.0.attn.relative_position_bias_table"]
    torch.testing.assert_close(constant, torch.full_like(constant, 0.25))
    table = new[key][:, 0].view(13, 13)
    corners = torch.stack([table[0, 0], table[0, -1], table[-1, 0], table[-1, -1], table[6, 6]])
    torch.testing.assert_close(corners, torch.tensor([0.0, 6.0, 60.0, 66.0, 33.0]), atol=1e-3, rtol=0)
    assert (table.diff(dim=0) > -1e-3).all()
    assert (table.diff(dim=1) > -1e-3).all()


def test_swin_takes_the_authors_own_layout_of_names(tmp_path):
    source, backbone = swin(seed=1), swin(seed=2)
    theirs = {}  # patch merging closes a stage there, and opens the next one in timm; buffers were stored
    for key, value in source.net.state_dict().items():
        parts = key.split(".")
        if "downsample" in key:
            parts[1] = str(int(parts[1]) - 1)
        theirs[".".join(parts).replace("head.fc", "head")] = value
    theirs["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.int64)
    torch.save({"model": theirs, "epoch": 3}, tmp_path / "swin.pth")
    lines = load_weights(backbone, tmp_path / "swin.pth", name="tiny")
    assert len(lines) == 1
    with torch.inference_mode():
        assert torch.equal(backbone.eval().plain(images(32)), source.eval().plain(images(32)))


def test_resnet_keeps_its_small_stem_new(tmp_path):
    torch.manual_seed(1)
    source = TimmResNet(**CNN, num_classes=7)
    path = save(source, tmp_path / "w.safetensors")
    net = TimmResNet(**CNN, num_classes=7)
    small_stem(net)
    lines, old, new = before_and_after(ResNet(net, 16), path)
    assert lines[1:] == ["left new: conv1.weight"]
    assert torch.equal(new["conv1.weight"], old["conv1.weight"])
    assert torch.equal(new["layer4.0.conv2.weight"], source.layer4[0].conv2.weight)
    assert len(load_weights(ResNet(TimmResNet(**CNN, num_classes=7), 64), path, name="tiny")) == 1


@pytest.mark.parametrize("wrap", [("module.",), ("backbone.", "net."), ("model.", "_orig_mod.", "module."), ("net.",)])
@pytest.mark.parametrize("under", [None, "model", "state_dict"])
def test_prefixes_and_wrappers_are_taken_off(wrap, under, tmp_path):
    source, backbone = vit(seed=1), vit(seed=2)
    state = {"".join(wrap) + key: value for key, value in source.net.state_dict().items()}
    torch.save({under: state, "epoch": 1} if under else state, tmp_path / "w.pt")
    load_weights(backbone, tmp_path / "w.pt", name="tiny")
    assert torch.equal(backbone.net.head.weight, source.net.head.weight)


def test_backbone_inside_an_early_exit_checkpoint_is_found(tmp_path):
    source, backbone = vit(seed=1), vit(seed=2)
    model = EarlyExitModel(source, {1: LinearExit(source.layouts[0], 7)})
    lines = load_weights(backbone, save(model, tmp_path / "w.safetensors"), name="tiny")
    assert lines[1:] == ["not used: exits.1.classifier.bias, exits.1.classifier.weight"]
    assert torch.equal(backbone.net.head.weight, source.net.head.weight)


def test_half_precision_files_become_the_models_own_precision(tmp_path):
    source, backbone = vit(seed=1), vit(seed=2)
    state = {key: value.half() for key, value in source.net.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    load_weights(backbone, tmp_path / "w.safetensors", name="tiny")
    assert backbone.net.head.weight.dtype == torch.float32
    assert torch.equal(backbone.net.head.weight, source.net.head.weight.half().float())


def fault(backbone, path):
    """The one line a user sees; the backbone is untouched."""
    old = {key: value.clone() for key, value in backbone.net.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_weights(backbone, path, name="tiny")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(old[key], value) for key, value in backbone.net.state_dict().items())
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "target", "parts"),
    [
        (lambda: vit(depth=2), vit, ["do not fit tiny: 12 missing (blocks.2.norm1.weight, ", "and 9 more"]),
        (lambda: vit(depth=4), vit, ["12 beyond the model's depth (blocks.3.attn.proj.bias, "]),
        (lambda: vit(embed_dim=64), vit, ["of another shape (cls_token 1x1x64 against 1x1x32, "]),
        (lambda: vit(kind=VisionTransformerDistilled), vit, ["of another shape (pos_embed"]),
        (vit, lambda: vit(kind=VisionTransformerDistilled), ["missing (dist_token"]),
        (swin, lambda: swin(depths=(1, 1, 1, 1)), ["13 beyond the model's depth (layers.1.blocks.1.attn.proj.bias, "]),
        (lambda: swin(depths=(1, 1, 1, 1)), swin, ["13 missing (layers.1.blocks.1."]),
        (swin, vit, ["missing (cls_token, pos_embed, "]),
        (lambda: vit(in_chans=2), vit, ["patch_embed.proj.weight 32x2x4x4 against 32x3x4x4"]),
    ],
    ids=["shallower", "deeper", "wider", "deit to vit", "vit to deit", "swin deeper", "swin shallower", "swin to vit",
         "two channels"],
)  # fmt: skip
def test_weights_that_do_not_fit_name_the_keys(source, target, parts, tmp_path):
    message = fault(target(), save(source().net, tmp_path / "w.safetensors"))
    for part in parts:
        assert part in message


def test_text_backbones_bring_their_own():
    backbone = vit()
    backbone.modality = "text"
    with pytest.raises(UserError, match="text backbone"):
        load_weights(backbone, "timm", name="bert-base-uncased")
    assert load_weights(backbone, "none", name="bert-base-uncased") == []


def test_real_dinov2_at_70_pixels():
    folder = os.environ.get("EEBENCH_REAL_DATA")
    if not folder:
        pytest.skip("EEBENCH_REAL_DATA is not set: it names the folder with vit-small-dinov2.safetensors")
    path = Path(folder) / "vit-small-dinov2.safetensors"
    backbone = create("vit_small_patch14_dinov2", outputs=10, image_size=70, channels=1)
    assert backbone.layouts[0].grid == (5, 5)
    lines = load_weights(backbone, path, name="vit_small_patch14_dinov2")
    assert lines == [
        f"loaded 174 of 176 tensors (21.39 M parameters) from weights '{path}'",
        "resized position embeddings: 37x37 -> 5x5",
        "adapted patch_embed.proj.weight: 3 -> 1 input channels",
        "left new: head.bias, head.weight",
    ]
    timms = timm.create_model(
        "vit_small_patch14_dinov2",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path)},
        img_size=70,
        num_classes=0,
        in_chans=1,
    )
    state = backbone.net.state_dict()
    for key, value in timms.state_dict().items():
        assert torch.equal(state[key], value), key
    assert torch.equal(load_file(path)["blocks.11.ls2.gamma"], state["blocks.11.ls2.gamma"])
