"""Batches of texts whose lengths differ: what is padded together, so that one long text costs its own length alone."""

from __future__ import annotations

import numpy as np

__all__ = ["EVALUATED", "TRAINED", "by_length", "step_parts"]

TRAINED = 4096
"""Tokens, padding included, that a backward pass holds at once: 32 texts of 128, 8 of 512."""

EVALUATED = 16384
"""Likewise without a backward pass, which keeps no activations."""


def by_length(lengths: np.ndarray, most: int, tokens: int) -> list[np.ndarray]:
    """Part texts by length, shortest first; texts of one length stay in order.

    Args:
        lengths: (N,) tokens of each text.
        most: texts in a part at most.
        tokens: texts times the longest of them, in a part at most; a longer text is a part of its own. Nor is more than
            half of a part padding.

    Returns:
        Positions, a part each; all of them once.
    """
    parts: list[list[int]] = []
    real = 0
    for position in np.argsort(lengths, kind="stable"):
        length = int(lengths[position])
        held = len(parts[-1]) if parts else most
        if held == most or (held + 1) * length > min(tokens, 2 * (real + length)):
            parts.append([])
            real = 0
        parts[-1].append(int(position))
        real += length
    return [np.array(part) for part in parts]


def step_parts(ids: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """A training step's samples by length where together they are more tokens than ``TRAINED``, else as they are."""
    if len(ids) * lengths.max() <= TRAINED:
        return [ids]
    return [ids[part] for part in by_length(lengths, len(ids), TRAINED)]
