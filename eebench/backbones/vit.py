"""The timm VisionTransformer family, block by block: ViT, DeiT (distilled too), DINOv2 with or without registers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from eebench.api import Features, Layout
from eebench.backbones.base import Backbone

__all__ = ["ViT"]


class ViT(Backbone):
    """Adapter over a timm ``VisionTransformer``. Source: timm, models/vision_transformer.py and models/deit.py."""

    modality = "vision"

    def __init__(self, net: VisionTransformer) -> None:
        super().__init__()
        self.net = net
        rows, columns = net.patch_embed.grid_size
        layout = Layout(
            dim=net.embed_dim,
            prefix=net.num_prefix_tokens,
            grid=(rows, columns),
            cls=net.cls_token is not None,
            dist=getattr(net, "dist_token", None) is not None,
        )
        self.layouts = (layout,) * len(net.blocks)
        self.heads = tuple(block.attn.num_heads for block in net.blocks)
        self.mlp_ratio = net.blocks[0].mlp.fc1.out_features / net.embed_dim
        self._blocks = tuple(net.blocks)  # indexing a ModuleList costs microseconds a block; a tuple does not

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
        logits = self.net.forward_head(self.net.norm(features.tokens))
        return (logits[0] + logits[1]) / 2 if isinstance(logits, tuple) else logits

    def plain(self, inputs: Tensor) -> Tensor:  # type: ignore[override]
        """The timm model's own forward."""
        logits = self.net(inputs)
        return (logits[0] + logits[1]) / 2 if isinstance(logits, tuple) else logits

    def prepare(self, raw: Sequence[Any]) -> Tensor:
        """Stack image tensors (C, H, W)."""
        return torch.stack(list(raw))
