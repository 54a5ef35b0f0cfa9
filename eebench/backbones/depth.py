"""What shortening a network takes, whatever its family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from eebench.api import Backbone

__all__ = ["check_depth", "spread_drop_path"]


def check_depth(backbone: Backbone, blocks: int) -> None:
    """Raises ValueError when the backbone cannot keep so many blocks."""
    if not 1 <= blocks <= backbone.depth:
        raise ValueError(f"a backbone of {backbone.depth} blocks cannot keep {blocks}")


def spread_drop_path(every: Sequence[nn.Module], blocks: int) -> None:
    """Stochastic depth for the first ``blocks``: rates rise from 0 to the last block's anew, as built at that depth."""
    from timm.layers import DropPath, calculate_drop_path_rates

    layers: list[list[Any]] = [
        [module for module in block.modules() if isinstance(module, DropPath)] for block in every
    ]
    highest = max((layer.drop_prob for block in layers for layer in block), default=0.0)
    for block, rate in zip(layers, calculate_drop_path_rates(highest, blocks)):  # noqa: B905 the rest is dropped
        for layer in block:
            layer.drop_prob = rate
