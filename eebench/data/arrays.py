"""Data sets made in Python: out of arrays, or whole ``Data`` objects, checked before anything trains on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from eebench.api import Task
from eebench.data.base import Data, Split, split_sha256
from eebench.data.kind import Request
from eebench.data.pixels import pixel_data
from eebench.data.texts import text_data
from eebench.errors import UserError

__all__ = ["checked", "from_arrays", "given", "limited"]

SPLITS = {"train", "val", "test"}


def from_arrays(
    name: str,
    splits: Mapping[str, tuple[Any, Any]],
    *,
    labels: Sequence[str] | None = None,
    regression: bool = False,
    augment: str | None = None,
    limit: int | None = None,
) -> Data:
    """A data set of images or texts that are in memory, for ``eebench.run(dataset=…)``.

    Args:
        name: what the record calls it.
        splits: ``train`` and perhaps ``val`` and ``test``, each a pair of inputs and targets. Inputs: images (N, C, H,
            W), (N, H, W, C) or (N, H, W), uint8, square; or N strings or pairs of strings. Targets: class ids (N,), or
            numbers with ``regression``.
        labels: class names by id; None: the ids.
        regression: texts are scored by correlation with real numbers.
        augment: what is done to training images at random; None: see ``augment.small_default``.
        limit: most training samples.

    Raises:
        UserError: shapes, types or class ids that do not fit.
    """
    if not isinstance(splits, Mapping) or "train" not in splits or not splits.keys() <= SPLITS:
        raise UserError(f"data set '{name}': splits are train and perhaps val and test")
    inputs = {split: pair[0] for split, pair in splits.items()}
    targets = {split: _targets(name, pair[1], regression) for split, pair in splits.items()}
    for split, values in inputs.items():
        if len(values) != len(targets[split]):
            raise UserError(f"data set '{name}': {len(values):,} {split} samples, but {len(targets[split]):,} targets")
    request = Request(name, augment=augment, limit=limit)
    if labels is None and not regression:
        labels = [str(c) for c in range(1 + max(int(t.max(initial=0)) for t in targets.values()))]
    if isinstance(inputs["train"], (np.ndarray, torch.Tensor)) and np.asarray(inputs["train"]).dtype.kind not in "OU":
        if regression:
            raise UserError(f"data set '{name}': regression is for texts")
        images = {split: (_images(name, split, values), targets[split]) for split, values in inputs.items()}
        return checked(pixel_data(request, images, labels or [], own=True))
    if regression:
        task = Task(kind="regression", classes=1, metric="pearson_spearman")
    else:
        task = Task(classes=len(labels or ()), labels=tuple(labels or ()))
    texts = {split: [tuple(t) if isinstance(t, list) else t for t in values] for split, values in inputs.items()}
    return checked(text_data(request, texts, targets, task))


def given(data: Any, request: Request) -> Data:
    """A ``Data`` object as handed to ``eebench.run``: checked, its training split limited.

    Raises:
        UserError: no ``Data``, one that does not hold together, or options that are the data set's own business.
    """
    if not isinstance(data, Data):
        raise UserError(
            f"a data set is a name or an eebench.data.Data (see eebench.data.from_arrays), not {type(data).__name__}"
        )
    for option in ("data_dir", "target", "image_size", "augment"):
        value = getattr(request, option)
        if value is not None and value != getattr(data, option, None):
            raise UserError(f"data set '{data.name}' was made in Python: {option} is decided there")
    return limited(checked(data), request.limit)


def limited(data: Data, limit: int | None) -> Data:
    """At most ``limit`` training samples, where the data set has not seen to it itself."""
    if limit is None or len(data.train) <= limit:
        return data
    share = limit / len(data.train)
    sizes = {}
    for split in ("val", "test"):
        count = len(getattr(data, split))
        sizes[split] = count if split in data.official else max(2, round(share * count))
    return data.fewer(limit, sizes["val"], sizes["test"])


def checked(data: Data) -> Data:
    """The data set, once it has been seen to hold together; a missing split hash is made.

    Raises:
        UserError: the first thing that does not fit, in one line.
    """
    where = f"data set '{data.name}'"
    if data.modality not in ("vision", "text"):
        raise UserError(f"{where}: modality '{data.modality}' is neither vision nor text")
    for name in ("train", "val", "test"):
        split: Split = getattr(data, name)
        if not isinstance(split.targets, np.ndarray) or split.targets.ndim != 1:
            raise UserError(f"{where}: the targets of {name} are no array of one dimension")
        if len(split.inputs) != len(split.targets):
            raise UserError(f"{where}: {name} has {len(split.inputs):,} inputs, but {len(split.targets):,} targets")
        if len(split) < 2:
            raise UserError(f"{where}: {name} has {len(split)} samples, at least 2 are needed")
        if data.task.kind == "regression":
            if split.targets.dtype != np.float32 or not np.isfinite(split.targets).all():
                raise UserError(f"{where}: the targets of {name} must be finite numbers, float32")
        elif split.targets.dtype != np.int64 or not 0 <= split.targets.min() <= split.targets.max() < data.task.classes:
            raise UserError(f"{where}: the targets of {name} must be class ids 0 to {data.task.classes - 1}, int64")
    if data.split_hash:
        return data
    return replace(data, split_hash=split_sha256(*(range(len(getattr(data, n))) for n in ("train", "val", "test"))))


def _targets(name: str, values: Any, regression: bool) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in ("uif" if regression else "ui"):
        wanted = "numbers" if regression else "class ids (whole numbers)"
        raise UserError(f"data set '{name}': targets are (N,) {wanted}, not {array.dtype} {array.shape}")
    return array.astype(np.float32 if regression else np.int64)


def _images(name: str, split: str, values: Any) -> torch.Tensor:
    pixels = torch.as_tensor(values)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.ndim == 4 and pixels.shape[-1] in (1, 3):
        pixels = pixels.permute(0, 3, 1, 2)
    shape = "x".join(map(str, pixels.shape))
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
        raise UserError(f"data set '{name}': {split} images are {pixels.dtype} {shape}; expected uint8 (N, C, H, W)")
    if pixels.shape[2] != pixels.shape[3]:
        raise UserError(f"data set '{name}': {split} images are {pixels.shape[2]}x{pixels.shape[3]}; expected squares")
    return pixels.contiguous()
