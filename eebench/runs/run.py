"""A run, from Python."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eebench.plugins.trial import tried_registry
from eebench.progress import Reporter
from eebench.runs.anywhere import execute
from eebench.runs.execution import asked
from eebench.runs.finished import read
from eebench.runs.given import named
from eebench.runs.how import Execution
from eebench.runs.mistaken import refuse_texts
from eebench.runs.spec import RunSpec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["run"]


def run(
    spec: RunSpec | None = None,
    *,
    results: str | Path = "results",
    plugins: Sequence[str | Path | type] | None = None,
    force: bool = False,
    repair: bool = True,
    samples: bool = True,
    quiet: bool = True,
    how: Execution | None = None,
    runtimes: Sequence[str] = (),
    **values: Any,
) -> dict[str, pd.DataFrame]:
    """Run a benchmark from Python.

    Args:
        spec: what to run; or give its fields as keywords: ``run(methods=("pabee",), budget="smoke")``.
        results: folder of run directories.
        plugins: files with further methods, data sets and backbones, or such classes themselves.
        force: redo finished cells.
        repair: set damaged cells aside and make them again, rather than refuse them.
        samples: keep a few test samples in the record for the report; False for private data.
        quiet: no progress.
        how: in workers, in this process or by a cluster's tasks; no result depends on it.
        runtimes: what to time in beside eager PyTorch, on the CPU: ``compile``, ``onnxruntime``.
        **values: fields of a RunSpec, when ``spec`` is not given. In place of a name, ``methods`` takes ``Method``
            classes, ``backbone`` a ``Backbone`` class or a network made (which starts with the weights it has), and
            ``dataset`` a ``DataSet`` class or a ``Data`` object, such as ``eebench.data.from_arrays`` makes.

    Returns:
        The run's tables by name (see ``eebench.schema.TABLES``) as data frames; ``.attrs["path"]`` of each is the run
        directory, ``.attrs["failed"]`` the methods that failed and why, which is warned of as well.

    Raises:
        UserError: anything wrong with the input, before any work is done.
    """
    from eebench.runs.spec import make_spec

    if spec is not None and values:
        raise TypeError("give a spec or its fields, not both")
    values, brought = named(values, [Path(p) if isinstance(p, str) else p for p in plugins or []])
    spec = spec or make_spec(**values)
    refuse_texts(spec.dataset)
    outcome = execute(
        spec,
        tried_registry(brought, asked(spec), (spec.dataset, spec.backbone)),
        Path(results),
        reporter=Reporter(quiet=quiet),
        force=force,
        repair=repair,
        samples=samples,
        how=how,
        runtimes=runtimes,
    )
    for cell in outcome.failed:
        warnings.warn(f"{cell['label']} seed {cell['seed']} failed: {cell['reason']}", RuntimeWarning, stacklevel=2)
    return read(outcome.path)
