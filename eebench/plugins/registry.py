"""Finding methods: entry points of the group ``eebench.methods`` and ``--plugin path.py`` files.

Listing imports no method, so it is fast and a broken plugin cannot hurt the others; loading imports just the one asked
for. What a person types beside the name is read by :mod:`eebench.plugins.chosen`.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from eebench.discovery import Plugin, brought_by, origin_of
from eebench.errors import UserError, did_you_mean
from eebench.plugins.chosen import Chosen, make_chosen, one_line, split_list
from eebench.schema import BACKBONE, STATIC

if TYPE_CHECKING:
    from eebench.api import Method

__all__ = ["GROUP", "Registry", "Source"]

GROUP = "eebench.methods"
NAME = re.compile(r"[A-Za-z][\w.-]*")
RESERVED = ("all", BACKBONE, STATIC)  # every method; the rows of the plain backbone and of static models


@dataclass(frozen=True)
class Source:
    """Where a method comes from."""

    name: str
    origin: str  # "eebench 0.1.0", or the plugin file
    entry: EntryPoint | None = None
    cls: type[Method] | None = None

    @property
    def foreign(self) -> bool:
        """Whether its code is somebody else's than eebench's."""
        return self.entry is None or self.entry.module.partition(".")[0] != "eebench_methods"

    def load(self) -> type[Method]:
        """Import the method.

        Raises:
            UserError: the import fails, or what it finds is no Method.
        """
        from eebench.api import Method

        if self.cls is not None:
            return self.cls
        assert self.entry is not None
        try:
            loaded = self.entry.load()
        except (Exception, SystemExit) as error:  # a plugin may raise anything while it is imported
            raise UserError(self._cannot(error)) from error
        if not (isinstance(loaded, type) and issubclass(loaded, Method)):
            raise UserError(f"method '{self.name}' ({self.origin}): {self.entry.value} is not an eebench.api.Method")
        return loaded

    def fault(self) -> str | None:
        """What can be seen to be wrong without importing the method: its module is not there, or is no Python."""
        if self.entry is None:
            return None
        try:
            found = importlib.util.find_spec(self.entry.module)
            if found is None:
                raise ModuleNotFoundError(f"No module named '{self.entry.module}'")
            if found.origin is not None and found.origin.endswith(".py"):
                ast.parse(Path(found.origin).read_bytes())
        except (Exception, SystemExit) as error:  # finding a module imports the packages around it
            return self._cannot(error)
        return None

    def _cannot(self, error: BaseException) -> str:
        return f"method '{self.name}' ({self.origin}) cannot be imported: {type(error).__name__}: {one_line(error)}"

    def card(self) -> Path | None:
        """The method's README.md, found without importing the method; None when it has none."""
        if self.entry is None:
            assert self.cls is not None
            path = Path(sys.modules[self.cls.__module__].__file__ or "")
        else:
            try:
                found = importlib.util.find_spec(self.entry.module)
            except (Exception, SystemExit):  # a broken parent package: the card is lost, loading will say why
                return None
            if found is None or found.origin is None:
                return None
            path = Path(found.origin)
        readme = path.parent / "README.md"
        return readme if path.name == "__init__.py" and readme.exists() else None


@dataclass
class Registry:
    """Every method there is, by name."""

    sources: dict[str, Source] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)  # plugin files and methods set aside, and why
    deadly: dict[str, str] = field(default_factory=dict)  # methods that must not be imported here, and why
    plugins: list[Plugin] = field(default_factory=list)  # which may bring data sets and backbones as well

    @classmethod
    def installed(cls, plugins: Sequence[Plugin] | None = None) -> Registry:
        """Entry points first, then plugin files and classes; a file that fails is set aside in ``broken``.

        Raises:
            UserError: two sources bring the same name.
        """
        registry = cls(plugins=list(plugins or []))
        for entry in entry_points(group=GROUP):
            dist = entry.dist
            origin = f"{dist.name} {dist.version}" if dist else entry.value
            registry._add(Source(entry.name, origin, entry))
        for plugin in plugins or []:
            try:
                methods = _methods_in(plugin)
            except UserError as error:
                registry.broken[str(plugin)] = str(error)
                continue
            for method in methods:
                registry._add(Source(method.name, origin_of(plugin), cls=method))
        registry.sources = dict(sorted(registry.sources.items()))
        return registry

    def _add(self, source: Source) -> None:
        if not NAME.fullmatch(source.name) or source.name in RESERVED:
            why = (
                "is taken" if source.name in RESERVED else "needs a letter first, then letters, digits, '_', '-' or '.'"
            )
            raise UserError(f"'{source.name}' ({source.origin}) is no name for a method: it {why}")
        first = self.sources.get(source.name)
        if first is not None and (first.origin, first.entry) != (source.origin, source.entry):
            raise UserError(
                f"two methods are called '{source.name}': one from {first.origin}, one from {source.origin}"
            )
        self.sources[source.name] = source

    def get(self, name: str) -> Source:
        """The source of a method, or a UserError with a did-you-mean."""
        if name not in self.sources:
            raise UserError(f"unknown method '{name}'{did_you_mean(name, self.sources)}")
        return self.sources[name]

    def choose(self, text: str, blocks: Sequence[int] | None = None) -> list[Chosen]:
        """Parse ``pabee[patience=3],lgvit`` (or ``all``) and check every option.

        ``all`` means every method that can be imported; the others are set aside in ``broken``. With ``blocks`` every
        method that has an option of that name, and was not given it, gets its exits there.

        Raises:
            UserError: unknown method, option or value; a method twice; a method asked for that cannot be imported.
        """
        names = self._importable() if text.strip() == "all" else split_list(text)
        if "all" in names:
            raise UserError("'all' is every method already: name it alone, or name the methods")
        if not names:
            raise UserError("no method asked for; name one or more, or 'all'")
        chosen = [self._choose(name, blocks) for name in names]
        labels = [c.label for c in chosen]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise UserError(f"method asked for twice: {', '.join(sorted(twice))}")
        return chosen

    def _importable(self) -> list[str]:
        names = []
        for name, source in self.sources.items():
            try:
                if name in self.deadly:
                    raise UserError(self.deadly[name])
                source.load()
                names.append(name)
            except UserError as error:
                self.broken[name] = str(error)
        return names

    def _choose(self, text: str, blocks: Sequence[int] | None) -> Chosen:
        name, bracket, rest = text.partition("[")
        name = name.strip()
        if bracket and not rest.endswith("]"):
            raise UserError(f"'{text}': the options' closing bracket is missing")
        return make_chosen(text, self.get(name).load(), blocks)


def _methods_in(plugin: Plugin) -> list[type[Method]]:
    from eebench.api import Method

    found = brought_by(plugin)
    methods = [thing for thing in found[GROUP] if issubclass(thing, Method) and getattr(thing, "name", None)]
    if not methods and not any(things for group, things in found.items() if group != GROUP):
        raise UserError(f"plugin {origin_of(plugin)} defines no eebench.api.Method with a name")
    return methods
