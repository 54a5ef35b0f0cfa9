"""Backbones by name. Importing this imports nothing heavy: a network's library is loaded when one is created."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from eebench.backbones.others import brought, find, make
from eebench.discovery import Entry, Plugin
from eebench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from eebench.api import Backbone

__all__ = ["ALIASES", "HUB", "MODEL_TYPES", "OTHERS", "create", "known"]

ALIASES = {
    "vit_micro": "vit_micro",
    "vit_ti": "vit_tiny_patch16_224",
    "vit_s": "vit_small_patch16_224",
    "vit_b": "vit_base_patch16_224",
    "deit_ti": "deit_tiny_distilled_patch16_224",
    "deit_s": "deit_small_distilled_patch16_224",
    "deit_b": "deit_base_distilled_patch16_224",
    "swin_ti": "swin_tiny_patch4_window7_224",
    "swin_s": "swin_small_patch4_window7_224",
    "swin_b": "swin_base_patch4_window7_224",
    "resnet18": "resnet18",
    "resnet50": "resnet50",
}
"""Short names of vision backbones and timm's own."""

HUB = ("bert-base-uncased", "albert-base-v2", "roberta-base", "distilbert-base-uncased")
"""Text backbones people start from, as the hub names them."""

FAMILIES = {
    "vision_transformer": "vit",
    "vision_transformer_hybrid": "vit",
    "deit": "vit",
    "swin_transformer": "swin",
    "resnet": "resnet",
}
"""timm's modules, and the module here that adapts their models."""

MODEL_TYPES = ("albert", "bert", "distilbert", "mpnet", "roberta", "xlm-roberta")
"""Families of text encoders, as the ``model_type`` of a transformers configuration says."""

OTHERS = (
    (
        "Any ViT, DeiT, Swin or ResNet that timm knows works by its own name, tag or no tag: vit_small_patch14_dinov2, "
        "swin_base_patch4_window7_224.ms_in22k, resnet101."
    ),
    (
        f"Any text encoder with model_type {', '.join(MODEL_TYPES)} works by its folder or its name on the hub: "
        "owner/name, or hf:name."
    ),
)
"""What else may stand for a backbone, in sentences."""

TEXT_NAME = re.compile(r"hf:|[\w.-]+/[\w.-]+$|(distil|xlm-|mini)?(bert|albert|roberta|lm|mpnet)\b", re.IGNORECASE)


def known(plugins: Sequence[Plugin] = ()) -> dict[str, str]:
    """Names and what they stand for. Any other model of these families is taken by its own name: see ``OTHERS``.

    Those of installed packages and of plugin files come last; no package is imported for it.
    """
    micro = {"vit_micro": "ViT of 12 blocks, 64 wide, 4 heads: the embedded default, trains from scratch in a minute"}
    vision = {name: f"timm {full}" for name, full in ALIASES.items()}
    text = dict.fromkeys(HUB, "text, from the hub; a folder with its config.json works as well")
    own = vision | micro | text
    others: dict[str, str] = {}
    for name, source in brought(plugins, tuple(own)).items():
        if isinstance(source, Entry):
            others[name] = source.first_line() or f"from {source.origin}"
        else:
            others[name] = (source.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    return own | others


def create(
    name: str,
    *,
    outputs: int,
    image_size: int | None = None,
    patch_size: int | None = None,
    channels: int = 3,
    pool: str = "auto",
    max_length: int | None = None,
    plugins: Sequence[Plugin] = (),
) -> Backbone:
    """Build a backbone: a vision one with fresh weights, a text one with its own and a fresh classifier.

    Args:
        name: an alias, a timm model name, a text model's hub name, or the folder of a text model.
        outputs: width of the classifier.
        image_size: side of the square input in pixels; None for the model's own. Vision only, as are the next two.
        patch_size: side of a patch in pixels; None for the model's own. A ResNet has no patches and leaves it out.
        channels: input channels.
        pool: what exits and classifier of a text backbone read: the class token, the mean of all tokens, or what the
            checkpoint says: ``cls``, ``mean`` or ``auto``.
        max_length: truncate texts to this many tokens; None for as many as the model takes. Text only.
        plugins: files or classes that may bring further backbones.

    Raises:
        UserError: no such model, one of a family without an adapter, or sizes it cannot be built with.
    """
    full = ALIASES.get(name)
    other = find(name, plugins, (*ALIASES, *HUB))
    if other is not None:
        made = make(name, other, outputs=outputs, image_size=image_size, patch_size=patch_size, channels=channels)
        if pool not in ("auto", made.layouts[-1].pool) or max_length not in (None, made.max_tokens):
            raise UserError(f"--pool and --max-length are for eebench's text backbones; '{name}' decides for itself")
        return made
    if full is None and _is_text(name):
        from eebench.backbones.text import create_text

        return create_text(name.removeprefix("hf:"), outputs=outputs, pool=pool, max_tokens=max_length)
    full = full or name
    for option, is_given in {"--pool": pool != "auto", "--max-length": max_length is not None}.items():
        if is_given:
            raise UserError(f"{option} is for text; '{name}' is a vision backbone")
    family = import_module(f"eebench.backbones.{_family(full)}")
    try:
        return family.build(full, outputs=outputs, image_size=image_size, patch_size=patch_size, channels=channels)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        sizes = {"image_size": image_size, "patch_size": patch_size, "channels": channels}
        given = ", ".join(f"{key} {value}" for key, value in sizes.items() if value is not None)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"backbone '{name}' cannot be built with {given}: {reason}") from None


def _is_text(name: str) -> bool:
    """A folder, or a name as the text families have it."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return name.startswith(("/", ".", "~")) or TEXT_NAME.match(name) is not None
    if not (folder / "config.json").is_file():
        raise UserError(f"backbone folder '{name}' has no config.json; a vision model's weights go to --weights")
    return True


def _family(full: str) -> str:
    """The module here that adapts a model.

    Raises:
        UserError: no such model, or one without an adapter.
    """
    if full == "vit_micro":
        return "vit"
    import timm

    if not timm.is_model(full):
        models = [*ALIASES, *HUB, *(model for module in FAMILIES for model in timm.list_models(module=module))]
        near = difflib.get_close_matches(full, models, n=1, cutoff=0.6)
        hint = (
            did_you_mean(full, near) if near else "; see eebench list backbones (a text model: its folder or hf:name)"
        )
        raise UserError(f"unknown backbone '{full}'{hint}")
    module = timm.models.model_entrypoint(full).__module__.rpartition(".")[2]
    if module not in FAMILIES:
        raise UserError(
            f"backbone '{full}' is of timm's family '{module}', which eebench has no adapter for; "
            f"there are adapters for any model of {', '.join(FAMILIES)}"
        )
    return FAMILIES[module]
