"""timm's Swin Transformer, block by block: numbered through all stages, with a grid and a width that change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from eebench.api import Backbone, Features, Layout
from eebench.backbones.depth import check_depth, spread_drop_path
from eebench.backbones.vit import check_patches, image_shape

__all__ = ["Swin", "build", "fitting_window"]


class Swin(Backbone):
    """Adapter over a timm ``SwinTransformer``. Source: timm, models/swin_transformer.py.

    Tokens are the (B, H, W, C) maps seen as (B, H*W, C); there are no prefix tokens. Patch merging belongs to the first
    block of the next stage, so an exit reads a block's output before it.
    """

    modality = "vision"
    family = "swin"

    def __init__(self, net: SwinTransformer, notes: Sequence[str] = ()) -> None:
        super().__init__()
        self.net = net
        self.notes = tuple(notes)
        self._number()
        self.image_shape = image_shape(net.patch_embed)
        self.mlp_ratio = self._steps[0][1].mlp.fc1.out_features / self.layouts[0].dim

    def _number(self) -> None:
        """Number the blocks there are, through all stages."""
        stages: Any = self.net.layers  # timm's modules carry no types
        steps: list[tuple[nn.Module | None, Any]] = []
        layouts: list[Layout] = []
        for index, stage in enumerate(stages):
            for position, block in enumerate(stage.blocks):
                steps.append((stage.downsample if index and not position else None, block))
                height, width = stage.output_resolution
                layouts.append(Layout(dim=block.dim, grid=(height, width), cls=False))
        self.layouts = tuple(layouts)
        self.heads = tuple(block.attn.num_heads for _, block in steps)
        self._steps = tuple(steps)

    def embed(self, inputs: Tensor) -> Features:  # type: ignore[override]
        """Images (B, C, H, W) → patches (B, H*W, D); positions are in the attention's biases."""
        return Features(self.net.patch_embed(inputs).flatten(1, 2), self.layouts[0])

    def block(self, number: int, features: Features) -> Features:
        """One (shifted-)window block; the first of a later stage merges 2x2 patches before it."""
        merge, block = self._steps[number - 1]
        maps = _maps(features)
        if merge is not None:
            maps = merge(maps)
        return Features(block(maps).flatten(1, 2), self.layouts[number - 1])

    def norm(self, features: Features) -> Features:
        """The final LayerNorm, of the last stage's width."""
        return Features(self.net.norm(features.tokens), features.layout)

    def classify(self, features: Features) -> Tensor:
        """Final norm, mean over positions, classifier."""
        return self.net.forward_head(self.net.norm(_maps(features)))

    def plain(self, inputs: Tensor) -> Tensor:  # type: ignore[override]
        """The timm model's own forward."""
        return self.net(inputs)

    def shorten(self, blocks: int) -> Swin:
        """The first blocks; in an earlier stage than the last, final norm and classifier are new, of its width."""
        check_depth(self, blocks)
        spread_drop_path([block for _, block in self._steps], blocks)
        net: Any = self.net
        left, stages = blocks, 0
        while left > 0:
            stage = net.layers[stages]
            stage.blocks = stage.blocks[:left]
            left -= len(stage.blocks)
            stages += 1
        net.layers = net.layers[:stages]
        net.num_layers, net.feature_info = stages, net.feature_info[:stages]
        width = self.layouts[blocks - 1].dim
        if width != net.num_features:
            net.norm = nn.LayerNorm(width, eps=net.norm.eps).to(net.norm.weight)
            net.num_features = width
            net.reset_classifier(net.num_classes)
            timm.models.vision_transformer.init_weights_vit_timm(net.head.fc)  # as timm makes a Swin's classifier
        self._number()
        return self

    def prepare(self, raw: Sequence[Any]) -> Tensor:
        """Stack image tensors (C, H, W)."""
        return torch.stack(list(raw))


def build(name: str, *, outputs: int, image_size: int | None, patch_size: int | None, channels: int) -> Swin:
    """A fresh timm Swin; sizes left None are the model's own.

    Away from its own size each stage's window is fitted to that stage's grid (``fitting_window``), since timm would pad
    the map up to whole windows: an 8x8 grid under windows of 7 would be worked on as 14x14.

    Raises:
        UserError: the image is not a whole number of patches.
    """
    with torch.device("meta"):  # shapes alone, for the model's own sizes
        own: Any = timm.create_model(name, pretrained=False)
    image = image_size or own.patch_embed.img_size[0]
    patch = patch_size or own.patch_embed.patch_size[0]
    grids = [math.ceil(image // patch / 2**stage) for stage in range(len(own.layers))]
    windows = [max(stage.blocks[0].window_size) for stage in own.layers]
    fitted = [fitting_window(grid, window) for grid, window in zip(grids, windows, strict=True)]
    net: Any = timm.create_model(
        name,
        pretrained=False,
        num_classes=outputs,
        in_chans=channels,
        img_size=image,
        patch_size=patch,
        window_size=tuple(fitted),
    )
    check_patches(name, net.patch_embed)
    notes = [] if fitted == windows else [f"Swin's windows: {fitted} on grids of {grids} (its own are {windows})"]
    return Swin(net, notes)


def fitting_window(grid: int, window: int) -> int:
    """Side of the attention windows for a ``grid`` x ``grid`` map of a model made for windows of ``window``.

    A map no larger than the window is one window. Else, among sides from half the window to one more than it, the one
    that pads the map least; of several, the one nearest to the model's own. At a model's own size that is its own.
    """
    if grid <= window:
        return grid
    sides = range((window + 1) // 2, min(window + 1, grid - 1) + 1)
    return min(sides, key=lambda side: (-grid % side, abs(side - window), side))


def _maps(features: Features) -> Tensor:
    """Tokens (B, H*W, C) as timm's blocks take them, (B, H, W, C): a view."""
    assert features.layout.grid is not None
    return features.tokens.unflatten(1, features.layout.grid)
