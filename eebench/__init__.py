"""eebench: fair, honest benchmarks of early-exit methods for transformers.

>>> import eebench
>>> tables = eebench.run(eebench.make_spec(methods=("pabee",), budget="smoke"))  # doctest: +SKIP
>>> tables["operating_points"]  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from eebench.errors import UserError
    from eebench.finished import load, read
    from eebench.runner import run
    from eebench.spec import RunSpec, make_spec

__all__ = ["RunSpec", "UserError", "__version__", "load", "make_spec", "read", "run"]

_HOME = {
    "RunSpec": "spec", "UserError": "errors", "load": "finished", "make_spec": "spec", "read": "finished",
    "run": "runner",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load the public names when they are first used: importing eebench alone costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'eebench' has no attribute {name!r}")
    return getattr(import_module(f"eebench.{_HOME[name]}"), name)
