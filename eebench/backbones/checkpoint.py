"""Tensors from a weights file: safetensors, or a torch checkpoint that is nothing but tensors."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from eebench.errors import UserError

__all__ = ["State", "read_weights", "some", "weights_sha256"]

State = dict[str, Tensor]

WRAPPERS = ("model", "state_dict")
"""Keys under which training scripts keep the weights of a checkpoint."""


def read_weights(path: Path) -> State:
    """The tensors of a safetensors file or a torch checkpoint, whichever the content is; wrappers are taken off.

    Torch checkpoints are read with ``weights_only=True``: a pickle that asks for anything but tensors is refused.

    Raises:
        UserError: there is no such file, it is cut short, of neither kind, unsafe, or holds no tensors.
    """
    _check_exists(path)
    with path.open("rb") as stream:
        head = stream.read(9)
    if not head:
        raise UserError(f"weights '{path}' are an empty file")
    if head[8:] == b"{":
        return _tensors(path, _read_safetensors(path))
    if path.suffix == ".safetensors":
        raise UserError(f"weights '{path}' are not a safetensors file")
    if not head.startswith((b"PK\x03\x04", b"\x80")):  # torch's zip archives, and its older bare pickles
        raise UserError(f"weights '{path}' are neither a safetensors file nor a torch checkpoint")
    return _tensors(path, _read_torch(path))


def weights_sha256(path: str | Path) -> str:
    """Fingerprint of a weights file, for the ids of cells that start from it.

    Raises:
        UserError: there is no such file.
    """
    file = Path(path).expanduser()
    _check_exists(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def some(keys: Iterable[str], most: int = 3) -> str:
    """The first few, and how many more there are."""
    keys = list(keys)
    rest = len(keys) - most
    return ", ".join(keys[:most]) + (f" and {rest} more" if rest > 0 else "")


def _check_exists(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"weights '{path}' are a directory; name the file in it")
    if not path.is_file():
        raise UserError(f"there is no weights file '{path}' (choices: none, timm, or a path)")


def _read_safetensors(path: Path) -> State:
    """Read after checking that the file is as long as its header says (format: 8-byte length, JSON, tensor bytes)."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if 8 + length <= size else b""
    try:
        entries = json.loads(header) if header else {}
        ends = [entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"]
    except (ValueError, TypeError, LookupError, AttributeError):
        raise UserError(f"weights '{path}' are not a safetensors file: its header cannot be read") from None
    if 8 + length + max(ends, default=0) > size:
        raise UserError(f"weights '{path}' are cut short: the header tells of more than the {size} bytes there are")
    try:
        return load_file(path)
    except Exception as error:  # safetensors has a type of its own for whatever else is wrong
        raise UserError(f"weights '{path}' cannot be read: {str(error).splitlines()[0]}") from None


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked:
            raise UserError(
                f"weights '{path}' are a pickle that asks for {asked[1]}: no more than tensors is loaded, since a "
                "pickle can run any code; save the plain state_dict, best as safetensors"
            ) from None
        raise UserError(f"weights '{path}' are no whole torch checkpoint") from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError):
        raise UserError(f"weights '{path}' are cut short or no torch checkpoint") from None


def _tensors(path: Path, content: Any) -> State:
    """What is a tensor, under the wrappers of a checkpoint."""
    while isinstance(content, dict):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    named = content if isinstance(content, dict) else {}
    state = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if not state:
        held = some(map(str, named)) if named else f"a {type(content).__name__}"
        raise UserError(f"weights '{path}' hold no tensors by name, but {held}")
    return state
