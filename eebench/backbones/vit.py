"""The timm VisionTransformer family, block by block: ViT, DeiT (distilled too), DINOv2 with or without registers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from eebench.api import Backbone, Features, Layout
from eebench.backbones.depth import check_depth, spread_drop_path
from eebench.errors import UserError

__all__ = ["ViT", "build", "check_patches"]

MICRO: dict[str, Any] = {
    "embed_dim": 64, "depth": 12, "num_heads": 4, "mlp_ratio": 2.0, "patch_size": 7, "img_size": 28
}  # fmt: skip


class ViT(Backbone):
    """Adapter over a timm ``VisionTransformer``. Source: timm, models/vision_transformer.py and models/deit.py.

    Exits pool as the model itself does: average-pooled models such as ``eva_large_patch14_196`` have a class token that
    nothing reads (``layout.pool`` is ``mean``).

    Raises:
        ValueError: the model has no pooling of its own, hence no classifier for one label an image.
    """

    modality = "vision"
    family = "vit"
    notes: tuple[str, ...] = ()

    def __init__(self, net: VisionTransformer) -> None:
        super().__init__()
        if not net.global_pool:
            raise ValueError("a model without pooling (global_pool='') has no classifier to compare exits with")
        self.net = net
        parts: Any = net  # timm's modules carry no types
        rows, columns = parts.patch_embed.grid_size
        layout = Layout(
            dim=net.embed_dim,
            prefix=net.num_prefix_tokens,
            grid=(rows, columns),
            cls=net.cls_token is not None,
            dist=getattr(net, "dist_token", None) is not None,
            pool="mean" if net.global_pool in ("avg", "avgmax", "max") else "cls",
        )
        self.image_shape = image_shape(parts.patch_embed)
        self.mlp_ratio = _mlp_width(parts.blocks[0]) / net.embed_dim
        self._number(layout)

    def _number(self, layout: Layout) -> None:
        """Number the blocks there are."""
        blocks: Any = self.net.blocks
        self.layouts = (layout,) * len(blocks)
        self.heads = tuple(_attention_heads(block) for block in blocks)
        self._blocks = tuple(blocks)  # indexing a ModuleList costs microseconds a block; a tuple does not

    def embed(self, inputs: Tensor) -> Features:  # type: ignore[override]
        """Images (B, C, H, W) → patch and prefix tokens with positions."""
        net = self.net
        tokens = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(inputs))))
        return Features(tokens, self.layouts[0])

    def block(self, number: int, features: Features) -> Features:
        """One transformer block."""
        return Features(self._blocks[number - 1](features.tokens), features.layout)

    def norm(self, features: Features) -> Features:
        """The final LayerNorm (identity in models that norm after pooling)."""
        return Features(self.net.norm(features.tokens), features.layout)

    def classify(self, features: Features) -> Tensor:
        """Final norm, pooling and classifier; DeiT averages its two classifiers."""
        return _averaged(self.net.forward_head(self.net.norm(features.tokens)))

    def plain(self, inputs: Tensor) -> Tensor:  # type: ignore[override]
        """The timm model's own forward."""
        return _averaged(self.net(inputs))

    def shorten(self, blocks: int) -> ViT:
        """The first blocks; the final norm and the classifier, as wide as before, stay."""
        check_depth(self, blocks)
        spread_drop_path(self._blocks, blocks)
        self.net.blocks = self.net.blocks[:blocks]
        self._number(self.layouts[0])
        return self

    def prepare(self, raw: Sequence[Any]) -> Tensor:
        """Stack image tensors (C, H, W)."""
        return torch.stack(list(raw))


def build(name: str, *, outputs: int, image_size: int | None, patch_size: int | None, channels: int) -> ViT:
    """A fresh ``vit_micro`` or timm model of the family; sizes left None are the model's own.

    Raises:
        UserError: the image is not a whole number of patches.
    """
    given = {"img_size": image_size, "patch_size": patch_size}
    sizes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    net: Any
    if name == "vit_micro":
        net = VisionTransformer(**{**MICRO, **sizes}, in_chans=channels, num_classes=outputs)
        _xavier(net)
    else:
        net = timm.create_model(name, pretrained=False, num_classes=outputs, in_chans=channels, **sizes)
    check_patches(name, net.patch_embed)
    return ViT(net)


def _xavier(net: Any) -> None:
    """Xavier's uniform initialisation of every linear layer but the classifier, the patch projection being one.

    From scratch on a few thousand images twelve blocks learn far faster from it than from timm's 0.02: 95.6 % against
    91.6 % on mnist5k after 20 epochs (docs/default-task.md).
    """
    for module in net.modules():
        if isinstance(module, nn.Linear) and module is not net.head:
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    projection = net.patch_embed.proj
    nn.init.xavier_uniform_(projection.weight.view(len(projection.weight), -1))
    nn.init.zeros_(projection.bias)


def check_patches(name: str, patch_embed: Any) -> None:
    """Refuse an image that is no whole number of patches: timm would leave its last rows and columns unseen."""
    (height, width), (rows, columns) = patch_embed.img_size, patch_embed.patch_size
    if height % rows or width % columns:
        low = max(height // rows, 1) * rows
        raise UserError(
            f"backbone '{name}': {height}x{width} pixels are no whole number of {rows}x{columns} patches; "
            f"try --image-size {low} or {low + rows}, or another --patch-size"
        )


def image_shape(patch_embed: Any) -> tuple[int, int, int]:
    """Channels, rows and columns of the images that timm's patch embedding takes."""
    filters = next(weight for weight in patch_embed.parameters() if weight.ndim == 4)
    return filters.shape[1], *patch_embed.img_size


def _averaged(logits: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """One tensor of logits: a DeiT in distillation mode answers with a pair while it trains."""
    return (logits[0] + logits[1]) / 2 if isinstance(logits, tuple) else logits


def _attention_heads(block: Any) -> int:
    return next(module.num_heads for module in block.modules() if hasattr(module, "num_heads"))


def _mlp_width(block: Any) -> int:
    """Hidden width of a block's MLP; parallel blocks fuse its first layer with the attention's (``in_split``)."""
    widths = (module.in_features for name, module in block.named_modules() if name.endswith("fc2"))
    return next(widths, None) or block.in_split[0]
