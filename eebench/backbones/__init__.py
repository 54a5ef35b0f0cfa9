"""Backbones by name. Importing this imports nothing heavy: a network's library is loaded when one is created."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eebench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from eebench.backbones.base import Backbone

__all__ = ["ALIASES", "create", "known"]

ALIASES = {
    "vit_micro": "ViT of 12 blocks, 64 wide, 4 heads: the embedded default, trains from scratch in a minute",
    "vit_ti": "vit_tiny_patch16_224",
    "vit_s": "vit_small_patch16_224",
    "vit_b": "vit_base_patch16_224",
}
MICRO = {"embed_dim": 64, "depth": 12, "num_heads": 4, "patch_size": 2, "img_size": 8}


def known() -> dict[str, str]:
    """Short names and what they stand for. Any timm VisionTransformer is taken by its own name as well."""
    return dict(ALIASES)


def create(
    name: str,
    *,
    outputs: int,
    image_size: int | None = None,
    patch_size: int | None = None,
    channels: int = 3,
) -> Backbone:
    """Build a backbone with fresh weights.

    Args:
        name: an alias or a timm model name.
        outputs: width of the classifier.
        image_size: side of the square input in pixels; None for the model's own.
        patch_size: side of a patch in pixels; None for the model's own.
        channels: input channels.

    Raises:
        UserError: no such model, one of a family without an adapter, or sizes it cannot be built with.
    """
    import timm
    from timm.models.vision_transformer import VisionTransformer

    from eebench.backbones.vit import ViT

    sizes = {k: v for k, v in {"img_size": image_size, "patch_size": patch_size}.items() if v is not None}
    full = ALIASES.get(name, name)
    try:
        if name == "vit_micro":
            net = VisionTransformer(**{**MICRO, **sizes}, in_chans=channels, num_classes=outputs)
        elif timm.is_model(full):
            net = timm.create_model(full, pretrained=False, num_classes=outputs, in_chans=channels, **sizes)
        else:
            raise UserError(f"unknown backbone '{name}'{did_you_mean(name, [*ALIASES, *timm.list_models('vit_*')])}")
    except (AssertionError, TypeError, ValueError) as error:
        raise UserError(f"backbone '{name}' cannot be built with {sizes}: {error}") from None
    if isinstance(net, VisionTransformer):
        return ViT(net)
    raise UserError(f"backbone '{name}' is a {type(net).__name__}, a family eebench has no adapter for")
