"""What a run works on: the device, and inputs as a backbone takes them; how the log says it, what cannot be done."""

from __future__ import annotations

import torch

from eebench.api import Backbone
from eebench.backbones.weights import input_statistics
from eebench.data.base import Data
from eebench.errors import UserError
from eebench.runs.spec import RunSpec

__all__ = ["device_of", "normalised", "refuse", "truncated"]


def normalised(loaded: Data, backbone: str, weights: str) -> tuple[Data, list[str]]:
    """Images normalised as those that the starting weights were trained on; the data set's own moments from scratch."""
    own = input_statistics(backbone, weights) if loaded.modality == "vision" else None
    if own is None:
        return loaded, []
    mean, std, source = own
    try:
        changed = loaded.normalised(mean, std)
    except ValueError as error:
        return loaded, [f"inputs as they are, not normalised as the weights were trained: {error}"]
    values = [" ".join(f"{value:g}" for value in column) for column in (mean, std)]
    return changed, [f"inputs normalised as the weights were trained: mean {values[0]}, std {values[1]} ({source})"]


def truncated(backbone: Backbone, loaded: Data) -> list[str]:
    """What was cut: texts longer than the model takes, counted per split."""
    if backbone.max_tokens is None:
        return []
    splits = {"train": loaded.train, "validation": loaded.val, "test": loaded.test}
    cut = {name: backbone.truncated(list(split.inputs)) for name, split in splits.items()}
    return [
        f"{n} of {len(splits[name])} {name} texts truncated to {backbone.max_tokens} tokens"
        for name, n in cut.items()
        if n
    ]


def refuse(spec: RunSpec, data: Data) -> None:
    """Say at the start what ``--shift`` and ``--slowdown`` cannot do with these data.

    Raises:
        UserError: one of them was asked for and cannot be done.
    """
    asked = [name for name in ("shift", "slowdown") if getattr(spec, name)]
    if spec.slowdown and data.modality != "vision":
        raise UserError("--slowdown adds noise to images; texts have no pixels, and this data set is text")
    if spec.slowdown and data.task.kind != "classification":
        raise UserError("--slowdown attacks the classes' probabilities; this task has none")
    if data.modality == "vision" and (data.preprocessing is None or not data.preprocessing.mean):
        for name in asked:
            raise UserError(f"--{name}: data set '{data.name}' does not say how its images were prepared")
    if spec.shift and data.modality == "text" and not isinstance(data.test.inputs[0], (str, tuple)):
        raise UserError(f"--shift: the texts of data set '{data.name}' are no strings")


def device_of(name: str) -> torch.device:
    """The device that ``--device`` names.

    Raises:
        UserError: there is none of that name, or not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device: '{name}' is no device; use auto, cpu or cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device: eebench measures on cpu and cuda, not on {device.type}")
    if device.type == "cpu" and device.index:
        raise UserError(f"--device: '{name}': the processor is one device; use cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("--device: there is no CUDA device here; use cpu")
    if device.index is not None and device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise UserError(f"--device: '{name}': the CUDA devices here are 0 to {torch.cuda.device_count() - 1}")
    return device
