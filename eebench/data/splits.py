"""Which samples train, validate and test, out of whatever splits a data set brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eebench.data.base import split_sha256
from eebench.data.sampling import split_indices, stratified
from eebench.errors import UserError

__all__ = ["Digests", "Part", "Parts", "divide"]

Digests = Callable[[np.ndarray], Sequence[bytes]]
"""From positions in one of a data set's splits to what these samples hold, in few bytes: equal for copies."""

NAMES = {"train": "training", "val": "validation", "test": "test"}
FEWEST = 2  # samples to validate or test on: a score of one sample is no score

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
    """The three splits, disjoint in positions; in content as well once :func:`divide` is done with them."""

    train: Part
    val: Part
    test: Part
    notes: list[str]
    copies: dict[str, int] = field(default_factory=dict)  # samples left out as copies: {"train/test": 3, …}

    @property
    def sha256(self) -> str:
        """Fingerprint of the three id lists."""
        return split_sha256(self.train.ids, self.val.ids, self.test.ids)

    @property
    def official(self) -> frozenset[str]:
        """Validation and test splits that the data set brought, rather than eebench made of its training split."""
        brought = {"val": self.val, "test": self.test}
        return frozenset(name for name, part in brought.items() if part.source != "train")


def divide(
    targets: Mapping[str, np.ndarray],
    where: str,
    *,
    labels: Sequence[str] | None,
    shares: Sequence[float] = SHARES,
    limit: int | None = None,
    digests: Mapping[str, Digests] | None = None,
) -> Parts:
    """Make train, validation and test of what there is; the test set is never drawn from for anything else.

    Copies are kept in one split: a training or validation sample that the test set holds as well is left out, then a
    training sample that validation holds as well. A test split that the data set brought is never changed.

    Args:
        targets: by split (``train`` and perhaps ``val``, ``test``), (N,) class ids or real numbers.
        where: the data set, for messages.
        labels: class names by id; None for regression, which is not stratified.
        shares: train, validation and test shares, used where there is only ``train``.
        limit: most training samples, a fixed choice in which classes keep their shares; splits that eebench makes
            itself shrink in proportion.
        digests: by split, what tells copies; None looks for none.

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
    _enough(parts, where, len(train))
    if limit is not None and limit < len(parts.train.ids):
        parts = _limited(parts, targets, limit, where, labels is not None)
    if digests is not None:
        parts = _without_copies(parts, digests)
        _check_left(parts, targets, where, labels)
    return parts


def _enough(parts: Parts, where: str, count: int) -> None:
    for split, part in (("train", parts.train), ("validate", parts.val), ("test", parts.test)):
        if not len(part.ids):
            raise UserError(f"{where}: {count} training samples are too few: none is left to {split} on")
    for split, part in (("validation", parts.val), ("test", parts.test)):
        if len(part.ids) < FEWEST:
            raise UserError(f"{where}: the {split} split has one sample, on which nothing can be judged")


def _limited(parts: Parts, targets: Mapping[str, np.ndarray], limit: int, where: str, stratify: bool) -> Parts:
    classes = len(np.unique(targets["train"])) if stratify else 2
    if limit < classes:
        raise UserError(f"{where}: --limit {limit} leaves fewer training samples than its {classes} classes")
    share = limit / len(parts.train.ids)

    def fewer(part: Part, count: int) -> Part:
        return replace(part, ids=part.ids[stratified(targets[part.source][part.ids], count, stratify=stratify)])

    changed: dict[str, Any] = {"train": fewer(parts.train, limit)}
    for name in {"val", "test"} - parts.official:
        part = getattr(parts, name)
        changed[name] = fewer(part, max(FEWEST, round(share * len(part.ids))))
    smaller = replace(parts, **changed)
    return replace(smaller, notes=[*parts.notes, _sizes(f"limited to {limit:,} training samples", smaller)])


def _without_copies(parts: Parts, digests: Mapping[str, Digests]) -> Parts:
    test = set(digests[parts.test.source](parts.test.ids))
    val = digests[parts.val.source](parts.val.ids)
    train = digests[parts.train.source](parts.train.ids)
    in_test = np.fromiter((d in test for d in val), bool, len(val))
    left = {d for d, out in zip(val, in_test, strict=True) if not out}
    copies_test = np.fromiter((d in test for d in train), bool, len(train))
    copies_val = np.fromiter((d in left for d in train), bool, len(train)) & ~copies_test
    counts = {
        "train/test": int(copies_test.sum()),
        "train/val": int(copies_val.sum()),
        "val/test": int(in_test.sum()),
    }
    notes = []
    for pair, count in counts.items():
        lost, kept = pair.split("/")
        if count:
            copies = "copy of a" if count == 1 else "copies of"
            whose = f"{NAMES[kept]} sample" + ("s" if count > 1 else "")
            notes.append(
                f"{count:,} {NAMES[lost]} sample{'s' if count > 1 else ''} left out: {copies} {whose} (same content)"
            )
    return Parts(
        replace(parts.train, ids=parts.train.ids[~(copies_test | copies_val)]),
        replace(parts.val, ids=parts.val.ids[~in_test]),
        parts.test,
        [*parts.notes, *notes],
        counts,
    )


def _check_left(parts: Parts, targets: Mapping[str, np.ndarray], where: str, labels: Sequence[str] | None) -> None:
    """What is left without copies must still be something to learn from and to choose on."""
    held = sum(parts.copies.values())
    for name, part in (("train", parts.train), ("val", parts.val)):
        if len(part.ids) < FEWEST:
            raise UserError(
                f"{where}: {len(part.ids)} {NAMES[name]} samples are left without the {held:,} that validation or test "
                "samples repeat"
            )
    if labels is not None and held:
        lost = np.setdiff1d(targets[parts.test.source][parts.test.ids], targets["train"][parts.train.ids])
        if len(lost):
            raise UserError(
                f"{where}: every training sample of class '{labels[int(lost[0])]}' is a copy of a validation or test "
                "sample"
            )


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
