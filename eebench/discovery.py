"""Where third parties' classes are found: entry points of installed packages, and files named by ``--plugin``.

Shared by methods, data sets and backbones. Listing imports no package; a plugin file is imported once, whatever kinds
of class it brings, and again only when its content changes. Python code gives a class itself in place of a file.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from eebench.errors import UserError

__all__ = ["CONTRACTS", "Entry", "Plugin", "brought_by", "import_file", "installed", "one_line", "origin_of"]

Plugin = Path | type
"""A file of classes, or a class given from Python."""

CONTRACTS = {
    "eebench.methods": ("eebench.api", "Method"),
    "eebench.datasets": ("eebench.data.kind", "DataSet"),
    "eebench.backbones": ("eebench.api", "Backbone"),
}
"""Entry-point groups, and the class (module, name) that what they name derives from."""


@dataclass(frozen=True)
class Entry:
    """One entry point of an installed package."""

    name: str
    origin: str  # the package and its version
    point: EntryPoint

    def load(self, what: str) -> Any:
        """Import what the entry point names.

        Args:
            what: the kind of thing, for the message: ``data set``.

        Raises:
            UserError: the import fails; one line that says which package's.
        """
        try:
            return self.point.load()
        except (Exception, SystemExit) as error:  # a plugin may raise anything while it is imported
            reason = f"{type(error).__name__}: {one_line(error)}"
            raise UserError(f"{what} '{self.name}' ({self.origin}) cannot be imported: {reason}") from error

    def first_line(self) -> str:
        """First line of the class's docstring, read from the source without importing it; "" where there is none."""
        try:
            found = importlib.util.find_spec(self.point.module)
            tree = ast.parse(Path((found and found.origin) or "").read_bytes())
        except (Exception, SystemExit):  # finding a module imports the packages around it
            return ""
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == self.point.attr:
                return (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")
        return ""


def installed(group: str) -> list[Entry]:
    """Every entry point of a group, by name."""
    found = []
    for point in entry_points(group=group):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        found.append(Entry(point.name, origin, point))
    return sorted(found, key=lambda entry: (entry.name, entry.origin))


def import_file(path: Path) -> ModuleType:
    """The module of a plugin file.

    Raises:
        UserError: no such file, no Python, or it raises while it is imported.
    """
    if not os.path.isfile(path):  # a name too long is no file either
        raise UserError(f"plugin file {path} does not exist")
    # the whole path, not the stem alone: of two files with one name, the second would pass for the first one's source
    identity = str(path.resolve()).encode() + b"\0" + path.read_bytes()
    module_name = f"eebench_plugin_{path.stem}_{hashlib.sha256(identity).hexdigest()[:8]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"plugin file {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and get_type_hints look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a plugin may raise anything while it is imported
        del sys.modules[module_name]
        raise UserError(f"plugin {path} cannot be imported: {type(error).__name__}: {one_line(error)}") from error
    return module


def origin_of(plugin: Plugin) -> str:
    """Where a plugin comes from, for people."""
    return str(plugin) if isinstance(plugin, Path) else f"{plugin.__module__}.{plugin.__qualname__}"


def brought_by(plugin: Plugin) -> dict[str, list[type]]:
    """The classes a plugin brings, by the entry-point group they would belong to; nothing further is imported for it.

    Raises:
        UserError: no such file, no Python, or it raises while it is imported.
    """
    if isinstance(plugin, Path):
        module = import_file(plugin)
        things = [t for t in vars(module).values() if isinstance(t, type) and t.__module__ == module.__name__]
    else:
        things = [plugin]
    found: dict[str, list[type]] = {group: [] for group in CONTRACTS}
    for thing in things:
        bases = {(base.__module__, base.__qualname__) for base in thing.__mro__}
        for group, contract in CONTRACTS.items():
            if contract in bases and thing not in found[group]:
                found[group].append(thing)
    return found


def one_line(error: BaseException) -> str:
    """An exception's message on one line."""
    return " ".join(str(error).split()) or "no message"
