"""How a checkpoint makes one vector out of its tokens: what sentence-transformers keeps beside the weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from eebench.errors import UserError

__all__ = ["Pool", "stored_pool"]

Pool = Literal["cls", "mean"]

MODES: dict[str, Pool] = {"cls_token": "cls", "cls": "cls", "mean_tokens": "mean", "mean": "mean"}
"""sentence-transformers' names of what is supported, in flags (``pooling_mode_mean_tokens``) and in one word."""


def stored_pool(name: str, find: Callable[[str], Path | None]) -> tuple[Pool, str] | None:
    """What a checkpoint's own files say about pooling.

    ``modules.json`` lists the parts of a sentence encoder; the configuration of the one that pools says how. What may
    follow it (a dense layer, normalisation to length 1) belongs to sentence similarity and is left out.

    Args:
        name: of the backbone, for the messages.
        find: a file of the checkpoint by its relative path; None where there is none.

    Returns:
        The mode and the file that says so; None when no file does.

    Raises:
        UserError: a mode that is neither of the two, or a file that is no JSON.
    """
    relative = "1_Pooling/config.json"
    modules = find("modules.json")
    if modules is not None:
        parts = _json(name, modules, list)
        pooling = [part for part in parts if str(part.get("type", "")).rsplit(".", 1)[-1] == "Pooling"]
        if not pooling:
            return None
        relative = f"{pooling[0].get('path') or '.'}/config.json"
    file = find(relative)
    if file is None:
        return None
    config = _json(name, file, dict)
    flags = [key.removeprefix("pooling_mode_") for key in config if key.startswith("pooling_mode_") and config[key]]
    words = config.get("pooling_mode", flags)
    modes = [words] if isinstance(words, str) else list(words)
    if len(modes) != 1 or modes[0] not in MODES:
        how = "by " + " and ".join(map(str, modes)) if modes else "in no way it names"
        raise UserError(
            f"backbone '{name}' pools {how} ({relative}), which is not supported; force another with --pool cls or mean"
        )
    return MODES[modes[0]], relative


def _json(name: str, file: Path, kind: type) -> Any:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"backbone '{name}': {file.name} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(content, kind):
        raise UserError(f"backbone '{name}': {file} is not what sentence-transformers writes")
    return content
