"""timm's ResNet, block by block: the residual blocks of all stages, so that CNN methods stand on their home ground."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.models.resnet import ResNet as TimmResNet
from torch import Tensor, nn

from eebench.api import Backbone, Features, Layout
from eebench.backbones.depth import check_depth, spread_drop_path

__all__ = ["SMALL_IMAGE", "ResNet", "build", "small_stem"]

SMALL_IMAGE = 64
"""Images up to this side, in pixels, get the small-image stem: the usual one makes a map of 2x2 out of 8 pixels."""


class ResNet(Backbone):
    """Adapter over a timm ``ResNet`` for square images of one size. Source: timm, models/resnet.py.

    Tokens are the (B, C, H, W) maps seen as (B, H*W, C), without a copy. The network is kept in channels-last memory
    format, where that view is contiguous: the rows that stay when others leave the batch are then laid out as before.

    Args:
        net: the network.
        image_size: side of the input in pixels; the positions' grids follow from it.
        notes: what a log should say about how it was built.
    """

    modality = "vision"
    family = "resnet"

    def __init__(self, net: TimmResNet, image_size: int, notes: Sequence[str] = ()) -> None:
        super().__init__()
        self.net: Any = net.to(memory_format=torch.channels_last)  # Any: timm's modules carry no types
        self.image_size = image_size
        self.image_shape = (net.in_chans, image_size, image_size)
        self.notes = tuple(notes)
        self._number()

    def _number(self) -> None:
        """Number the blocks there are."""
        self._blocks = tuple(_blocks(self.net))
        self._stem_layout, *layouts = self._measure()
        self.layouts = tuple(layouts)
        self.heads = (1,) * len(self._blocks)

    @property
    def small(self) -> bool:
        """True when the stem is the small-image one of ``small_stem`` in place of a 7x7 convolution."""
        return getattr(self.net.conv1, "kernel_size", None) == (3, 3)

    def embed(self, inputs: Tensor) -> Features:  # type: ignore[override]
        """The stem: images (B, C, H, W) → its map as tokens.

        Raises:
            ValueError: images of another size than the one the grids were worked out for.
        """
        if inputs.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(f"this ResNet was built for {self.image_size} pixels, not {tuple(inputs.shape[-2:])}")
        return _tokens(_stem(self.net, inputs), self._stem_layout)

    def block(self, number: int, features: Features) -> Features:
        """One residual block; the first of a later stage halves the map itself."""
        return _tokens(self._blocks[number - 1](features.map), self.layouts[number - 1])

    def norm(self, features: Features) -> Features:
        """Nothing: a ResNet's last block ends in its own normalisation and activation."""
        return features

    def classify(self, features: Features) -> Tensor:
        """Global pooling and classifier."""
        return self.net.forward_head(features.map)

    def plain(self, inputs: Tensor) -> Tensor:  # type: ignore[override]
        """The timm model's own forward."""
        return self.net(inputs)

    def shorten(self, blocks: int) -> ResNet:
        """The first blocks; where the last of them is narrower than the network's last, the classifier is new."""
        check_depth(self, blocks)
        spread_drop_path(self._blocks, blocks)
        left, net = blocks, self.net
        for name in ("layer1", "layer2", "layer3", "layer4"):
            kept = getattr(net, name)[:left]
            setattr(net, name, kept)
            left -= len(kept)
        width = self.layouts[blocks - 1].dim
        if width != net.num_features:
            net.num_features = width
            net.reset_classifier(net.num_classes)
        self._number()
        return self

    def prepare(self, raw: Sequence[Any]) -> Tensor:
        """Stack image tensors (C, H, W)."""
        return torch.stack(list(raw))

    def _measure(self) -> list[Layout]:
        """Layouts behind the stem and every block, found by running shapes alone (no arithmetic is done)."""
        net = copy.deepcopy(self.net).to("meta").eval()
        maps = _stem(net, torch.empty(1, net.in_chans, self.image_size, self.image_size, device="meta"))
        layouts = [_layout(maps)]
        for block in _blocks(net):
            maps = block(maps)
            layouts.append(_layout(maps))
        return layouts


def build(name: str, *, outputs: int, image_size: int | None, patch_size: int | None, channels: int) -> ResNet:
    """A fresh timm ResNet; ``image_size`` None is the model's own. ``patch_size`` means nothing to it and is left out.

    Images of up to ``SMALL_IMAGE`` pixels get the small-image stem, which ``notes`` then says.
    """
    net: Any = timm.create_model(name, pretrained=False, num_classes=outputs, in_chans=channels)
    side = image_size or net.pretrained_cfg["input_size"][-1]
    notes = []
    if side <= SMALL_IMAGE:
        small_stem(net)
        notes = [f"{side}-pixel images: the ResNet's stem keeps their size (stride 1, 3x3, no max pooling)"]
    return ResNet(net, side, notes)


def small_stem(net: Any) -> None:
    """Change the stem, in place, to one that keeps the image's size: first convolution of stride 1, no max pooling.

    A 7x7 convolution becomes a 3x3 one; a stem that is 3x3 already only loses its stride. Source: Chen et al., "A
    Simple Framework for Contrastive Learning of Visual Representations" (ICML 2020), appendix B.9, for CIFAR-10.
    """
    deep = isinstance(net.conv1, nn.Sequential)
    first: Any = net.conv1[0] if deep else net.conv1
    if deep:
        first.stride = (1, 1)
    else:
        net.conv1 = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as timm does the others
    net.maxpool = nn.Identity()


def _stem(net: Any, images: Tensor) -> Tensor:
    return net.maxpool(net.act1(net.bn1(net.conv1(images))))


def _blocks(net: Any) -> list[nn.Module]:
    return [*net.layer1, *net.layer2, *net.layer3, *net.layer4]


def _tokens(maps: Tensor, layout: Layout) -> Features:
    return Features(maps.flatten(2).transpose(1, 2), layout)


def _layout(maps: Tensor) -> Layout:
    _, dim, height, width = maps.shape
    return Layout(dim=dim, grid=(height, width), cls=False)
