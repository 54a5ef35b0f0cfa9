"""The Swin adapter: blocks numbered through the stages, read before patch merging."""

import pytest
import torch
from conformance import OUTPUTS, check, images
from timm.models.swin_transformer import SwinTransformer

from eebench.backbones import create
from eebench.backbones.swin import Swin, fitting_window

SMALL = {"embed_dim": 16, "depths": (2, 2, 3, 1), "num_heads": (1, 2, 4, 8), "num_classes": OUTPUTS}


@pytest.mark.parametrize(
    ("size", "patch", "window"),
    [(32, 2, 4), (32, 4, 4), (28, 4, 7), (8, 1, 4), ((32, 48), 2, 4), (36, 2, 4)],
    ids=["shifted windows", "last grid 1x1", "odd grids", "digits", "non-square", "padded windows"],
)
def test_walk_is_the_timm_model(size, patch, window):
    torch.manual_seed(0)
    net = SwinTransformer(img_size=size, patch_size=patch, window_size=window, **SMALL)
    check(Swin(net), [block for stage in net.layers for block in stage.blocks], images(size), channels_last=True)


def test_layouts_change_with_the_stage():
    backbone = Swin(SwinTransformer(img_size=(32, 48), patch_size=2, window_size=4, **SMALL))
    assert [layout.dim for layout in backbone.layouts] == [16, 16, 32, 32, 64, 64, 64, 128]
    grids = [(16, 24)] * 2 + [(8, 12)] * 2 + [(4, 6)] * 3 + [(2, 3)]
    assert [layout.grid for layout in backbone.layouts] == grids
    assert {(layout.prefix, layout.cls, layout.dist) for layout in backbone.layouts} == {(0, False, False)}
    assert backbone.heads == (1, 1, 2, 2, 4, 4, 4, 8)
    assert backbone.mlp_ratio == 4.0


def test_merging_runs_with_the_first_block_of_the_next_stage():
    torch.manual_seed(0)
    net = SwinTransformer(img_size=32, patch_size=2, window_size=4, **SMALL)
    merged = []
    for stage in net.layers[1:]:
        stage.downsample.register_forward_hook(lambda module, args, out: merged.append(module))
    backbone = Swin(net).eval()
    features = backbone.embed(images(32))
    counts = []
    for number in range(1, backbone.depth + 1):
        features = backbone.block(number, features)
        counts.append(len(merged))
    assert counts == [0, 0, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize(("name", "depth", "width"), [("swin_ti", 12, 96), ("swin_s", 24, 96), ("swin_b", 24, 128)])
def test_models_by_name_at_their_own_size(name, depth, width):
    with torch.device("meta"):
        backbone = create(name, outputs=OUTPUTS)
    assert backbone.depth == depth
    dims = {layout.grid: layout.dim for layout in backbone.layouts}
    assert dims == {(56, 56): width, (28, 28): 2 * width, (14, 14): 4 * width, (7, 7): 8 * width}
    windows = [stage.blocks[0].window_size for stage in backbone.net.layers]
    assert windows == [(7, 7)] * 4
    assert backbone.notes == ()


def test_lgvit_positions_fall_where_the_paper_has_them():
    with torch.device("meta"):
        backbone = create("swin_b", outputs=100)
    grids = {block: (backbone.layouts[block - 1].grid, backbone.layouts[block - 1].dim) for block in (4, 7, 22, 23)}
    assert grids == {4: ((28, 28), 256), 7: ((14, 14), 512), 22: ((14, 14), 512), 23: ((7, 7), 1024)}


@pytest.mark.parametrize(
    ("image", "patch", "windows"),
    [(8, 2, [4, 2, 1, 1]), (8, 1, [4, 4, 2, 1]), (28, 4, [7, 4, 2, 1]), (32, 4, [4, 4, 2, 1])],
)
def test_small_images_get_windows_that_fit(image, patch, windows):
    with torch.device("meta"):
        backbone = create("swin_ti", outputs=OUTPUTS, image_size=image, patch_size=patch, channels=1)
    assert [stage.blocks[0].window_size[0] for stage in backbone.net.layers] == windows
    assert str(windows) in backbone.notes[0]


def test_digits_end_to_end():
    torch.manual_seed(0)
    backbone = create("swin_ti", outputs=10, image_size=8, patch_size=2, channels=1).eval()
    with torch.inference_mode():
        assert backbone.plain(images(8, channels=1)).shape == (3, 10)


@pytest.mark.parametrize(
    ("grid", "window", "side"),
    [
        (56, 7, 7), (28, 7, 7), (14, 7, 7), (7, 7, 7), (96, 12, 12), (24, 12, 12),  # a model's own sizes
        (4, 7, 4), (1, 7, 1),  # one window holds all
        (8, 7, 4), (16, 7, 8), (64, 7, 8), (10, 7, 5), (9, 7, 5), (11, 7, 6), (13, 7, 7),  # fitted
    ],
)  # fmt: skip
def test_fitting_window(grid, window, side):
    assert fitting_window(grid, window) == side


@pytest.mark.parametrize("window", [7, 12])
def test_fitting_window_never_pads_more_than_the_models_own(window):
    for grid in range(1, 130):
        side = fitting_window(grid, window)
        assert 1 <= side <= grid
        assert -grid % side <= (-grid % window if grid > window else 0)
