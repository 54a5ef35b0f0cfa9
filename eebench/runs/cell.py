"""A finished cell on disk, read without torch: its traces, its costs and its facts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eebench.engine.trace import Trace
from eebench.files import read_json
from eebench.measure.costs import Costs

__all__ = ["Cell"]


@dataclass(frozen=True)
class Cell:
    """A finished cell on disk."""

    id: str
    label: str
    seed: int
    path: Path
    seconds: float
    reused: bool

    def trace(self, split: str) -> Trace:
        """The stored trace of ``val`` or ``test``."""
        return Trace.load(self.path, split)

    def costs(self, split: str) -> Costs:
        """MACs per exit on a split."""
        with np.load(self.path / f"costs-{split}.npz", allow_pickle=False) as file:
            return Costs(**{name: file[name] for name in file.files})

    @property
    def facts(self) -> dict[str, Any]:
        """What cell.json says: parameters, phases with their losses, operators left uncounted."""
        return read_json(self.path / "cell.json")

    @property
    def weights(self) -> Path:
        """The trained weights, a safetensors file; a committed record leaves it out."""
        return self.path / "weights.safetensors"
