"""The page of several runs: the answer, mean ranks, speed-up at equal score, pairs, clocks, and each run's report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from eebench.report.answer import Answer
from eebench.report.folder import check_folder, staged
from eebench.report.frames import BACKBONE, STATIC
from eebench.report.markdown import sections_markdown
from eebench.report.matrix import Matrix, Ranking, machine_of
from eebench.report.matrix_figure import rank_figure
from eebench.report.matrix_sections import sections_of
from eebench.report.matrix_tables import matrix_tables
from eebench.report.pages import Page, html
from eebench.report.style import COLUMN, PAGE, TEXT, style
from eebench.report.svg import inline, save, save_pdf
from eebench.report.targets import target
from eebench.report.text import listed

__all__ = ["matrix_answer", "matrix_values", "render_matrix"]

_SMOKE = "smoke"


def render_matrix(matrix: Matrix, out_dir: Path, reports: Path) -> dict[str, Path]:
    """Write report.html, report.md, figures/ and tables/ of several runs to ``out_dir``.

    The same runs give the same bytes; the folder is exchanged whole, as that of one run's report.

    Args:
        matrix: the runs.
        out_dir: the page's folder.
        reports: where each run's own report lies, in a folder of its name; the page links to those beside it.

    Raises:
        UserError: ``out_dir`` cannot be written to, or holds files that no report put there.
    """
    check_folder(out_dir)
    with staged(out_dir) as stage:
        _build(matrix, stage, _links(matrix, out_dir, reports))
    return {path.relative_to(out_dir).as_posix(): path for path in sorted(out_dir.rglob("*")) if path.is_file()}


def matrix_answer(matrix: Matrix) -> Answer:
    """What the runs say together, in a sentence that may refuse.

    ``kind`` is rule, simple or plain after what ranks first, unknown where nothing is told apart.
    """
    ranking = matrix.ranking(matrix.main)
    names = [matrix.labels.get(method, method) for method in ranking.methods]
    where = f"{len(matrix.tasks)} tasks on {len({task.data for task in matrix.tasks})} data sets"
    trust = _trust(matrix, ranking)
    if _SMOKE in matrix.budgets:
        says = "Cannot tell: the budget smoke trains too little to rank anything. It shows that everything runs."
        return Answer("unknown", says, trust)
    best = ranking.methods[0]
    kind = {BACKBONE: "plain", STATIC: "simple"}.get(best, "rule")
    at = f"at {target(matrix.main).title}"
    if ranking.difference is None:
        says = f"Cannot tell for other data: {names[0]} has the best mean rank {at} over {where}; {ranking.why}."
        return Answer("unknown", says, trust)
    if not ranking.apart:
        says = f"Cannot tell: over {where} nobody ranks apart {at} (Friedman p = {ranking.difference.p:.2g})."
        return Answer("unknown", says, trust)
    tied = next((group for group in ranking.difference.groups if 0 in group), (0,))
    others = [names[i] for i in tied if i]
    says = f"{names[0]} ranks first {at} over {where}, mean rank {ranking.ranks[0]:.2f}"
    says += f"; not told apart from {listed(others)}." if others else "."
    return Answer(kind, says, trust, (best, ""), tuple(ranking.methods[i] for i in tied if i))


def matrix_values(matrix: Matrix) -> dict[str, Any]:
    """The page as plain values, for a program that reads them."""
    found, tables = matrix_answer(matrix), matrix_tables(matrix)
    values = {name: _plain(getattr(tables, name)) for name in ("runs", "ranks", "standings", "pairs", "clocks")}
    answer = {"kind": found.kind, "sentence": found.sentence, "trust": found.trust}
    return {
        "name": matrix.name,
        "target": matrix.main,
        "answer": answer,
        "unfinished": list(matrix.unfinished),
        **values,
    }


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.to_dict("records")
    return [
        {str(k): None if isinstance(v, float) and math.isnan(v) else v.item() if hasattr(v, "item") else v
         for k, v in row.items()} for row in rows
    ]  # fmt: skip


def _trust(matrix: Matrix, ranking: Ranking) -> str:
    parts = []
    if ranking.difference is not None:
        parts.append(
            f"Friedman p = {ranking.difference.p:.2g}, critical difference {ranking.difference.difference:.2f} ranks"
            f" over {ranking.difference.blocks} data sets (tasks of one data set count as one)."
        )
    seeds = sorted({len(record.seeds) for record in matrix.records})
    parts.append(f"Seeds a run: {listed([str(count) for count in seeds])}.")
    metrics = {record.metric for record in matrix.records}
    if len(metrics) > 1:
        parts.append(f"Metrics differ between data sets ({listed(sorted(metrics))}): ranks are compared, never scores.")
    machines = {machine_of(record) for record in matrix.records}
    if len(machines) > 1:
        parts.append(f"{len(machines)} kinds of machine: ranks go by MACs and scores, clocks stand side by side.")
    if ranking.left_out:
        left = [matrix.labels.get(method, method) for method in ranking.left_out]
        parts.append(f"Not ranked, some task having no result of them: {listed(left)}.")
    if matrix.unfinished:
        parts.append(f"Runs without a record yet: {len(matrix.unfinished)}.")
    return " ".join(parts)


def _build(matrix: Matrix, stage: Path, links: Sequence[tuple[str, str]]) -> None:
    for name in ("figures", "tables"):
        (stage / name).mkdir()
    stage.chmod(0o755)
    tables = matrix_tables(matrix)
    for name in ("standings", "ranks", "pairs", "clocks", "runs"):
        getattr(tables, name).to_csv(stage / "tables" / f"{name}.csv", index=False, float_format="%.9g")
    found = matrix_answer(matrix)
    page = Page(
        f"Early exit over {len(matrix.tasks)} tasks: {matrix.name}", f"{matrix.name}, {len(matrix.records)} runs", []
    )
    drawn = _draw(matrix, stage / "figures", page)
    sections = sections_of(matrix, tables, found, links, drawn=drawn)
    page = Page(page.title, page.run, sections, page.svgs, page.classes, page.tips)
    (stage / "report.html").write_text(html(page), encoding="utf-8")
    (stage / "report.md").write_text(sections_markdown(page.title, sections), encoding="utf-8")


def _draw(matrix: Matrix, folder: Path, page: Page) -> bool:
    ranking = matrix.ranking(matrix.main)
    if ranking.difference is None:
        return False
    with style(PAGE):
        svg = save(rank_figure(matrix, ranking, PAGE), folder, "ranks")
        page.svgs["ranks"] = inline(svg, "ranks", "f0", page.classes)
    for medium in (TEXT, COLUMN):
        with style(medium):
            save_pdf(rank_figure(matrix, ranking, medium), folder, f"ranks-{medium.name}")
    return True


def _links(matrix: Matrix, out_dir: Path, reports: Path) -> list[tuple[str, str]]:
    found = []
    for record in matrix.records:
        name = record.path.name
        if (reports / name / "report.html").is_file() and reports.resolve() == out_dir.parent.resolve():
            found.append((name, f"../{name}/report.html"))
    return found
