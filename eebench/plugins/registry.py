"""Finding methods: entry points of the group ``eebench.methods`` and ``--plugin path.py`` files.

Listing imports no method, so it is fast and a broken plugin cannot hurt the others; loading imports just the one asked
for. What a person types, ``pabee[patience=3]``, is parsed and checked here.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import math
import re
import sys
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from eebench.discovery import contents, import_file
from eebench.errors import UserError, did_you_mean
from eebench.schema import BACKBONE, STATIC

if TYPE_CHECKING:
    from eebench.api import ExitRule, Method, Task

__all__ = ["GROUP", "Chosen", "Registry", "Source", "split_list"]

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
        return f"method '{self.name}' ({self.origin}) cannot be imported: {type(error).__name__}: {_one_line(error)}"

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


@dataclass(frozen=True)
class Chosen:
    """A method as asked for: made from its options, and the knob if the person pinned it."""

    label: str  # canonical: name, or name[key=value,…]
    method: Method
    pinned: float | None = None
    knob: str | None = None  # what the pinned knob was called
    trained: str = ""  # the label without a pinned knob: what training depends on

    def __post_init__(self) -> None:
        if not self.trained:
            object.__setattr__(self, "trained", self.label)

    def rule(self, task: Task) -> ExitRule:
        """The method's exit rule, which must have the knob that was pinned.

        Raises:
            UserError: it has another one, the value is none the knob can have, or the method cannot make its rule.
        """
        name = self.label.partition("[")[0]
        try:
            rule = self.method.rule(task)
            own = rule.knob
        except UserError:
            raise
        except Exception as error:  # a stranger's rule may raise anything
            raise UserError(f"method '{name}': its rule() raised {type(error).__name__}: {_one_line(error)}") from error
        if self.knob is not None and self.knob != own.name:
            raise _no_option(name, self.knob, [*_options(type(self.method)), own.name])
        if self.pinned is not None and own.integer and self.pinned != int(self.pinned):
            raise UserError(f"method '{name}': {own.name}={self.pinned:g} is not a whole number")
        return rule


@dataclass
class Registry:
    """Every method there is, by name."""

    sources: dict[str, Source] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)  # plugin files and methods set aside, and why
    files: list[Path] = field(default_factory=list)  # plugin files, which may bring data sets and backbones as well

    @classmethod
    def installed(cls, plugins: list[Path] | None = None) -> Registry:
        """Entry points first, then plugin files; a plugin file that fails is set aside in ``broken``.

        Raises:
            UserError: two sources bring the same name.
        """
        registry = cls(files=list(plugins or []))
        for entry in entry_points(group=GROUP):
            dist = entry.dist
            origin = f"{dist.name} {dist.version}" if dist else entry.value
            registry._add(Source(entry.name, origin, entry))
        for path in plugins or []:
            try:
                methods = _methods_in(path)
            except UserError as error:
                registry.broken[str(path)] = str(error)
                continue
            for method in methods:
                registry._add(Source(method.name, str(path), cls=method))
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

    def choose(self, text: str) -> list[Chosen]:
        """Parse ``pabee[patience=3],lgvit`` (or ``all``) and check every option.

        ``all`` means every method that can be imported; the others are set aside in ``broken``.

        Raises:
            UserError: unknown method, option or value; a method twice; a method asked for that cannot be imported.
        """
        names = self._importable() if text.strip() == "all" else split_list(text)
        if not names:
            raise UserError("no method asked for; name one or more, or 'all'")
        chosen = [self._choose(name) for name in names]
        labels = [c.label for c in chosen]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise UserError(f"method asked for twice: {', '.join(sorted(twice))}")
        return chosen

    def _importable(self) -> list[str]:
        names = []
        for name, source in self.sources.items():
            try:
                source.load()
                names.append(name)
            except UserError as error:
                self.broken[name] = str(error)
        return names

    def _choose(self, text: str) -> Chosen:
        name, bracket, rest = text.partition("[")
        name = name.strip()
        if bracket and not rest.endswith("]"):
            raise UserError(f"'{text}': the options' closing bracket is missing")
        cls = self.get(name).load()
        fault = _fault_of(cls)
        if fault is not None:
            raise UserError(f"method '{name}' {fault}")
        pairs = [_pair(item, text) for item in split_list(rest.removesuffix("]"))] if bracket else []
        typed = dict(pairs)
        if len(typed) < len(pairs):
            raise UserError(f"'{text}': an option is given twice")
        return _checked(name, cls, typed)


def split_list(text: str) -> list[str]:
    """Split at commas outside square brackets; empty items vanish."""
    items, depth, current = [], 0, ""
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            items.append(current)
            current = ""
        else:
            current += char
    return [item.strip() for item in [*items, current] if item.strip()]


def _pair(item: str, text: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals:
        raise UserError(f"'{text}': option '{item}' has no value; write {item}=VALUE")
    return key.strip(), value.strip()


def _checked(name: str, cls: type[Method], typed: dict[str, str]) -> Chosen:
    options = _options(cls)
    method = _made(name, cls, {key: value for key, value in typed.items() if key in options})
    knobs = {key: _number(name, key, value, options) for key, value in typed.items() if key not in options}
    if len(knobs) > 1:
        raise _no_option(name, min(knobs), options)
    labels = [
        name + (f"[{','.join(f'{k}={typed[k]}' for k in keys)}]" if keys else "")
        for keys in (sorted(typed), sorted(typed.keys() & set(options)))
    ]
    knob, pinned = next(iter(knobs.items()), (None, None))
    return Chosen(labels[0], method, pinned, knob, trained=labels[1])


def _options(cls: type[Method]) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _no_option(name: str, key: str, known: list[str]) -> UserError:
    return UserError(f"method '{name}' has no option '{key}'{did_you_mean(key, known)}")


def _number(name: str, key: str, value: str, options: list[str]) -> float:
    """What was typed for something that is no option, and so can only be the knob."""
    try:
        pinned = float(value)
    except ValueError:
        near = did_you_mean(key, options)
        known = near if near.startswith("; did you mean") else f", and as its rule's knob {value} is no number{near}"
        raise UserError(f"method '{name}' has no option '{key}'{known}") from None
    if not math.isfinite(pinned):
        raise UserError(f"method '{name}': {key}={value} is not a finite number")
    return pinned


def _made(name: str, cls: type[Method], typed: dict[str, str]) -> Method:
    """The method with its options, from what was typed."""
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    try:
        hints = get_type_hints(cls)
        adapter = TypeAdapter(cls)
    except (AttributeError, NameError, TypeError, PydanticUserError) as error:
        raise UserError(f"method '{name}': its options cannot be read: {_one_line(error)}") from error
    try:
        method = adapter.validate_python({key: _raw(value, hints[key]) for key, value in typed.items()})
    except ValidationError as error:
        first = error.errors()[0]
        key = next((str(place) for place in first["loc"] if place in typed), None)
        if key is None:  # of __post_init__, or an option without a default
            raise UserError(f"method '{name}': {_whole(first)}") from None
        raise UserError(f"method '{name}': option {key}={typed[key]} is not valid: {first['msg']}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"method '{name}': {_one_line(error)}") from None
    for key, value in typed.items():
        held = getattr(method, key)
        if isinstance(held, float) and not math.isfinite(held):
            raise UserError(f"method '{name}': option {key}={value} is not a finite number")
    return method


def _raw(value: str, hint: Any) -> Any:
    """What was typed as pydantic takes it: ``none``, and tuples as ``4+6+8``."""
    kinds = (hint, *get_args(hint))
    if value.lower() == "none" and type(None) in kinds:
        return None
    return value.split("+") if any(get_origin(kind) is tuple for kind in kinds) else value


def _whole(error: Any) -> str:
    """What was wrong with the options as a whole."""
    if error["type"] == "missing":
        return f"option {error['loc'][0]} has no default and must be given"
    return _one_line(error.get("ctx", {}).get("error") or error["msg"])


def _fault_of(cls: type[Method]) -> str | None:
    """What makes a class no method, as far as can be seen before it is made."""
    from eebench.api import Method
    from eebench.plugins.needs import NEEDS

    options = _options(cls)
    declared = [key for key, hint in vars(cls).get("__annotations__", {}).items() if "ClassVar" not in str(hint)]
    if set(declared) - set(options):
        return f"has options, so put @dataclass(frozen=True) above class {cls.__name__}"
    hidden = [key for key in options if hasattr(Method, key)]
    if hidden:
        return f"has an option '{hidden[0]}', a name that every method uses otherwise"
    strange = sorted(set(cls.needs) - set(NEEDS))
    if strange:
        return f"needs '{strange[0]}'{did_you_mean(strange[0], NEEDS)}"
    return None


def _methods_in(path: Path) -> list[type[Method]]:
    from eebench.api import Method

    found = contents(import_file(path))
    methods = [thing for thing in found[GROUP] if issubclass(thing, Method) and getattr(thing, "name", None)]
    if not methods and not any(things for group, things in found.items() if group != GROUP):
        raise UserError(f"plugin {path} defines no eebench.api.Method with a name")
    return methods


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"
