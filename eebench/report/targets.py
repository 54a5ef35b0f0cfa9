"""Targets by their names in the record: what each one asks for, in the one wording that every part of a report uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from eebench import targets
from eebench.errors import UserError

__all__ = ["Target", "in_order", "main_target", "target"]

_KINDS = ("drop", "macs", "ms")


@dataclass(frozen=True)
class Target:
    """One target as a report speaks of it: ``drop_1`` is kind drop, amount 1."""

    name: str
    kind: str  # drop (points of score), macs (per cent of the plain backbone's), ms (milliseconds), other
    amount: float

    @property
    def title(self) -> str:
        """What a table is headed, a selection offers and a sentence says: ``at most 1 point lost``."""
        return self.name if self.kind == "other" else targets.Target.parse(self.name).short

    @property
    def meaning(self) -> str:
        """The title's definition."""
        return self.name if self.kind == "other" else targets.Target.parse(self.name).meaning


def target(name: str) -> Target:
    """The target of that name; an unknown kind keeps its name and asks for nothing that a report could check."""
    try:
        found = targets.Target.parse(name)
    except UserError:
        return Target(name, "other", 0.0)
    return Target(name, found.kind, found.value)


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once: points lost from few to many, then MACs and milliseconds from much to little, then the rest."""

    def key(name: str) -> tuple[int, float, str]:
        found = target(name)
        place = _KINDS.index(found.kind) if found.kind in _KINDS else len(_KINDS)
        return place, found.amount if found.kind == "drop" else -found.amount, name

    return sorted(set(names), key=key)


def main_target(names: Iterable[str]) -> str:
    """The target that a report opens with: one point lost where it was asked for, else the first in order."""
    ordered = in_order(names)
    return "drop_1" if "drop_1" in ordered or not ordered else ordered[0]
