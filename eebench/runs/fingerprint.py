"""What code made a cell: a finished cell is reused only while the code that would make it again is the same."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import CodeType

from eebench.api import Backbone, Method

__all__ = ["ENGINE", "engine_sha256", "method_sha256"]

ENGINE = (
    "api.py", "backbones", "data", "engine", "measure/quality.py", "parts.py", "rules.py", "runs/making.py",
    "runs/prepare.py", "runs/recipes.py", "runs/released.py", "runs/spec.py", "runs/workshop.py",
)  # fmt: skip
"""What trains, traces and counts. Scoring, timing and reporting are not here: they are done anew in every run."""


@cache
def engine_sha256() -> str:
    """Fingerprint of eebench's own code that a cell's content depends on."""
    here = Path(__file__).parents[1]
    parts = [here / part for part in ENGINE]
    return _sha256(file for part in parts for file in (part.rglob("*.py") if part.is_dir() else [part]))


def method_sha256(cls: type[Method | Backbone]) -> str:
    """Fingerprint of the source of a method, or of a stranger's backbone, so that a changed one is retrained.

    Its file, or every .py of its folder, and whatever else of its own top-level package these use. A class typed into a
    notebook or a prompt has no file: its compiled functions stand for it.
    """
    try:
        path = Path(inspect.getfile(cls))
    except (OSError, TypeError):
        return _code_sha256(cls)
    files = {path, *(path.parent.glob("*.py") if (path.parent / "__init__.py").exists() else ())}
    found: set[str] = set()
    todo = [cls.__module__]
    while todo:
        name = todo.pop()
        if name in found or name not in sys.modules:
            continue
        found.add(name)
        files.add(Path(sys.modules[name].__file__ or path))
        used = vars(sys.modules[name]).values()
        homes = {thing.__name__ if inspect.ismodule(thing) else getattr(thing, "__module__", None) for thing in used}
        todo += [h for h in homes if isinstance(h, str) and h.partition(".")[0] == cls.__module__.partition(".")[0]]
    return _sha256(files)


def _code_sha256(cls: type) -> str:
    """Of a class without a source file: its own functions, and those of its bases that have none either."""
    digest = hashlib.sha256()

    def add(code: CodeType) -> None:
        digest.update(code.co_code + repr(code.co_names).encode())
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                add(constant)
            else:
                digest.update(repr(constant).encode())

    for base in (base for base in cls.__mro__ if base.__module__ == cls.__module__):
        for name, thing in sorted(vars(base).items()):
            function = getattr(thing, "__func__", thing)
            digest.update(name.encode())
            if inspect.isfunction(function):
                add(function.__code__)
            elif not name.startswith("_"):
                digest.update(repr(thing).encode())
    return digest.hexdigest()


def _sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
