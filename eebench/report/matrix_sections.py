"""What a page of several runs says: ranks, tasks, pairs, clocks and runs, as blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from eebench.report.answer import Answer
from eebench.report.blocks import AnswerBlock, Block, Figure, Links, Section, Table, Text
from eebench.report.matrix import Matrix
from eebench.report.matrix_tables import MatrixTables
from eebench.report.singles import simple_table
from eebench.report.targets import target
from eebench.report.text import DASH, number, one_line, times

__all__ = ["sections_of"]


def sections_of(
    matrix: Matrix, tables: MatrixTables, found: Answer, links: Sequence[tuple[str, str]], *, drawn: bool
) -> list[Section]:
    """The page, in the order of the reader's questions.

    Args:
        matrix: the runs.
        tables: of them.
        found: the answer.
        links: each run's own report, by name.
        drawn: whether there is a diagram of ranks.
    """
    first: list[Block] = [AnswerBlock(found.kind, found.sentence, found.trust)]
    if drawn:
        caption = "Mean rank over data sets, 1 the best. A bar joins ranks within Nemenyi's critical difference."
        name = f"Mean ranks, {target(matrix.main).title}"
        first.append(Figure("ranks", name, caption, f"ranks-{matrix.main}", "ranks", "ranks"))
    how = (
        "Ranked within each task: by multiply-accumulates saved where the target limits the loss, by score where it"
        " limits a cost. Whoever did not keep the target, or stops at exits that never learnt, shares the last rank."
        " Tasks of one data set are averaged first, since they are not independent."
    )
    ranks: list[Block] = [Text(how), *(_rank_table(matrix, tables, name) for name in matrix.targets)]
    speed: list[Block] = [_speed_table(matrix, name) for name in matrix.targets]
    return [
        Section("answer", "The answer", first, summary=True),
        Section("ranks", "Mean ranks", ranks),
        Section("tasks", "Task by task", [Text("† the target was not kept, or exits that never learnt."), *speed]),
        Section("pairs", "Pair by pair", [_pair_table(matrix, name) for name in matrix.targets]),
        Section("clocks", "The clock, machine by machine", [Text(_CLOCK), _clock_table(tables)]),
        Section("runs", "The runs", [_run_table(tables), *([Links("Each run's report", links)] if links else [])]),
    ]


_CLOCK = (
    "Speed-ups over the plain backbone of the same run and machine, batch 1. Times of different machines are set side"
    " by side; nothing is ranked across them."
)


def _rank_table(matrix: Matrix, tables: MatrixTables, name: str) -> Table:
    rows = tables.ranks[tables.ranks["target"] == name]
    test = matrix.ranking(name)
    what = test.why if test.difference is None else (
        f"Friedman p = {test.difference.p:.2g}, critical difference {test.difference.difference:.2f}"
    )  # fmt: skip
    cells = [[row["label"], round(float(row["mean_rank"]), 2), row["group"] or DASH] for _, row in rows.iterrows()]
    table = simple_table(f"ranks-{name}", f"{target(name).title}: {what}.", ["Method", "Mean rank", "Group"], cells)
    return Table(table.id, table.caption, table.columns, table.rows, choice=target(name).title)


def _speed_table(matrix: Matrix, name: str) -> Table:
    """Methods down, tasks across: speed-up where the target limits the loss, else the score."""
    rows = matrix.standings(name)
    by_score = target(name).kind != "drop"
    titles = [task.title for task in matrix.tasks]
    cells = []
    for method in dict.fromkeys(rows["method"]):
        own = rows[rows["method"] == method].set_index("task")
        line: list[Any] = [matrix.labels.get(method, method)]
        for title in titles:
            line.append(_entry(own.loc[title], by_score=by_score) if title in own.index else DASH)
        kept = own[own["ranks"]]
        if not by_score:
            mean = float(np.exp(np.log(kept["speedup_macs"]).mean())) if len(kept) else math.nan
            line.append(f"{times(mean)} ({len(kept)} of {len(titles)})")
        cells.append(line)
    what = "test score × 100" if by_score else "MACs speed-up"
    names = ["Method", *titles, *([] if by_score else ["Geometric mean where kept"])]
    table = simple_table(f"tasks-{name}", f"{target(name).title}: {what}.", names, cells)
    return Table(table.id, table.caption, table.columns, table.rows, choice=target(name).title)


def _entry(row: Any, *, by_score: bool) -> str:
    mark = "" if row["ranks"] else " †"
    if by_score:
        return f"{number(100 * row['score'], 1)}{mark}"
    low, high = row["speedup_macs_low"], row["speedup_macs_high"]
    ends = f" [{number(low)}, {number(high)}]" if math.isfinite(low) and math.isfinite(high) else ""
    return f"{times(row['speedup_macs'])}{ends}{mark}"


def _pair_table(matrix: Matrix, name: str) -> Table:
    """Wins, ties and losses of the method in the row against that in the column."""
    duels = matrix.duels(name)
    methods = [m for m in matrix.ranking(name).methods if m in {*duels["method_a"], *duels["method_b"]}]
    known = {(r["method_a"], r["method_b"]): (r["wins"], r["ties"], r["losses"]) for _, r in duels.iterrows()}
    cells = []
    for a in methods:
        line: list[Any] = [matrix.labels.get(a, a)]
        for b in methods:
            counts = known.get((a, b)) or (known[b, a][::-1] if (b, a) in known else None)
            line.append(DASH if counts is None else "/".join(map(str, counts)))
        cells.append(line)
    caption = f"{target(name).title}: tasks won, tied and lost by the row against the column."
    table = simple_table(f"pairs-{name}", caption, ["Method", *(matrix.labels.get(m, m) for m in methods)], cells)
    return Table(table.id, table.caption, table.columns, table.rows, choice=target(name).title)


def _clock_table(tables: MatrixTables) -> Table:
    cells = []
    for _, row in tables.clocks.iterrows():
        line: list[Any] = [row["machine"], row["task"], row["label"]]
        for short in ("cpu", "gpu"):
            value, withheld = row[f"speedup_{short}"], row[f"withheld_{short}"]
            ends = f" [{number(row[f'speedup_{short}_low'])}, {number(row[f'speedup_{short}_high'])}]"
            shown = "withheld" if isinstance(withheld, str) and withheld else DASH
            if math.isfinite(value):
                shown = f"{times(value)}{ends if math.isfinite(row[f'speedup_{short}_low']) else ''}"
            line += [number(row[f"{short}_mean_ms"], 3), shown]
        cells.append(line)
    names = ["Machine", "Task", "Method", "CPU ms", "×CPU", "GPU ms", "×GPU"]
    return simple_table("clocks-main", "At the target that the page opens with.", names, cells)


def _run_table(tables: MatrixTables) -> Table:
    rows = tables.runs.drop(columns=["imported"])
    names = ["Run", "Task", "Machine", "Seeds", "Budget", "Metric", "Finished"]
    cells = [[one_line(value) for value in row] for row in rows.itertuples(index=False)]
    return simple_table("runs-all", f"{len(rows)} runs.", names, cells)
