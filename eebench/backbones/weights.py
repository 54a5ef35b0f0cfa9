"""Weights for a vision backbone: none, the hub's, or a file; fitted to the run's size, with a word on what was done."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import timm
import timm.models.swin_transformer
import timm.models.vision_transformer
from timm.models import adapt_input_conv
from torch import nn

from eebench.api import Backbone
from eebench.backbones import ALIASES
from eebench.backbones.checkpoint import State, read_weights, some, weights_sha256
from eebench.backbones.resnet import ResNet
from eebench.backbones.swin import Swin
from eebench.backbones.vit import ViT
from eebench.errors import UserError

__all__ = ["fit_weights", "input_statistics", "load_weights", "weights_sha256"]

HUB_SECONDS = 5.0  # for the one question that tells whether the hub can be reached
ELSE = "use --weights none (from scratch) or --weights PATH (a local file)"


def load_weights(backbone: Backbone, weights: str | Path, *, name: str) -> list[str]:
    """Put weights into a freshly built backbone.

    Args:
        backbone: the adapter, changed in place.
        weights: ``none``; ``timm``, the hub's for this model; or the path of a safetensors file or torch state dict.
        name: the backbone's name as ``eebench.backbones.create`` took it.

    Returns:
        Lines for the log: what was loaded, resized, left new and not used. Empty for ``none``.

    Raises:
        UserError: text backbones, which bring their own; no such file; a file that cannot be read or does not fit; no
            hub, or none of its weights for this model.
    """
    if weights == "none":
        return []
    if backbone.modality != "vision":
        raise UserError(f"--weights {weights}: a text backbone brings its own weights; name its folder or hub model")
    if weights == "timm":
        state, source = _from_hub(name)
    else:
        path = Path(weights).expanduser()
        state, source = read_weights(path), f"weights '{path}'"
    return fit_weights(backbone, state, name=name, source=source)


def input_statistics(name: str, weights: str | Path) -> tuple[tuple[float, ...], tuple[float, ...], str] | None:
    """Mean and standard deviation, a channel each in shares of full brightness, of the inputs weights were trained on.

    Args:
        name: the backbone's name as ``eebench.backbones.create`` took it.
        weights: as ``load_weights`` takes them.

    Returns:
        Both, and who says so: a ``config.json`` beside the file as the hub keeps it, else timm's own configuration of
        the model (0.5 for the ``vit_*`` trained with ``augreg``, ImageNet's for most others). None for ``none``, for
        text, and where neither knows the model.

    Raises:
        UserError: the ``config.json`` cannot be read.
    """
    if weights == "none":
        return None
    stored = Path(weights).expanduser().with_name("config.json")
    if weights != "timm" and stored.is_file():
        try:
            config = json.loads(stored.read_text(encoding="utf-8")).get("pretrained_cfg") or {}
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(f"'{stored}' beside the weights cannot be read: {str(error).splitlines()[0]}") from None
        if config.get("mean") and config.get("std"):
            return tuple(config["mean"]), tuple(config["std"]), f"'{stored}'"
    full = ALIASES.get(name, name)
    if not timm.is_model(full) or not timm.models.is_model_pretrained(full):
        return None
    own: Any = timm.models.get_pretrained_cfg(full)
    return tuple(own.mean), tuple(own.std), f"timm's configuration of {full}"


def fit_weights(backbone: Backbone, state: State, *, name: str, source: str) -> list[str]:
    """Fit tensors to a vision backbone and load them all, or raise and load nothing.

    Position embeddings, patch embeddings and relative position biases are resampled, and foreign names translated, by
    the timm family's own ``checkpoint_filter_fn``; input channels are adapted by its ``adapt_input_conv``. A classifier
    of another width is left new.

    Args:
        backbone: the adapter, changed in place.
        state: tensors by name, under any one prefix (``module.``, ``backbone.net.``, ...).
        name: the backbone's name, for the messages.
        source: where the tensors come from, for the messages.

    Returns:
        Lines for the log, as ``load_weights``.

    Raises:
        UserError: something is missing, of another shape, or a deeper model's; the message names the first keys.
    """
    net: Any = backbone.net
    wanted: State = net.state_dict()
    raw, unused = _strip_prefix(state, wanted)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"timm\.layers\.interpolate")  # about its own indexing
            fitted = _adapt_channels(_family_filter(backbone)(dict(raw), net), net)
    except (AssertionError, AttributeError, LookupError, RuntimeError, ValueError) as error:
        why = _misfit(raw, wanted, set()) or str(error).splitlines()[0]
        raise UserError(f"{source} do not fit {name}: {why}") from None
    new = _left_new(backbone, fitted, wanted)
    fault = _misfit(fitted, wanted, new)
    if fault:
        raise UserError(f"{source} do not fit {name}: {fault}")
    loaded = {key: fitted[key] for key in wanted if key in fitted and key not in new}
    net.load_state_dict(loaded, strict=False)
    unused += [key for key in fitted if key not in wanted]
    millions = sum(value.numel() for key, value in net.named_parameters() if key in loaded) / 1e6
    return [
        f"loaded {len(loaded)} of {len(wanted)} tensors ({millions:.2f} M parameters) from {source}",
        *_changes(backbone, raw, loaded),
        *([f"left new: {some(sorted(new))}"] if new else []),
        *([f"not used: {some(unused)}"] if unused else []),
    ]


def _from_hub(name: str) -> tuple[State, str]:
    """The hub's weights of a timm model, at that model's own size, and where they come from."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    full = ALIASES.get(name, name)
    if not timm.is_model(full) or not timm.models.is_model_pretrained(full):
        raise UserError(f"the hub has no weights for '{name}'; {ELSE}")
    config: Any = timm.models.get_pretrained_cfg(full)
    source = f"the hub's {config.hf_hub_id or config.url}"
    try:
        # Asked first and once: timm would retry every file against a dead network for most of a minute.
        if config.hf_hub_id:
            HfApi().model_info(config.hf_hub_id, timeout=HUB_SECONDS)
    except Exception as error:  # what a dead network raises differs between the hub client's versions
        cached = try_to_load_from_cache(config.hf_hub_id, config.hf_hub_filename or "model.safetensors")
        if not isinstance(cached, str):
            raise UserError(f"the hub's weights for '{name}' cannot be fetched ({_line(error)}); {ELSE}") from None
        return read_weights(Path(cached)), f"{source} (hub not reached, from the local cache)"
    try:
        return timm.create_model(full, pretrained=True).state_dict(), source
    except Exception as error:
        raise UserError(f"the hub's weights for '{name}' cannot be fetched ({_line(error)}); {ELSE}") from None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:120].rstrip(".: ")


