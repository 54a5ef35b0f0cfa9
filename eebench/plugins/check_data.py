"""``eebench check --dataset``: does a data set keep its promises? Reads it as a run would, twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eebench import data
from eebench.data.base import Data, Split, content_sha256
from eebench.errors import UserError

__all__ = ["DataFinding", "check_data"]

SOME = 64  # samples of a split that are looked at


@dataclass(frozen=True)
class DataFinding:
    """What one check found out."""

    status: str  # holds | broken
    words: str


class BrokenPromiseError(Exception):
    """A promise that does not hold, in words."""


def check_data(name: str, *, data_dir: Path | None = None, plugins: list[Path] | None = None) -> list[DataFinding]:
    """Every promise of a data set: what holds and what does not, in words.

    Raises:
        UserError: it cannot be loaded at all.
    """

    def load(**options: Any) -> Data:
        return data.load(name, data_dir=data_dir, plugins=plugins or (), **options)

    first, again = load(), load()
    findings = []
    for check in (_repeats, _apart, _inputs, _evaluation_stands_still, _training_is_seeded, _batches_are_items):
        findings.append(_found(check, first, again))
    findings.append(_found(lambda one, _: _limit(one, load), first, again))
    return findings


def _found(check: Callable[[Data, Data], str], first: Data, again: Data) -> DataFinding:
    try:
        return DataFinding("holds", check(first, again))
    except BrokenPromiseError as broken:
        return DataFinding("broken", str(broken))
    except UserError:
        raise
    except Exception as error:  # a stranger's data set may raise anything
        return DataFinding("broken", f"{type(error).__name__}: {' '.join(str(error).split())}")


def _splits(found: Data) -> Iterator[tuple[str, Split]]:
    yield from (("train", found.train), ("val", found.val), ("test", found.test))


def _some(split: Split) -> list[int]:
    return np.unique(np.linspace(0, len(split) - 1, min(SOME, len(split))).astype(int)).tolist()


def _items(split: Split, order: list[int]) -> list[Any]:
    return [split.inputs[i] for i in order]


def _same(first: list[Any], second: list[Any]) -> bool:
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(first, second, strict=True))


def _repeats(first: Data, again: Data) -> str:
    if first.split_hash != again.split_hash:
        raise BrokenPromiseError("loaded twice, it is split in two ways: what is random needs a fixed seed")
    if content_sha256(first) != content_sha256(again):
        raise BrokenPromiseError("loaded twice, it holds other samples: what is random needs a fixed seed")
    return "loaded twice, it is the same"


def _apart(first: Data, _: Data) -> str:
    held: dict[str, set[Any]] = {}
    for name, split in _splits(first):
        if name == "train":
            continue
        keys = {_key(item) for item in _items(split, list(range(len(split))) if len(split) <= 20_000 else _some(split))}
        held[name] = keys
    both = len(held["val"] & held["test"])
    if both:
        raise BrokenPromiseError(f"{both} validation samples are test samples as well: knobs would be chosen on them")
    return "no validation sample is a test sample"


def _key(item: object) -> object:
    return item.numpy().tobytes() if isinstance(item, torch.Tensor) else item


def _inputs(first: Data, _: Data) -> str:
    for name, split in _splits(first):
        for item in _items(split, _some(split)):
            if first.modality == "text":
                if not isinstance(item, str) and not (isinstance(item, tuple) and len(item) == 2):
                    raise BrokenPromiseError(f"{name} has {type(item).__name__}: texts are strings or pairs of strings")
                continue
            wanted = (first.channels, first.image_size, first.image_size)
            if not isinstance(item, torch.Tensor) or tuple(item.shape) != wanted or item.dtype != torch.float32:
                got = f"{item.dtype} {tuple(item.shape)}" if isinstance(item, torch.Tensor) else type(item).__name__
                raise BrokenPromiseError(f"{name} has {got}: with these channels and image size, float32 {wanted}")
            if not item.isfinite().all():
                raise BrokenPromiseError(f"{name} has values that are not finite")
    return "inputs are what its modality, channels and image size say"


def _evaluation_stands_still(first: Data, _: Data) -> str:
    for name, split in list(_splits(first))[1:]:
        order = _some(split)
        before = _items(split, order)
        if hasattr(split.inputs, "set_epoch"):
            split.inputs.set_epoch(5, 7)
        if not _same(before, _items(split, order)):
            raise BrokenPromiseError(f"{name} changes from epoch to epoch: only training inputs may")
    return "validation and test inputs never change"


def _training_is_seeded(first: Data, _: Data) -> str:
    order, inputs = _some(first.train), first.train.inputs

    def epoch(seed: int, number: int, positions: list[int]) -> list[Any]:
        if hasattr(inputs, "set_epoch"):
            inputs.set_epoch(seed, number)
        found = {i: inputs[i] for i in positions}
        return [found[i] for i in order]

    one = epoch(0, 1, order)
    if not _same(one, epoch(0, 1, order[::-1])):
        raise BrokenPromiseError("training inputs are not a function of (seed, epoch, position): see set_epoch")
    changes = not _same(one, epoch(0, 2, order))
    if changes != first.augments:
        how = "change from epoch to epoch" if changes else "never change"
        raise BrokenPromiseError(f"training inputs {how}, but augment says '{first.augment}'")
    return f"training inputs are a function of (seed, epoch, position): augment {first.augment}"


def _batches_are_items(first: Data, _: Data) -> str:
    for name, split in _splits(first):
        take = getattr(split.inputs, "take", None)
        if take is not None and not _same(list(take(np.array(_some(split)))), _items(split, _some(split))):
            raise BrokenPromiseError(f"a batch of {name} (take) is not its items stacked")
    return "a batch is its items"


def _limit(first: Data, load: Callable[..., Data]) -> str:
    most = max(first.task.outputs + 1, len(first.train) // 3)
    if most >= len(first.train):
        return "too few training samples to try --limit"
    found = load(limit=most)
    if len(found.train) > most:
        raise BrokenPromiseError(f"--limit {most} leaves {len(found.train)} training samples")
    for name in first.official:
        if len(getattr(found, name)) != len(getattr(first, name)):
            raise BrokenPromiseError(f"--limit makes the official {name} split smaller")
    return f"--limit {most} trains on {len(found.train)} samples"
