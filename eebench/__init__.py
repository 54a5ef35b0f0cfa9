"""eebench: fair, honest benchmarks of early-exit methods for transformers.

>>> import eebench
>>> tables = eebench.run(eebench.make_spec(methods=("pabee",), budget="smoke"))  # doctest: +SKIP
>>> tables["operating_points"]  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eebench.errors import UserError
    from eebench.exchange.exporting import export_predictions
    from eebench.exchange.importing import import_predictions
    from eebench.runs.deployed import load
    from eebench.runs.finished import read
    from eebench.runs.runner import run
    from eebench.runs.spec import RunSpec, make_spec
    from eebench.runs.tune import tune

    __version__: str

__all__ = [
    "RunSpec", "UserError", "__version__", "export_predictions", "import_predictions", "load", "make_spec", "read",
    "run", "tune",
]  # fmt: skip

_HOME = {
    "RunSpec": "runs.spec", "UserError": "errors", "export_predictions": "exchange.exporting",
    "import_predictions": "exchange.importing", "load": "runs.deployed", "make_spec": "runs.spec",
    "read": "runs.finished", "run": "runs.runner", "tune": "runs.tune",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load the public names when they are first used: importing eebench alone costs nothing."""
    if name == "__version__":
        return version("eebench")
    if name not in _HOME:
        raise AttributeError(f"module 'eebench' has no attribute {name!r}")
    return getattr(import_module(f"eebench.{_HOME[name]}"), name)
