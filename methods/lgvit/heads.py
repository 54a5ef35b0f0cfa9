"""LGViT's two heads, where they sit, and the exit around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eebench.api import ExitHead, ExitOutput, Features, Layout, Rows

__all__ = ["GlobalAggregation", "LGViTExit", "LocalPerception", "default_blocks", "head_plan"]

Kind = str | int
"""``conv1_1`` and ``conv2_1`` as the released code calls the local heads; an int is a global head's stride."""

RELEASED: dict[int, tuple[Kind, ...]] = {
    2: ("conv1_1", 2),
    4: ("conv1_1", "conv2_1", 2, 3),
    6: ("conv1_1", "conv2_1", 2, 2, 3, 3),
    8: ("conv1_1", "conv1_1", "conv2_1", "conv2_1", 2, 2, 3, 3),
}
"""Heads by number of exits, on a ViT, as the released code has them (modeling_highway_deit.py, init_highway)."""

_ISOTROPIC = (12, (4, 5, 6, 7, 8, 9, 10, 11))
_PYRAMID = (24, (4, 7, 10, 13, 16, 19, 22, 23))


def is_pyramid(layouts: Sequence[Layout]) -> bool:
    """True when width or grid change on the way (Swin, ResNet)."""
    return len({(layout.dim, layout.grid) for layout in layouts}) > 1


def default_blocks(layouts: Sequence[Layout]) -> list[int]:
    """LGViT's exit blocks: 4 to 11 of a ViT's 12, 4, 7, ..., 22, 23 of Swin-B's 24, scaled to other depths.

    Source: LGViT repository, scripts/train_baseline_deit.sh and train_baseline_swin.sh. Shallow networks get fewer
    exits, because several positions fall on one block; none falls on the last.
    """
    reference, blocks = _PYRAMID if is_pyramid(layouts) else _ISOTROPIC
    return sorted({max(1, block * len(layouts) // reference) for block in blocks})


def head_plan(count: int, *, pyramid: bool = False, heads: Literal["both", "local", "global"] = "both") -> list[Kind]:
    """Which head each of ``count`` exits gets, shallow to deep: local ones first, then global ones.

    Counts that the released code does not know are parted evenly among the four kinds, in the same order. ``local`` and
    ``global`` keep to their two kinds (ablations). A pyramid's strides are 1 and 2, not 2 and 3.
    """
    kinds = {"both": RELEASED[4], "local": RELEASED[4][:2], "global": RELEASED[4][2:]}[heads]
    plan = [kinds[len(kinds) * place // count] for place in range(count)]
    if heads == "both" and count in RELEASED:
        plan = [*RELEASED[count]]
    return [kind - 1 if pyramid and isinstance(kind, int) else kind for kind in plan]


class LocalPerception(nn.Module):
    """Local perception head: a convolutional residual on the patch grid, (B, D, H, W) → tokens (B, H·W, D).

    Point-wise, depth-wise, point-wise, all D channels wide. Each convolution is followed by GELU, then BatchNorm; the
    last one by BatchNorm only. Source: LGViT repository, highway.py (highway_conv1_1, highway_conv2_1).

    Args:
        dim: D.
        depthwise: with the 3×3 depth-wise layer in the middle (``conv1_1``), or without (``conv2_1``).
    """

    def __init__(self, dim: int, *, depthwise: bool) -> None:
        super().__init__()
        self.pointwise = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.GELU(), nn.BatchNorm2d(dim))
        self.depthwise: nn.Module = nn.Identity()
        if depthwise:
            spatial = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
            self.depthwise = nn.Sequential(spatial, nn.GELU(), nn.BatchNorm2d(dim))
        self.projection = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim))

    def reduce(self, grid: Tensor) -> Tensor:
        """The grid's tokens, (B, D, H, W) → (B, H·W, D): what this head's output is aligned with."""
        return grid.flatten(2).transpose(1, 2)

    def forward(self, grid: Tensor) -> Tensor:
        return self.reduce(self.projection(self.depthwise(self.pointwise(grid))) + grid)


class GlobalAggregation(nn.Module):
    """Global aggregation head: self-attention over a thinned patch grid, (B, D, H, W) → tokens (B, n, D).

    n = ⌈H/s⌉·⌈W/s⌉. No norm, no residual, no MLP. Source: LGViT repository, highway.py (GlobalSparseAttn), whose
    average pooling has a 1×1 window and so picks every s-th patch.

    Args:
        dim: D; the attention has 8 heads, or the largest divisor of D and 8.
        stride: s.
        average: average s×s windows instead of picking one patch of each.
    """

    def __init__(self, dim: int, *, stride: int, average: bool = False) -> None:
        super().__init__()
        self.heads = math.gcd(dim, 8)
        self.stride = stride
        self.average = average
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def reduce(self, grid: Tensor) -> Tensor:
        """The tokens attended to, (B, D, H, W) → (B, n, D); a grid smaller than the stride leaves one a side."""
        if self.average:
            grid = F.avg_pool2d(grid, self.stride, ceil_mode=True)
        else:
            grid = grid[:, :, :: self.stride, :: self.stride]
        return grid.flatten(2).transpose(1, 2)

    def forward(self, grid: Tensor) -> Tensor:
        q, k, v = self.qkv(self.reduce(grid)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class LGViTExit(ExitHead):
    """A local or global head and its classifier.

    ViT: Linear(mean of the head's tokens + class token). DeiT: two such, the second with the distillation token,
    averaged. Pooled by mean (Swin): LayerNorm, mean, Linear. Source: LGViT repository, highway.py (DeiTHighway_v2,
    SwinHighway_v2). ``aux["tokens"]`` (B, n, D) are the head's tokens, for the distillation losses.

    Args:
        kind: which head (see ``head_plan``).
        layout: the tokens it reads; they must have a grid.
        outputs: K.
        average: see ``GlobalAggregation``.
    """

    def __init__(self, kind: Kind, layout: Layout, outputs: int, *, average: bool = False) -> None:
        super().__init__()
        self.mix: LocalPerception | GlobalAggregation
        if isinstance(kind, int):
            self.mix = GlobalAggregation(layout.dim, stride=kind, average=average)
        else:
            self.mix = LocalPerception(layout.dim, depthwise=kind == "conv1_1")
        self.norm = nn.Identity() if layout.pool == "cls" else nn.LayerNorm(layout.dim)
        self.classifier = nn.Linear(layout.dim, outputs)
        self.classifier_dist = nn.Linear(layout.dim, outputs) if layout.dist else None
        self.apply(_initialise)

    def answer(self, features: Features) -> Tensor:
        return self.classified(self.mix(features.map), features)

    def forward(self, features: Features, carry: Rows) -> ExitOutput:
        mixed = self.mix(features.map)
        return ExitOutput(self.classified(mixed, features), aux={"tokens": mixed})

    def classified(self, mixed: Tensor, features: Features) -> Tensor:
        """Logits (B, K) from the head's tokens (B, n, D) and the block's own special ones."""
        pooled = self.norm(mixed).mean(1)
        logits = self.classifier(pooled + features.tokens[:, 0] if features.layout.pool == "cls" else pooled)
        if self.classifier_dist is not None:
            logits = (logits + self.classifier_dist(pooled + features.tokens[:, 1])) / 2
        return logits


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    """As the released code starts its heads (modeling_deit.py: _init_weights)."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
