"""Fixed choices among samples, class by class: functions of labels, length and a salt, the same everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

__all__ = ["split_indices", "stratified"]

SALT = "eebench-split-v1"


def split_indices(targets: np.ndarray, shares: Sequence[float], *, stratify: bool = True) -> list[np.ndarray]:
    """Disjoint index lists with the given shares, which sum to 1: a function of labels, length and a fixed salt.

    Classes keep their shares, to within one sample each, when ``stratify``.
    """
    seed = int.from_bytes(hashlib.sha256(f"{SALT}:{len(targets)}".encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(targets == c) for c in np.unique(targets)] if stratify else [np.arange(len(targets))]
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for group in groups:
        cuts = np.floor(np.cumsum(shares)[:-1] * len(group) + rng.random()).astype(int)
        for part, piece in zip(parts, np.split(rng.permutation(group), np.clip(cuts, 0, len(group))), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]


def stratified(targets: np.ndarray, count: int, *, stratify: bool = True) -> np.ndarray:
    """Positions (count,) of a fixed choice in which classes keep their shares to within one sample; all where fewer.

    A class whose share is less than one sample keeps one where ``count`` is at least the number of classes.
    """
    if count >= len(targets):
        return np.arange(len(targets))
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{SALT}:{count}".encode()).digest()[:8], "big"))
    if not stratify:
        return np.sort(rng.permutation(len(targets))[:count])
    _, members, sizes = np.unique(targets, return_inverse=True, return_counts=True)
    shares = sizes * count / len(targets)
    quota = np.floor(shares).astype(int)
    if count >= len(sizes):
        quota = np.maximum(quota, 1)
    rest = np.argsort(quota - shares, kind="stable")  # largest remainder first
    quota[rest[: max(count - quota.sum(), 0)]] += 1
    while quota.sum() > count:  # what the smallest were given, the largest give
        quota[quota.argmax()] -= 1
    groups = (rng.permutation(np.flatnonzero(members == c))[:n] for c, n in enumerate(quota))
    return np.sort(np.concatenate(list(groups)))
