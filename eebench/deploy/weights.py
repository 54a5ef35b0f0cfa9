"""Weights of many graphs in one safetensors file, each once: to ONNX it is external data, referred to by position."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir

__all__ = ["INLINE", "WEIGHTS", "share_weights"]

WEIGHTS = "weights.safetensors"
INLINE = 1024
"""Bytes up to which a constant stays in its graph."""


def share_weights(models: Sequence[onnx_ir.Model], folder: Path) -> None:
    """Write the models' weights to ``weights.safetensors``, equal ones once, and refer each model to it.

    A safetensors file is a header and then the tensors' bytes, little-endian and dense, which is what ONNX calls
    external data: a location, an offset and a length.
    """
    import onnx_ir as ir
    from safetensors.numpy import save_file

    kept: dict[str, np.ndarray] = {}
    names: dict[str, str] = {}  # digest -> name in the file
    uses: list[tuple[onnx_ir.Value, str]] = []
    for model in models:
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None or tensor.nbytes <= INLINE:
                continue
            array = np.ascontiguousarray(tensor.numpy())
            key = hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()
            if key not in names:
                names[key] = name if name not in kept else f"{name}.{len(kept)}"
                kept[names[key]] = array
            uses.append((value, names[key]))
    path = folder / WEIGHTS
    save_file(kept, path)
    path.chmod(0o644)  # it is written through a private temporary file
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    for value, name in uses:
        begin, end = header[name]["data_offsets"]
        tensor = value.const_value
        assert tensor is not None
        value.const_value = ir.ExternalTensor(
            WEIGHTS,
            offset=8 + length + begin,
            length=end - begin,
            dtype=tensor.dtype,
            shape=ir.Shape(tensor.numpy().shape),
            name=str(value.name),
            base_dir=folder,
        )
