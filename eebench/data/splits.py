"""Which samples train, validate and test, out of whatever splits a data set brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eebench.data.base import split_indices, split_sha256
from eebench.errors import UserError

__all__ = ["Part", "Parts", "divide"]

HOLDOUT = 0.1  # of train becomes validation where a data set has none
HOLDOUT_MOST = (
    10_000  # enough to tell operating points half a point of accuracy apart; ImageNet's 10 % would be 128,117
)
SHARES = (0.7, 0.1, 0.2)  # train, validation, test of a data set that comes in one piece


@dataclass(frozen=True)
class Part:
    """One split: positions in one of the splits that the data set brought."""

    source: str
    ids: np.ndarray  # (N,) int64, ascending


@dataclass(frozen=True)
class Parts:
    """The three splits, disjoint."""

    train: Part
    val: Part
    test: Part
    notes: list[str]

    @property
    def sha256(self) -> str:
        """Fingerprint of the three id lists."""
        return split_sha256(self.train.ids, self.val.ids, self.test.ids)


def divide(
    targets: Mapping[str, np.ndarray],
    where: str,
    *,
    labels: Sequence[str] | None,
    shares: Sequence[float] = SHARES,
) -> Parts:
    """Make train, validation and test of what there is; the test set is never drawn from for anything else.

    Args:
        targets: by split (``train`` and perhaps ``val``, ``test``), (N,) class ids or real numbers.
        where: the data set, for messages.
        labels: class names by id; None for regression, which is not stratified.
        shares: train, validation and test shares, used where there is only ``train``.

    Returns:
        ``val`` comes from ``train`` where the data set has none; a data set with ``train`` and ``val`` but no ``test``
        is tested on its ``val`` (so is ImageNet everywhere), and validated on samples of ``train``.

    Raises:
        UserError: one class only, a class that only ``val`` or ``test`` has, or too few samples.
    """
    _check(targets, where, labels)
    train = targets["train"]
    whole = {split: Part(split, np.arange(len(t))) for split, t in targets.items()}
    notes = []
    if "test" not in targets and "val" in targets:
        whole["test"] = whole.pop("val")
        notes.append("the validation split serves as the test set, as it is the only other one with labels")
    if "test" not in whole:
        first, second, third = _cut(train, shares, labels is not None)
        parts = Parts(Part("train", first), Part("train", second), Part("train", third), notes)
        notes.append(_sizes("split by eebench", parts))
    elif "val" not in whole:
        held = min(HOLDOUT, HOLDOUT_MOST / len(train))
        first, second = _cut(train, (1 - held, held), labels is not None)
        parts = Parts(Part("train", first), Part("train", second), whole["test"], notes)
        notes.append(_sizes("validation samples taken from the training split", parts))
    else:
        parts = Parts(whole["train"], whole["val"], whole["test"], notes)
    for split, part in (("train", parts.train), ("validate", parts.val), ("test", parts.test)):
        if not len(part.ids):
            raise UserError(f"{where}: {len(train)} training samples are too few: none is left to {split} on")
    return parts


def _check(targets: Mapping[str, np.ndarray], where: str, labels: Sequence[str] | None) -> None:
    seen = np.unique(targets["train"])
    if labels is None:
        if len(seen) < 2:
            raise UserError(f"{where}: every training sample has the same target, so there is nothing to learn")
        return
    if len(seen) < 2:
        only = f"only one class, '{labels[int(seen[0])]}'" if len(seen) else "no samples"
        raise UserError(f"{where}: the training split has {only}; a classifier needs two or more")
    for split, values in targets.items():
        unseen = np.setdiff1d(values, seen)
        if len(unseen):
            raise UserError(f"{where}: the {split} split has class '{labels[int(unseen[0])]}', the training split not")


def _cut(targets: np.ndarray, shares: Sequence[float], stratify: bool) -> list[np.ndarray]:
    """``split_indices``, but a class that missed the first part (it has one sample) is moved there to be learnt."""
    parts = split_indices(targets, shares, stratify=stratify)
    if not stratify:
        return parts
    lost = np.setdiff1d(targets, targets[parts[0]])
    strays = [ids[np.isin(targets[ids], lost)] for ids in parts[1:]]
    kept = [ids[~np.isin(targets[ids], lost)] for ids in parts[1:]]
    return [np.sort(np.concatenate([parts[0], *strays])), *kept]


def _sizes(how: str, parts: Parts) -> str:
    return f"{how}: {len(parts.train.ids):,} train, {len(parts.val.ids):,} validation, {len(parts.test.ids):,} test"
