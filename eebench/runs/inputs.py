"""What is done to a data set's inputs for the sake of a backbone, and how the log says it."""

from __future__ import annotations

from eebench.api import Backbone
from eebench.backbones.weights import input_statistics
from eebench.data.base import Data

__all__ = ["normalised", "truncated"]


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
