"""The seven branches of Multi-Exit Vision Transformer, each an exit on one block's raw tokens.

Shapes: spelled out where the sources are: the LGViT repository (its ``vit`` head) and an unofficial PyTorch port.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from timm.models.mlp_mixer import MixerBlock, ResBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from eebench.api import ExitHead, Features, Layout

__all__ = ["ConvExit", "MLPExit", "MixerExit", "ResMLPExit", "TransformerExit"]


class TransformerExit(ExitHead):
    """One more transformer block over all tokens, then a classifier in the backbone's style.

    ViT: Linear(D, D) and tanh on the class token, Linear. DeiT: LayerNorm, two Linear (class and distillation token)
    averaged. Pooled by mean: LayerNorm, mean, Linear. Source: LGViT repository, modeling_highway_deit.py and
    highway.py (ViTHighway, DeiTHighway), swin_highway/highway.py.

    Args:
        layout: the tokens it reads.
        outputs: K.
        heads: attention heads, the backbone block's own.
        mlp_ratio: the backbone's own.
    """

    def __init__(self, layout: Layout, outputs: int, *, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.block = Block(layout.dim, heads, mlp_ratio, qkv_bias=True)
        pooler = layout.pool == "cls" and not layout.dist
        self.norm = nn.Identity() if pooler else nn.LayerNorm(layout.dim)
        self.pooler = nn.Sequential(nn.Linear(layout.dim, layout.dim), nn.Tanh()) if pooler else nn.Identity()
        self.classifier = nn.Linear(layout.dim, outputs)
        self.classifier_dist = nn.Linear(layout.dim, outputs) if layout.dist else None

    def answer(self, features: Features) -> Tensor:
        seen = Features(self.norm(self.block(features.tokens)), features.layout)
        logits = self.classifier(self.pooler(seen.pooled))
        if self.classifier_dist is not None:
            logits = (logits + self.classifier_dist(seen.tokens[:, 1])) / 2
        return logits


class MLPExit(ExitHead):
    """Two layers on the class token (the mean without one): Linear(D, r·D), GELU, Linear(r·D, K); r the MLP ratio."""

    def __init__(self, layout: Layout, outputs: int, *, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(layout.dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(layout.dim, hidden), nn.GELU(), nn.Linear(hidden, outputs))

    def answer(self, features: Features) -> Tensor:
        return self.mlp(features.pooled)


class ConvExit(ExitHead):
    """A small CNN on the patch grid: Conv3×3(D, 16), ELU, MaxPool2, Linear(16·⌊H/2⌋·⌊W/2⌋, K).

    Args:
        layout: the tokens it reads; they must have a grid. A side of one patch is not pooled.
        outputs: K.
        cls: what becomes of the class token (without one: of the patches' mean): left out (``ignore``), added to
            every patch (``add``), or joined to every patch and both projected back to D by Linear and GELU
            (``project``; the three readouts of Dense Prediction Transformers, Ranftl et al., ICCV 2021).
    """

    def __init__(self, layout: Layout, outputs: int, *, cls: Literal["ignore", "add", "project"]) -> None:
        super().__init__()
        assert layout.grid is not None, "a convolutional exit needs a patch grid"
        self.cls = cls
        self.project = nn.Sequential(nn.Linear(2 * layout.dim, layout.dim), nn.GELU()) if cls == "project" else None
        height, width = layout.grid
        window = (min(2, height), min(2, width))
        self.cnn = nn.Sequential(
            nn.Conv2d(layout.dim, 16, 3, padding=1),
            nn.ELU(),
            nn.MaxPool2d(window),
            nn.Flatten(),
            nn.Linear(16 * (height // window[0]) * (width // window[1]), outputs),
        )

    def readout(self, features: Features) -> Tensor:
        """Patch tokens (B, H·W, D) with the class token worked in."""
        patches = features.patches
        if self.cls == "ignore":
            return patches
        token = features.pooled[:, None]
        if self.project is None:
            return patches + token
        return self.project(torch.cat((patches, token.expand_as(patches)), -1))

    def answer(self, features: Features) -> Tensor:
        grid = features.layout.grid
        assert grid is not None
        return self.cnn(self.readout(features).transpose(1, 2).unflatten(2, grid))


class MixerExit(ExitHead):
    """One MLP-Mixer block over all tokens (both MLPs 4·D wide), then Linear on the class token (else the mean)."""

    def __init__(self, layout: Layout, outputs: int) -> None:
        super().__init__()
        assert layout.tokens is not None, "a Mixer exit needs a fixed number of tokens"
        self.block = MixerBlock(layout.dim, layout.tokens, mlp_ratio=(4.0, 4.0))
        self.classifier = nn.Linear(layout.dim, outputs)

    def answer(self, features: Features) -> Tensor:
        return self.classifier(Features(self.block(features.tokens), features.layout).pooled)


class Affine(nn.Module):
    """ResMLP's stand-in for a norm: α ⊙ x + β, per channel (a product and a sum, which the MAC count knows)."""

    def __init__(self, dim: int, **factory: Any) -> None:  # timm hands device and dtype on
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(dim, **factory))
        self.beta = nn.Parameter(torch.zeros(dim, **factory))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.alpha + self.beta


class ResMLPExit(ExitHead):
    """One ResMLP block on the patches (Touvron et al., 2021; layer scale 0.1, as for shallow nets), mean, Linear."""

    def __init__(self, layout: Layout, outputs: int, *, mlp_ratio: float) -> None:
        super().__init__()
        assert layout.tokens is not None, "a ResMLP exit needs a fixed number of tokens"
        patches = layout.tokens - layout.prefix
        self.block = ResBlock(layout.dim, patches, mlp_ratio, norm_layer=Affine, init_values=0.1)
        self.classifier = nn.Linear(layout.dim, outputs)

    def answer(self, features: Features) -> Tensor:
        return self.classifier(self.block(features.patches).mean(1))
