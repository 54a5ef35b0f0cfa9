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
    from eebench.runs.exporting import export
    from eebench.runs.finished import read
    from eebench.runs.run import run
    from eebench.runs.spec import RunSpec, make_spec
    from eebench.runs.tune import tune
    from eebench.studies.comparing import compare_runs as compare
    from eebench.studies.frames import open_frames as open  # noqa: A004
    from eebench.studies.merging import merge
    from eebench.studies.run import run_study_file as run_study

    __version__: str

__all__ = [
    "RunSpec", "UserError", "__version__", "compare", "export", "export_predictions", "import_predictions", "load",
    "make_spec", "merge", "open", "read", "run", "run_study", "tune",
]  # fmt: skip

_HOME = {  # public name: where it is, and what it is called there if otherwise
    "RunSpec": "runs.spec", "UserError": "errors", "compare": "studies.comparing:compare_runs",
    "export": "runs.exporting", "export_predictions": "exchange.exporting",
    "import_predictions": "exchange.importing", "load": "runs.deployed", "make_spec": "runs.spec",
    "merge": "studies.merging", "open": "studies.frames:open_frames", "read": "runs.finished", "run": "runs.run",
    "run_study": "studies.run:run_study_file", "tune": "runs.tune",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load the public names when they are first used: importing eebench alone costs nothing."""
    if name == "__version__":
        return version("eebench")
    if name not in _HOME:
        raise AttributeError(f"module 'eebench' has no attribute {name!r}")
    home, _, own = _HOME[name].partition(":")
    return getattr(import_module(f"eebench.{home}"), own or name)
