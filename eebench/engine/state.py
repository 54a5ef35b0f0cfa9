"""A model's parameters and buffers by name, to be kept and put back."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

__all__ = ["moved_state", "put_back", "state_of"]


def moved_state(model: nn.Module, moved: Collection[str]) -> dict[str, Tensor]:
    """What a training changes: the parameters named, and every buffer."""
    return {name: p for name, p in model.named_parameters() if name in moved} | dict(model.named_buffers())


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by name, what several modules share only once."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


@torch.no_grad()
def put_back(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Copy stored parameters and buffers into the model."""
    own = state_of(model)
    for name, value in state.items():
        own[name].copy_(value)
