"""What a data set is to eebench: three disjoint splits, a task, and how to batch them reproducibly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from eebench.api import Task
from eebench.data.lengths import EVALUATED, by_length, step_parts
from eebench.data.preprocessing import Preprocessing
from eebench.data.sampling import stratified

__all__ = [
    "Batch",
    "Data",
    "Split",
    "batches",
    "content_sha256",
    "split_sha256",
    "steps",
]

PEEKED = 64  # images of a split that its fingerprint reads: all of them would take as long as an epoch


@dataclass
class Split:
    """One split: ``inputs[i]`` is what ``Backbone.prepare`` takes (an image tensor (C, H, W), a string or a pair)."""

    inputs: Sequence[Any]
    targets: np.ndarray  # (N,) int64 or float32

    def __len__(self) -> int:
        return len(self.targets)

    def subset(self, ids: np.ndarray) -> Split:
        """The samples at these positions, in this order."""
        inputs = self.inputs
        if hasattr(inputs, "subset"):
            chosen = inputs.subset(ids)
        elif isinstance(inputs, Tensor):
            chosen = inputs[torch.from_numpy(ids)]
        elif isinstance(inputs, list):
            chosen = [inputs[int(i)] for i in ids]
        else:
            chosen = _Chosen(inputs, ids)
        return Split(chosen, self.targets[ids])


class _Chosen(Sequence[Any]):
    """Some items of a sequence that knows no better."""

    def __init__(self, inputs: Sequence[Any], ids: np.ndarray) -> None:
        self.inputs, self.ids = inputs, ids
        if hasattr(inputs, "set_epoch"):
            self.set_epoch = inputs.set_epoch

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Any:  # type: ignore[override]  # no slices: nothing asks for one
        return self.inputs[int(self.ids[index])]


@dataclass
class Data:
    """A data set ready to train on. Only ``train`` may transform at random."""

    name: str
    modality: str  # "vision" | "text"
    task: Task
    train: Split
    val: Split
    test: Split
    split_hash: str = ""  # sha256 over the three id lists, so two runs can prove they saw the same split
    augment: str = "none"  # what is done to training inputs at random, one of ``kind.AUGMENTS`` or a word of one's own
    image_size: int | None = None
    patch_size: int | None = None  # the patch size a small-image data set asks a ViT for; None: the model's own
    channels: int = 3
    notes: list[str] = field(default_factory=list)  # said in the log and the record
    preprocessing: Preprocessing | None = None  # from a raw sample to ``test.inputs[i]``; None: not known
    official: frozenset[str] = frozenset()  # splits (val, test) that the data set brought: never made smaller
    copies: dict[str, int] = field(default_factory=dict)  # samples left out as copies: {"train/test": 3, …}

    @property
    def augments(self) -> bool:
        """Whether training inputs differ from epoch to epoch, so that their features cannot be cached."""
        return self.augment != "none"

    def normalised(self, mean: Sequence[float], std: Sequence[float]) -> Data:
        """The same images with another mean and deviation, in shares of full brightness: a pre-trained model's own.

        Raises:
            ValueError: inputs that were not made by ``pixel_data`` or ``image_data``.
        """
        if self.preprocessing is None or not hasattr(self.test.inputs, "prepared"):
            raise ValueError(f"data set '{self.name}' does not say how its inputs are prepared")
        new = self.preprocessing.normalised(mean, std)
        train, val, test = (replace(s, inputs=s.inputs.prepared(new)) for s in self._splits().values())  # type: ignore[attr-defined]
        return replace(self, train=train, val=val, test=test, preprocessing=new, channels=new.channels)

    def _splits(self) -> dict[str, Split]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def fewer(self, train: int, val: int, test: int) -> Data:
        """At most this many samples of each split: a fixed choice in which classes keep their shares."""
        splits: dict[str, Any] = {}
        for (name, split), most in zip(self._splits().items(), (train, val, test), strict=True):
            ids = stratified(split.targets, most, stratify=self.task.kind != "regression")
            splits[name] = split if len(ids) == len(split) else split.subset(ids)
        sizes = [len(split) for split in splits.values()]
        return replace(self, **splits, split_hash=hashlib.sha256(f"{self.split_hash}{sizes}".encode()).hexdigest())


@dataclass(slots=True)
class Batch:
    """Samples on the device: ``ids`` are positions in the split."""

    inputs: Any
    targets: Tensor
    ids: Tensor


def batches(
    split: Split,
    prepare: Callable[[Sequence[Any]], Any],
    batch_size: int,
    *,
    device: torch.device | str = "cpu",
    lengths: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Batches of a split: in order, or by length, shortest first, where texts' ``lengths`` are given.

    Samples that must be read or transformed first are fetched ahead by torch's DataLoader.

    Args:
        split: what to batch.
        prepare: samples → a batch's inputs (``Backbone.prepare``).
        batch_size: samples a batch at most; texts are as many fewer as ``lengths.EVALUATED`` tokens allow.
        device: where the batches go.
        lengths: (N,) tokens of each text (``Backbone.lengths``).
    """
    if lengths is None:
        chunks = _chunks(np.arange(len(split)), batch_size)
    else:
        chunks = by_length(lengths, batch_size, EVALUATED)
    yield from _batches(split, prepare, chunks, device)


