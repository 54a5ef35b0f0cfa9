"""MACs of stopping at each exit, sample by sample: what a replay is charged with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Costs"]


@dataclass(frozen=True)
class Costs:
    """MACs of stopping at each exit, per sample: arrays (S, E), S being 1 where all samples cost the same."""

    backbone: np.ndarray
    heads: np.ndarray
    gates: np.ndarray
    static: np.ndarray
    plain: np.ndarray  # (S, 1)

    def mean(self, kind: str, exits: np.ndarray) -> float:
        """Mean over samples of one kind of cost at the exits where they stop, in 10^9 MACs."""
        values = getattr(self, kind)
        rows = np.arange(len(exits)) if len(values) > 1 else 0
        return float(values[rows, exits].mean()) / 1e9

    @property
    def total(self) -> np.ndarray:
        """Everything charged when a sample stops at each exit, (S, E) MACs."""
        return self.backbone + self.heads + self.gates

    def total_of(self, exits: np.ndarray, samples: np.ndarray | None = None) -> np.ndarray:
        """MACs of each of N samples that stops at ``exits`` (N,); ``samples`` are their rows when they are not all."""
        if len(self.backbone) == 1:
            return self.total[0, exits]
        return self.total[np.arange(len(exits)) if samples is None else samples, exits]
