"""A rule that is no data as a small Python file: its own ``step``, cut out of its source, with what it refers to."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from eebench.api import ExitRule
from eebench.errors import UserError

__all__ = ["RULE", "rule_source"]

RULE = "rule.py"
LIBRARIES = ("numpy", "math")
"""What a deployed rule may import."""

HEADER = '''"""Exit rule {name}, as eebench ran it: ``Rule().step(state, seen, knob)``. numpy alone."""

from __future__ import annotations
'''


def rule_source(rule: ExitRule) -> str:
    """A module with a class ``Rule`` whose ``step`` is the rule's.

    Raises:
        UserError: ``step`` uses more than numpy, math, its class's methods, functions of its module, and data.
    """
    found = _Cutting(rule)
    step = found.method("step")
    body = [*found.attributes(), *step, *found.methods()]
    parts = [HEADER.format(name=type(rule).__qualname__), *found.imports(), "", *found.others(), "", "class Rule:"]
    text = "\n".join([*parts, *(textwrap.indent(part, "    ") for part in body)]) + "\n"
    try:
        compile(text, RULE, "exec")
    except SyntaxError as error:
        raise found.refuse(f"its source cannot be cut out ({error.msg})") from None
    return text


class _Cutting:
    """What has been found so far that ``step`` needs."""

    def __init__(self, rule: ExitRule) -> None:
        self.rule = rule
        self._methods: dict[str, str] = {}
        self._functions: dict[str, str] = {}
        self._constants: dict[str, str] = {}
        self._imports: dict[str, str] = {}
        self._attributes: dict[str, str] = {}

    def refuse(self, why: str) -> UserError:
        name = type(self.rule).__qualname__
        return UserError(f"the exit rule {name} cannot be exported: {why}; it may use numpy, math and data")

    def imports(self) -> list[str]:
        return sorted(self._imports.values())

    def others(self) -> list[str]:
        return [*(f"{name} = {text}" for name, text in self._constants.items()), *self._functions.values()]

    def attributes(self) -> list[str]:
        self.method("step")
        return [f"{name} = {text}" for name, text in self._attributes.items()]

    def methods(self) -> list[str]:
        return [text for name, text in self._methods.items() if name != "step"]

    def method(self, name: str) -> list[str]:
        """Source of one of the rule's methods; what it refers to is cut out as well."""
        if name not in self._methods:
            function = inspect.getattr_static(type(self.rule), name)
            kind = function.__func__ if isinstance(function, (staticmethod, classmethod)) else function
            if not isinstance(kind, FunctionType):
                raise self.refuse(f"{name} is no plain method")
            self._methods[name] = ""
            self._methods[name] = self._source(kind)
        return [self._methods[name]]

    def _source(self, function: Callable[..., Any]) -> str:
        try:
            text = textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError):
            raise self.refuse("its source is not there") from None
        used = inspect.getclosurevars(function)
        if used.nonlocals:
            raise self.refuse(f"it refers to {', '.join(sorted(used.nonlocals))} of the function or class around it")
        tree = ast.parse(text)
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for name, value in used.globals.items():
            if name in names:
                self._global(name, value)
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                raise self.refuse("it imports something inside a function")
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                if isinstance(node.ctx, ast.Store):
                    raise self.refuse(f"it keeps self.{node.attr} between calls; keep it in the state that it returns")
                self._attribute(node.attr)
        return text

    def _attribute(self, name: str) -> None:
        static = inspect.getattr_static(type(self.rule), name, None)
        if isinstance(static, (FunctionType, staticmethod)):
            self.method(name)
            return
        self._attributes[name] = self._literal(getattr(self.rule, name), f"self.{name}")

    def _global(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType):
            if value.__name__.partition(".")[0] not in LIBRARIES:
                raise self.refuse(f"it uses {value.__name__}")
            self._imports[name] = f"import {value.__name__} as {name}"
        elif isinstance(value, FunctionType) and value.__module__ == type(self.rule).__module__:
            if name not in self._functions:
                self._functions[name] = ""
                self._functions[name] = self._source(value)
        elif (home := getattr(value, "__module__", None) or "").partition(".")[0] in LIBRARIES:
            self._imports[name] = f"from {home} import {value.__name__} as {name}"
        else:
            self._constants[name] = self._literal(value, name)

    def _literal(self, value: Any, what: str) -> str:
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            self._imports["np"] = "import numpy as np"
            return f"np.array({self._literal(value.tolist(), what)}, dtype={value.dtype.name!r})"
        if isinstance(value, np.generic):
            return self._literal(value.item(), what)
        if isinstance(value, float) and not math.isfinite(value):
            return f"float({str(value)!r})"
        if value is None or isinstance(value, (bool, int, float, str)):
            return repr(value)
        if isinstance(value, (tuple, list)):
            inner = ", ".join(self._literal(each, what) for each in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
        if isinstance(value, Mapping):
            pairs = (f"{self._literal(k, what)}: {self._literal(v, what)}" for k, v in value.items())
            return f"{{{', '.join(pairs)}}}"
        raise self.refuse(f"{what} is a {type(value).__name__}, no data")