def steps(
    split: Split,
    prepare: Callable[[Sequence[Any]], Any],
    batch_size: int,
    *,
    device: torch.device | str = "cpu",
    seed: int,
    epoch: int = 0,
    lengths: np.ndarray | None = None,
    start: int = 0,
) -> Iterator[list[Batch]]:
    """An epoch of training steps, shuffled by (seed, epoch): each a random draw of ``batch_size`` samples.

    A step's samples are one batch, or several parts whose gradients are added up: texts go by length, so many at a time
    as ``lengths.TRAINED`` tokens allow. The order of the samples and the steps are the same with and without parts.
    The first ``start`` steps are passed over without being read: a training that was cut off goes on there. Other
    arguments as of ``batches``.
    """
    set_epoch = getattr(split.inputs, "set_epoch", None)  # random transforms become a function of (seed, epoch)
    if set_epoch is not None:
        set_epoch(seed, epoch)
    chunks = _chunks(np.random.default_rng([seed, epoch]).permutation(len(split)), batch_size)
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        last = chunks.pop()  # batch norm cannot train on a single sample: it joins the batch before
        chunks[-1] = np.concatenate([chunks[-1], last])
    parts = [[chunk] if lengths is None else step_parts(chunk, lengths[chunk]) for chunk in chunks[start:]]
    loaded = _batches(split, prepare, [ids for step in parts for ids in step], device, resumed=start > 0)
    for step in parts:
        yield [next(loaded) for _ in step]


def _chunks(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _batches(
    split: Split,
    prepare: Callable[[Sequence[Any]], Any],
    chunks: Sequence[np.ndarray],
    device: torch.device | str,
    *,
    resumed: bool = False,
) -> Iterator[Batch]:
    for ids, inputs in _fetch(split.inputs, prepare, chunks, resumed=resumed):
        moved = {k: v.to(device) for k, v in inputs.items()} if isinstance(inputs, dict) else inputs.to(device)
        targets = torch.from_numpy(split.targets[ids])
        yield Batch(moved, targets.to(device), torch.from_numpy(ids).to(device))


def _fetch(
    inputs: Sequence[Any], prepare: Callable[[Sequence[Any]], Any], chunks: Sequence[np.ndarray], *, resumed: bool
) -> Iterator[tuple[np.ndarray, Any]]:
    if isinstance(inputs, Tensor):  # in memory already: one gather instead of a stack of single images
        yield from ((ids, inputs[torch.from_numpy(ids)]) for ids in chunks)
    elif hasattr(inputs, "take"):
        yield from ((ids, inputs.take(ids)) for ids in chunks)
    elif isinstance(inputs, list):
        yield from ((ids, prepare([inputs[int(i)] for i in ids])) for ids in chunks)
    else:
        loader: DataLoader[Any] = DataLoader(
            inputs,  # type: ignore[arg-type]
            batch_sampler=[ids.tolist() for ids in chunks],
            collate_fn=prepare,
            num_workers=_workers(sum(map(len, chunks))),
        )
        # starting it draws from torch's random numbers, which an epoch that is gone on with has done before
        with torch.random.fork_rng(devices=[], enabled=resumed):
            ready = iter(loader)
        yield from zip(chunks, ready, strict=True)


def _workers(samples: int) -> int:
    """Processes that read and transform ahead: none where starting them costs more than they save."""
    return 0 if samples < 1000 else min(8, (os.cpu_count() or 1) // 2)


def content_sha256(data: Data) -> str:
    """Fingerprint of what the splits hold, so that a finished cell is not taken for one of other data of that name.

    Every target and text counts. Images that know better say so themselves (``stamp()``: all pixels held in memory, or
    each file's path, size and time of change); of others, read from who knows where, :data:`PEEKED` a split are read.
    """
    digest = hashlib.sha256()
    for split in (data.train, data.val, data.test):
        digest.update(np.ascontiguousarray(split.targets).tobytes() + b"|")
        stamp = split.inputs.stamp() if hasattr(split.inputs, "stamp") else None
        if stamp is not None:
            digest.update(stamp + b"|")
            continue
        rows: Sequence[int] | np.ndarray = range(len(split))
        if not isinstance(split.inputs, list):
            rows = np.linspace(0, len(split) - 1, min(PEEKED, len(split))).astype(int)
        for row in rows:
            item = split.inputs[int(row)]
            digest.update((item.numpy().tobytes() if isinstance(item, Tensor) else repr(item).encode()) + b"|")
    return digest.hexdigest()


def split_sha256(*parts: Sequence[int] | np.ndarray) -> str:
    """sha256 over index lists, order kept: the split's fingerprint in the record."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.asarray(part, dtype="<i8").tobytes() + b"|")
    return digest.hexdigest()
