"""The ResNet adapter: residual blocks as blocks, maps as tokens."""

import pytest
import torch
from conformance import OUTPUTS, check, images, run
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.resnet import ResNet as TimmResNet

from eebench.backbones import create
from eebench.backbones.resnet import ResNet, small_stem

WIDTHS = {"channels": (16, 16, 32, 32), "num_classes": OUTPUTS}


def blocks_of(net):
    return [*net.layer1, *net.layer2, *net.layer3, *net.layer4]


@pytest.mark.parametrize(
    "options",
    [
        {"block": BasicBlock, "layers": (2, 1, 2, 1)},
        {"block": Bottleneck, "layers": (1, 2, 1, 1)},
        {"block": BasicBlock, "layers": (1, 1, 1, 1), "stem_type": "deep", "stem_width": 32, "avg_down": True},
        {"block": BasicBlock, "layers": (2, 1, 1, 1), "drop_path_rate": 0.2, "drop_rate": 0.1},
    ],
    ids=["basic", "bottleneck", "deep stem", "drops"],
)
@pytest.mark.parametrize("small", [False, True])
def test_walk_is_the_timm_model(options, small):
    torch.manual_seed(0)
    net = TimmResNet(**options, **WIDTHS)
    if small:
        small_stem(net)
    check(ResNet(net, 20 if small else 64), blocks_of(net), images(20 if small else 64))


def test_layouts_follow_the_maps():
    backbone = ResNet(TimmResNet(BasicBlock, (2, 1, 1, 1), **WIDTHS), 70)
    assert [layout.grid for layout in backbone.layouts] == [(18, 18), (18, 18), (9, 9), (5, 5), (3, 3)]
    assert [layout.dim for layout in backbone.layouts] == [16, 16, 16, 32, 32]
    assert {(layout.prefix, layout.cls) for layout in backbone.layouts} == {(0, False)}
    assert backbone.heads == (1,) * 5


def test_tokens_are_a_view_of_the_map_and_stay_contiguous_when_rows_leave():
    backbone = create("resnet18", outputs=OUTPUTS, image_size=8, channels=1).eval()
    with torch.inference_mode():
        features = run(backbone, backbone.embed(images(8, channels=1)), 0, 3)
        assert features.tokens.is_contiguous()
        assert features.map.data_ptr() == features.tokens.data_ptr()
        assert features.map.is_contiguous(memory_format=torch.channels_last)
        kept = features.rows(torch.tensor([2, 0]))
        assert kept.map.is_contiguous(memory_format=torch.channels_last)


def test_images_of_another_size_are_refused():
    backbone = create("resnet18", outputs=OUTPUTS, image_size=8)
    with pytest.raises(ValueError, match="8 pixels"):
        backbone.embed(images(16))


@pytest.mark.parametrize(
    ("name", "size", "first", "grids"),
    [
        ("resnet18", 8, (3, 3), [8, 8, 4, 4, 2, 2, 1, 1]),
        ("resnet18", 64, (3, 3), [64, 64, 32, 32, 16, 16, 8, 8]),
        ("resnet18", 65, (7, 7), [17, 17, 9, 9, 5, 5, 3, 3]),
        ("resnet18", None, (7, 7), [56, 56, 28, 28, 14, 14, 7, 7]),
        ("resnet50", 32, (3, 3), [32] * 3 + [16] * 4 + [8] * 6 + [4] * 3),
        ("resnet18d", 32, (3, 3), [32, 32, 16, 16, 8, 8, 4, 4]),
    ],
)
def test_small_images_keep_their_size_through_the_stem(name, size, first, grids):
    with torch.device("meta"):
        backbone = create(name, outputs=OUTPUTS, image_size=size)
    conv = backbone.net.conv1
    assert (conv if isinstance(conv, torch.nn.Conv2d) else conv[0]).kernel_size == first
    assert [layout.grid for layout in backbone.layouts] == [(grid, grid) for grid in grids]
    assert bool(backbone.notes) == (size is not None and size <= 64)
    assert backbone.small == (first == (3, 3) and name != "resnet18d")


def test_patch_size_means_nothing_to_it():
    backbone = create("resnet18", outputs=10, image_size=8, patch_size=2, channels=1)
    assert backbone.layouts[0].grid == (8, 8)
