"""``eebench compare``: runs and studies gathered, and their page written beside each run's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from eebench.report import render
from eebench.report.matrix import Matrix, load_matrix
from eebench.report.matrix_page import render_matrix
from eebench.studies.record import runs_of

__all__ = ["compare", "compare_runs", "gathered"]


def gathered(paths: Sequence[Path], name: str = "") -> Matrix:
    """The runs behind some paths, checked for whether they may be compared.

    Args:
        paths: run directories and folders of studies; a run that is named by itself and by its study counts once.
        name: of the whole; the study's own when it is one study, else ``comparison``.

    Raises:
        UserError: see :func:`eebench.report.matrix.load_matrix`.
    """
    found = [runs_of(path) for path in paths]
    runs = [run for one in found for run in one.runs]
    if len(found) > 1:
        singles = [
            one.runs[0].resolve() for one, path in zip(found, paths, strict=True) if (path / "run.json").exists()
        ]
        if len(set(singles)) == len(singles):  # two folders of studies may share runs, a run named twice is a slip
            runs = list({run.resolve(): run for run in runs}.values())
    own = found[0].name if len(found) == 1 else "comparison"
    return load_matrix(name or own, runs, [missing for one in found for missing in one.unfinished])


def compare(matrix: Matrix, reports: Path) -> dict[str, Path]:
    """Write the page of several runs, and each run's own report where there is none that is newer than its run.

    Args:
        matrix: the runs.
        reports: folder of rendered reports; the page's folder there has the name of the whole.

    Returns:
        The page's files by their relative names.
    """
    for record in matrix.records:
        own = reports / record.path.name / "report.html"
        if not own.is_file() or own.stat().st_mtime < os.stat(record.path / "run.json").st_mtime:
            render(record.path, own.parent)
    return render_matrix(matrix, reports / matrix.name, reports)


def compare_runs(*paths: str | Path, reports: str | Path = "reports", name: str = "") -> dict[str, Path]:
    """Compare runs and studies from Python: the page that ``eebench compare`` writes.

    Args:
        *paths: run directories and folders of studies.
        reports: folder of rendered reports.
        name: of the page's folder; the study's own when it is one study, else ``comparison``.

    Returns:
        Every file of the page by its relative name: ``report.html``, ``tables/ranks.csv``, …

    Raises:
        UserError: what cannot be compared, in one line; nothing is written then.
    """
    return compare(gathered([Path(path) for path in paths], name), Path(reports))
