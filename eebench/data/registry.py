"""Data sets by name: eebench's own, those of installed packages, and those of ``--plugin`` files.

Imports nothing heavy, and no package's module before one of its data sets is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from eebench import discovery
from eebench.data.kind import DataSet
from eebench.errors import UserError, did_you_mean

__all__ = ["BUILT_IN", "GROUP", "Registry"]

GROUP = "eebench.datasets"

BUILT_IN = (
    "digits", "mnist5k", "idx", "torchvision_images", "imagenet", "hfds", "wds", "folder", "csv_texts", "glue",
)  # fmt: skip
"""Modules of :mod:`eebench.data.kinds`, one data set or family each, in the order of ``eebench list datasets``."""


@dataclass
class Registry:
    """Every data set there is."""

    kinds: list[DataSet] = field(default_factory=list)
    entries: dict[str, discovery.Entry] = field(default_factory=dict)  # not imported yet, by the name's first word

    @classmethod
    def installed(cls, plugins: Sequence[discovery.Plugin] = ()) -> Registry:
        """Those of eebench itself first, then entry points, then plugin files (which may bring methods alone).

        Raises:
            UserError: two bring the same name, a name that cannot be typed, or a plugin file that cannot be imported.
        """
        registry = cls([import_module(f"eebench.data.kinds.{module}").KIND for module in BUILT_IN])
        taken = {_word(name): "eebench" for kind in registry.kinds for name in kind.names()}
        for entry in discovery.installed(GROUP):
            _claim(taken, entry.name, entry.origin)
            registry.entries[entry.name] = entry
        for plugin in plugins:
            for found in discovery.brought_by(plugin)[GROUP]:
                origin = discovery.origin_of(plugin)
                kind = _made(found, origin)
                if kind.name:  # a base class of one's own has none
                    _claim(taken, _word(kind.name), origin)
                    registry.kinds.append(kind)
        return registry

    def known(self) -> dict[str, str]:
        """Every data set that can be named, in one line each; capitals stand for what the user fills in.

        Families with a blank come last. Nothing of an installed package is imported.
        """
        rows = {name: line for kind in self.kinds for name, line in kind.names().items()}
        rows |= {name: entry.first_line() or f"from {entry.origin}" for name, entry in self.entries.items()}
        return dict(sorted(rows.items(), key=lambda row: row[0][-1].isupper()))

    def find(self, name: str) -> tuple[DataSet, str]:
        """A data set and the key of its typed name, such as ``(<csv>, "DIR")``. A directory's path is a ``folder:``.

        Raises:
            UserError: no such data set, with the nearest name, or its package cannot be imported.
        """
        entry = self.entries.get(_word(name))
        kinds = self.kinds if entry is None else [_made(entry.load("data set"), entry.origin)]
        for kind in kinds:
            key = kind.find(name)
            if key is not None:
                return kind, key
        if Path(name).expanduser().is_dir():
            return next(kind for kind in self.kinds if kind.name == "folder:DIR"), name
        if "/" in name:
            near = did_you_mean(name, self.known())
            hint = near if "did you mean" in near else "; see: eebench list datasets"
            raise UserError(f"'{name}' is neither a data set nor a directory{hint}")
        raise UserError(f"unknown data set '{name}'{did_you_mean(name, self.known())}")


def _word(name: str) -> str:
    """A name's first word, by which entry points claim it: ``scans`` of ``scans:DIR``."""
    return re.split("[:/]", name)[0]


def _claim(taken: dict[str, str], name: str, origin: str) -> None:
    if not re.fullmatch(r"[A-Za-z][\w.-]*", name):
        raise UserError(
            f"'{name}' ({origin}) is no name for a data set: it needs a letter first, then letters, digits, '_', '-'"
        )
    if name in taken:
        raise UserError(f"two data sets are called '{name}': one from {taken[name]}, one from {origin}")
    taken[name] = origin


def _made(found: object, origin: str) -> DataSet:
    if not (isinstance(found, type) and issubclass(found, DataSet)):
        raise UserError(f"data set from {origin}: {found!r} is no subclass of eebench.data.DataSet")
    try:
        return found()
    except Exception as error:  # a stranger's constructor may raise anything
        reason = f"{type(error).__name__}: {discovery.one_line(error)}"
        raise UserError(f"data set {found.__name__} ({origin}) cannot be made: {reason}") from error
