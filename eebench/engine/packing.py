"""Features and what exits hand on, as named tensors: what a tracer takes, and what lies between deployed segments."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from eebench.api import Features, Layout, Rows

__all__ = ["pack", "unpack"]


def pack(features: Features, carry: Rows) -> dict[str, Tensor]:
    """``tokens``, ``mask`` and ``shared`` where there are any, and what the exit before handed on, ``carry.…``."""
    others = {"mask": features.mask, "shared": features.shared}
    held = {name: tensor for name, tensor in others.items() if tensor is not None}
    return {"tokens": features.tokens, **held, **{f"carry.{name}": column for name, column in carry.items()}}


def unpack(layout: Layout, packed: Mapping[str, Tensor]) -> tuple[Features, Rows]:
    """Back from :func:`pack`; other names are left alone."""
    carry = {name.removeprefix("carry."): column for name, column in packed.items() if name.startswith("carry.")}
    return Features(packed["tokens"], layout, packed.get("mask"), packed.get("shared")), carry
