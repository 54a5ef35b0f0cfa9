"""The weights that LGViT's authors released, under the names of an eebench model.

Layout: repository falcon-xu/LGViT, models/deit_highway (DeiT and ViT) and models/swin_highway, state dicts of
``DeiTHighwayForImageClassification`` and ``SwinHighwayForImageClassification``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["translate"]

_ENDS = {
    "deit.embeddings.cls_token": "cls_token",
    "deit.embeddings.distillation_token": "dist_token",
    "deit.embeddings.position_embeddings": "pos_embed",
    "deit.embeddings.patch_embeddings.projection": "patch_embed.proj",
    "deit.layernorm": "norm",
    "classifier": "head",
    "cls_classifier": "head",
    "distillation_classifier": "head_dist",
    "swin.embeddings.patch_embeddings.projection": "patch_embed.proj",
    "swin.embeddings.norm": "patch_embed.norm",
    "swin.layernorm": "norm",
}
_BLOCK = re.compile(r"(deit\.encoder\.layer\.(\d+)|swin\.encoder\.layers\.(\d+)\.blocks\.(\d+))\.(.+)")
_MERGE = re.compile(r"swin\.encoder\.layers\.(\d+)\.downsample\.(.+)")
_EXIT = re.compile(r"(?:deit\.encoder|swin\.encoder\.layers\.(\d+))\.highway\.(\d+)\.(.+)")
_INNER = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "attention.self.relative_position_bias_table": "attn.relative_position_bias_table",
}
_QKV = re.compile(r"attention\.(?:attention|self)\.(query|key|value)\.(weight|bias)")
_HEAD = {
    "mlp.conv1": "mix.pointwise",
    "mlp.proj_bn": "mix.depthwise.2",
    "mlp.conv2": "mix.projection",
    "mlp.qkv": "mix.qkv",
    "cls_classifier": "classifier",
    "distillation_classifier": "classifier_dist",
    "classifier.layernorm": "norm",
    "classifier.classifier": "classifier",
    "classifier": "classifier",
}


def translate(
    state: Mapping[str, Tensor], blocks: Sequence[int]
) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    """Split a released state dict into backbone and exits.

    Args:
        state: by the released names.
        blocks: of the early exits, in order: the released ones are numbered, and say no block.

    Returns:
        The backbone's tensors by timm's names; the exits' by ``<block>.<name>``; the names that nothing was found for.
    """
    net: dict[str, Tensor] = {}
    exits: dict[str, Tensor] = {}
    left: list[str] = []
    parts: dict[str, dict[str, Tensor]] = {}
    state = {key: value for key, value in state.items() if not key.endswith("relative_position_index")}  # made anew
    order = sorted({(int(m[1] or 0), int(m[2])) for key in state if (m := _EXIT.fullmatch(key))})
    place = dict(zip(order, blocks, strict=False))
    for key, value in state.items():
        if match := _EXIT.fullmatch(key):
            local = f"{key[: match.start(3)]}mlp.conv1.0.weight" in state
            block, name = place.get((int(match[1] or 0), int(match[2]))), _exit_name(match[3], local)
            if block is None or name is None:
                left.append(key)
            else:
                exits[f"{block}.{name}"] = value
        elif match := _BLOCK.fullmatch(key):
            prefix = f"blocks.{match[2]}" if match[2] else f"layers.{match[3]}.blocks.{match[4]}"
            if qkv := _QKV.fullmatch(match[5]):
                parts.setdefault(f"{prefix}.attn.qkv.{qkv[2]}", {})[qkv[1]] = value
            elif (name := _renamed(match[5], _INNER)) is not None:
                net[f"{prefix}.{name}"] = value
            else:
                left.append(key)
        elif match := _MERGE.fullmatch(key):
            net[f"layers.{int(match[1]) + 1}.downsample.{match[2]}"] = value  # timm has it at the next stage's begin
        elif (name := _renamed(key, _ENDS)) is not None:
            net[name] = value
        else:
            left.append(key)
    for name, three in parts.items():
        if three.keys() == {"query", "key", "value"}:
            net[name] = torch.cat([three["query"], three["key"], three["value"]])
        else:
            left.append(name)
    return net, exits, left


def _renamed(key: str, table: Mapping[str, str]) -> str | None:
    for old, new in table.items():
        if key == old or key.startswith(f"{old}."):
            return new + key[len(old) :]
    return None


def _exit_name(name: str, local: bool) -> str | None:
    """``mlp.proj`` is the 3x3 convolution of a local head, and the output projection of a global one."""
    if name.startswith("mlp.proj."):
        return name.replace("mlp.proj", "mix.depthwise.0" if local else "mix.proj")
    return _renamed(name, _HEAD)
