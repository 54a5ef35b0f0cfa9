"""A training's state on disk, for a killed process to go on bit for bit where it was: safetensors, never a pickle."""

from __future__ import annotations

import json
import os
import random
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eebench.files import durable

__all__ = ["Checkpoints", "Snapshot", "random_state", "restore_random_state"]

KEPT = 2
EVERY = 120.0  # seconds between checkpoints within an epoch
SHARE = 0.01  # of the training's time may go into writing them
LEAST, RATE = 0.01, 200e6  # what the first one is expected to cost: seconds, and bytes a second


@dataclass(frozen=True)
class Snapshot:
    """One state: tensors by name, and the rest as JSON."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below a prefix, by their names without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


class Checkpoints:
    """The last two states of a training, in a folder of their own.

    A state is due at the end of every epoch, or when ``every`` seconds have passed, whichever is sooner; but never so
    often that writing takes more than ``share`` of the time.

    Args:
        folder: made when the first state is written.
        every: seconds between states within an epoch.
        share: most of the time that may go into writing, as a share.
        clock: seconds, rising.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every: float = EVERY,
        share: float = SHARE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.folder, self.every, self.share, self.clock = folder, every, share, clock
        self.context: Callable[[], dict[str, Any]] = dict  # what goes into the facts of every state besides
        self.moved: set[str] = set()  # parameters that were trained, by this phase or one before
        self.damaged: list[str] = []  # states that could not be read
        self.cost = 0.0  # seconds that writing took last; a guess before the first, see ``expect``
        self._last = clock()
        self._found = self._newest()
        self._number = max(map(_number, self._files()), default=0)

    def take(self, fits: Callable[[dict[str, Any]], bool] = lambda facts: True) -> Snapshot | None:
        """The state to go on from, once, if its facts fit."""
        found = self._found
        if found is None or not fits(found.facts):
            return None
        self._found = None
        return found

    @property
    def pending(self) -> Snapshot | None:
        """The state to go on from, while nobody has taken it."""
        return self._found

    def expect(self, size: int) -> None:
        """How many bytes a state will have: what it will cost, until that is known."""
        self.cost = self.cost or LEAST + size / RATE

    def due(self, *, epoch_ended: bool = False) -> bool:
        """Whether it is time for the next state."""
        since = self.clock() - self._last
        return since >= self.cost / self.share and (epoch_ended or since >= self.every)

    def write(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
        """Write a state whole, and remove all but the last two."""
        started = self.clock()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        path = self.folder / f"checkpoint-{self._number:08d}.safetensors"
        temporary = path.with_suffix(".tmp")
        held = _apart(tensors)
        text = json.dumps({**self.context(), **facts, "checksum": _checksum(held)})
        try:
            save_file(held, temporary, metadata={"facts": text})
            durable(temporary)
            os.replace(temporary, path)
            durable(self.folder)
        finally:
            temporary.unlink(missing_ok=True)
        for old in self._files()[:-KEPT]:
            old.unlink(missing_ok=True)
        self._last = self.clock()
        self.cost = self._last - started
        return path

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*.safetensors"))

    def _newest(self) -> Snapshot | None:
        for path in reversed(self._files()):
            try:
                return _read(path)
            except (OSError, SafetensorError, KeyError, ValueError) as error:
                self.damaged.append(f"{path.name}: {' '.join(str(error).split()) or type(error).__name__}")
        return None


def _read(path: Path) -> Snapshot:
    with safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {})["facts"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    if facts.pop("checksum") != _checksum(tensors):
        raise ValueError("its checksum differs")
    return Snapshot(tensors, facts)


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous, and no two in the same memory, as safetensors wants them."""
    seen: set[int] = set()
    held = {}
    for name, tensor in tensors.items():
        own = tensor.detach().to("cpu").contiguous()
        if own.untyped_storage().nbytes() != own.nbytes or own.data_ptr() in seen:
            own = own.clone()
        seen.add(own.data_ptr())
        held[name] = own
    return held


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return total


def random_state(device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Where the random numbers of torch, numpy and Python stand: tensors, and what JSON takes."""
    tensors = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - the global one, which methods may draw from
    tensors["numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    return tensors, {"numpy": [kind, *rest], "python": random.getstate()}


def restore_random_state(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], device: torch.device) -> None:
    """Go on drawing as after :func:`random_state`."""
    torch.set_rng_state(tensors["torch"])
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"], device)
    kind, *rest = facts["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = facts["python"]
    random.setstate((version, tuple(internal), gauss))