def _family_filter(backbone: Backbone) -> Callable[[State, Any], State]:
    """The function by which timm translates checkpoints into this family's names and this model's sizes."""
    if isinstance(backbone, ViT):
        from_vit = timm.models.vision_transformer.checkpoint_filter_fn
        return lambda state, net: from_vit(state, net, adapt_layer_scale=True)
    if isinstance(backbone, Swin):
        return timm.models.swin_transformer.checkpoint_filter_fn
    return lambda state, net: state


def _strip_prefix(state: State, wanted: Iterable[str]) -> tuple[State, list[str]]:
    """Names under the prefix that most of the model's own names are found behind, and what lies outside it."""
    own = set(wanted)
    found = Counter(
        key[:start]
        for key in state
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", key)))
        if key[start:] in own
    )
    prefix = max(found, key=lambda p: (found[p], -len(p)), default="")
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside, [key for key in state if not key.startswith(prefix)]


def _adapt_channels(state: State, net: nn.Module) -> State:
    """The first convolution's weights for as many input channels as the model takes."""
    name, first = next((n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d))
    weight = state.get(f"{name}.weight")
    if weight is None or weight.ndim != 4 or weight.shape[1] == first.weight.shape[1]:
        return state
    return {**state, f"{name}.weight": adapt_input_conv(first.weight.shape[1], weight)}


def _left_new(backbone: Backbone, state: State, wanted: State) -> set[str]:
    """Names that need not be loaded: a classifier that is not there or not as wide, a small-image stem, counters."""
    net: Any = backbone.net
    fits = {key for key in wanted if key in state and state[key].shape == wanted[key].shape}
    owned = net.get_classifier()
    owned = owned if isinstance(owned, tuple) else (owned,)  # DeiT has two
    parts = tuple(f"{name}." for name, module in net.named_modules() if any(module is part for part in owned))
    classifier = {key for key in wanted if key.startswith(parts)}
    optional = {key for key in wanted if key.endswith("num_batches_tracked")}
    if isinstance(backbone, ResNet) and backbone.small:
        optional.add("conv1.weight")  # 3x3 where the file has 7x7
    return (classifier if classifier - fits else set()) | (optional - fits)


def _misfit(state: State, wanted: State, new: set[str]) -> str:
    """What is missing, of another shape, or deeper than the model: a clause that names keys, empty when all fits."""
    missing = [key for key in wanted if key not in state and key not in new]
    odd = [
        f"{key} {_shape(state[key].shape)} against {_shape(value.shape)}"
        for key, value in wanted.items()
        if key in state and key not in new and state[key].shape != value.shape
    ]
    kinds = {re.sub(r"\d+", "#", key) for key in wanted}
    deeper = [key for key in state if key not in wanted and re.sub(r"\d+", "#", key) in kinds]
    faults = {"missing": missing, "of another shape": odd, "beyond the model's depth": deeper}
    return "; ".join(f"{len(keys)} {what} ({some(keys)})" for what, keys in faults.items() if keys)


def _changes(backbone: Backbone, before: State, after: State) -> list[str]:
    """A line for every kind of tensor that was resampled on the way."""
    net: Any = backbone.net
    lines: list[str] = []
    for key, value in after.items():
        old, new = before[key].shape if key in before else value.shape, value.shape
        if old == new:
            continue
        if key == "pos_embed":
            grid = _square(old[1] - (0 if net.no_embed_class else net.num_prefix_tokens))
            lines.append(f"resized position embeddings: {grid} -> {_shape(net.patch_embed.grid_size)}")
        elif key.endswith("relative_position_bias_table"):
            was, now = ((math.isqrt(sizes[0]) + 1) // 2 for sizes in (old, new))  # a window of w has (2w - 1)^2
            lines.append(f"resized relative position biases: windows {was}x{was} -> {now}x{now}")
        else:
            if len(old) == len(new) == 4 and old[1] != new[1]:
                lines.append(f"adapted {key}: {old[1]} -> {new[1]} input channels")
            if old[2:] != new[2:]:
                lines.append(f"resized {key}: {_shape(old[2:])} -> {_shape(new[2:])}")
    return [line if count == 1 else f"{line} ({count} tensors)" for line, count in Counter(lines).items()]


def _square(count: int) -> str:
    side = math.isqrt(count)
    return f"{side}x{side}" if side * side == count else f"{count} positions"


def _shape(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes)) or "scalar"
