"""``eebench compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eebench.cli.input import writable
from eebench.cli.options import Json, Reports, Results
from eebench.errors import UserError, did_you_mean


def compare(
    paths: Annotated[list[Path], typer.Argument(help="Runs and studies: folders, or their names under --results.")],
    name: Annotated[
        str, typer.Option("--name", help="Name of the page's folder: the study's own, else 'comparison'.")
    ] = "",
    results: Results = Path("results"),
    reports: Reports = Path("reports"),
    as_json: Json = False,
) -> None:
    """Several runs on one page: mean ranks with a test, speed-up at equal score, pairs, clocks machine by machine."""
    from eebench.studies.comparing import compare as work
    from eebench.studies.comparing import gathered

    folders = [_folder(path, results) for path in paths]
    matrix = gathered(folders, name)
    if as_json:
        from eebench.report.matrix_page import matrix_values

        typer.echo(json.dumps(matrix_values(matrix), indent=1, ensure_ascii=False))
        return
    writable("--reports", reports)
    written = work(matrix, reports)
    print_matrix(matrix)
    for file in ("report.md", "report.html"):
        typer.echo(f"report: {written[file]}")
    from eebench.report.matrix_page import matrix_answer

    found = matrix_answer(matrix)
    typer.echo(f"{found.sentence}\n{found.trust}")


def print_matrix(matrix: object) -> None:
    """Mean ranks at every target."""
    from rich.console import Console
    from rich.table import Table

    from eebench.report.matrix import Matrix
    from eebench.report.targets import target

    assert isinstance(matrix, Matrix)
    table = Table("method", *(target(name).title for name in matrix.targets), box=None, pad_edge=False)
    found = {
        name: dict(zip(of.methods, of.ranks, strict=True))
        for name in matrix.targets
        for of in [matrix.ranking(name)]
    }  # fmt: skip
    for method in found[matrix.main]:
        ranks = [f"{found[name][method]:.2f}" if method in found[name] else "" for name in matrix.targets]
        table.add_row(matrix.labels.get(method, method), *ranks)
    console = Console(markup=False, highlight=False)
    console.print(f"{matrix.name}: mean ranks over {len(matrix.tasks)} tasks")
    console.print(table)


def _folder(path: Path, results: Path) -> Path:
    """The run or study itself, or that of the name under ``results``."""
    for found in (path, results / path):
        if (found / "run.json").exists() or (found / "study.json").exists():
            return found
    if path.suffix in (".toml", ".yaml", ".yml") and path.is_file():
        from eebench.studies.file import read_study

        found = results / str(read_study(path).name)
        if (found / "study.json").exists():
            return found
        raise UserError(f"{path} was not run here: no {found / 'study.json'}")
    known = [one.parent.name for kind in ("run", "study") for one in results.glob(f"*/{kind}.json")]
    raise UserError(f"no run or study at {path}{did_you_mean(path.name, known)}")
