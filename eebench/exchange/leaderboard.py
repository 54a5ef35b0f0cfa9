"""``eebench leaderboard``: what a repository of submissions says, by the report's own parts."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from eebench.errors import UserError
from eebench.exchange.verify import Verdict
from eebench.report.blocks import Block, Cell, Column, Row, Section, Table, Terms, Text
from eebench.report.markdown import sections_markdown
from eebench.report.pages import Page, html
from eebench.report.targets import in_order
from eebench.report.targets import target as wording

__all__ = ["leaderboard", "standings"]

TITLE = "Early-exit leaderboard"
STATUS = {
    "claimed": "the files fit together; tables or MACs could not be worked out where this page was made",
    "recomputed": "every table comes out of the per-sample arrays, and MACs out of the architecture",
    "reproduced": "recomputed, and somebody else's models of the same experiment agree: all intervals overlap",
    "refused": "something does not fit; not ranked",
}
COLUMNS = (
    Column("Method", numeric=False),
    Column("By", numeric=False),
    Column("Status", "claimed, recomputed or reproduced: see below", numeric=False),
    Column(
        "× MACs", "plain backbone's MACs over the method's, everything charged; mean over seeds", first="descending"
    ),
    Column("Score", "test score at the knob chosen on validation data, mean over seeds", first="descending"),
    Column("Δ score, pt", "against the plain backbone", first="descending"),
    Column("Over static, pt", "score minus that of static models at the same MACs", first="descending"),
    Column("Seeds"),
)


def leaderboard(verdicts: Sequence[Verdict], out: str | Path) -> dict[str, Path]:
    """Write ``leaderboard.html`` and ``leaderboard.md``.

    Methods are ranked by MACs within one protocol, backbone, data set and target, those that validation data vouch for
    first. Wall-clock is listed machine by machine and never ranked across them.

    Args:
        verdicts: of every submission.
        out: a folder.

    Raises:
        UserError: it is a file or cannot be written to.
    """
    out = Path(out)
    sections = _sections(verdicts)
    pages = {
        "leaderboard.html": html(Page(TITLE, f"{len(verdicts)} submissions", sections)),
        "leaderboard.md": sections_markdown(TITLE, sections),
    }
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file")
    written = {}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            with tempfile.NamedTemporaryFile("w", dir=out, delete=False, encoding="utf-8") as file:
                file.write(text)
            Path(file.name).chmod(0o644)
            os.replace(file.name, out / name)
            written[name] = out / name
    except OSError as error:
        raise UserError(f"{out} cannot be written to: {error.strerror}") from None
    return written


def standings(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """One row a submission and target: what the leaderboard ranks, in its order, as plain values."""
    rows = [row for verdict in verdicts if verdict.status != "refused" for row in _rows(verdict)]
    return sorted(rows, key=_order)


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Within a task and target: what validation data vouch for first, then fewer MACs, or under a budget the score."""
    best = "speedup_macs" if wording(row["target"]).kind == "drop" else "score"
    return row["task"], row["target"], not row["met"], -row[best][0]


def _rows(verdict: Verdict) -> list[dict[str, Any]]:
    record, said = verdict.record, verdict.submission
    assert record is not None, "what is not refused has been read"
    assert said is not None, "what is not refused has been read"
    headlines, points = (pd.read_csv(verdict.path / f"{name}.csv") for name in ("headlines", "operating_points"))
    mine = headlines[headlines["method"] == said.method]
    title = next((c.card or {} for c in record.cells if c.label == said.method), {}).get("title", said.method)
    rows = []
    for target in mine["target"].unique():
        at = mine[mine["target"] == target].set_index("measure")
        chosen = points[
            (points["method"] == said.method) & (points["kind"] == "dynamic") & (points["target"] == target)
        ]
        row: dict[str, Any] = {
            "task": f"{record.backbone.name} on {record.data.name}, protocol {record.protocol_version}"
        }
        row |= {"title": title, "method": said.method, "by": said.by, "status": verdict.status, "target": target}
        row |= {"met": bool(chosen["met"].all()), "seeds": len(chosen), "metric": record.data.task.metric}
        for measure in ("speedup_macs", "score", "drop", "over_frontier"):
            found = at.loc[[measure], ["value", "low", "high"]].to_numpy()[0].tolist() if measure in at.index else None
            row[measure] = found or [math.nan] * 3
        rows.append(row)
    return rows


def _sections(verdicts: Sequence[Verdict]) -> list[Section]:
    rows = standings(verdicts)
    sections = [Section("answer", "What this is", _introduction(verdicts), summary=True)]
    for number, task in enumerate(dict.fromkeys(row["task"] for row in rows)):
        mine = [row for row in rows if row["task"] == task]
        tables: list[Block] = []
        for target in in_order(pd.Series([row["target"] for row in mine])):
            at = [row for row in mine if row["target"] == target]
            tables.append(Table(f"task{number}-{target}", wording(target).title, COLUMNS, list(map(_ranked, at))))
        sections.append(Section(f"task-{number}", task, tables))
    sections.append(Section("clock", "Wall-clock, machine by machine", _clock(verdicts)))
    refused = [(str(v.path.name), f"{v.failed.name}: {v.failed.words}") for v in verdicts if v.failed is not None]
    if refused:
        sections.append(Section("refused", "Refused", [Terms(refused)]))
    sections.append(Section("status", "What the status means", [Terms(list(STATUS.items()))]))
    return sections


def _introduction(verdicts: Sequence[Verdict]) -> list[Block]:
    count = {status: sum(v.status == status for v in verdicts) for status in STATUS}
    said = ", ".join(f"{n} {status}" for status, n in count.items() if n)
    return [
        Text(f"{len(verdicts)} submissions: {said}."),
        Text(
            "Ranked within one protocol, backbone, data set and target: by multiply-accumulates where a drop is"
            " allowed, by score where a budget is. Knobs were chosen on validation data, numbers are read on test"
            " data, brackets are 95 % intervals that contain the choice."
            " Times of different machines are listed, never ranked against each other."
        ),
    ]


def _ranked(row: Mapping[str, Any]) -> Row:
    def measured(name: str, factor: float, text: str, *, flip: bool = False) -> Cell:
        value, low, high = (factor * x for x in row[name])
        if math.isnan(value):
            return Cell("–")
        if flip:
            value, low, high = -value, -high, -low
        small = f"[{text.format(low)}, {text.format(high)}]"
        return Cell(text.format(value), small, sort=value, muted=flip and low <= 0 <= high)

    cells = [
        Cell(row["title"], row["method"] if row["method"] != row["title"] else ""),
        Cell(row["by"]),
        Cell(row["status"]),
        measured("speedup_macs", 1, "{:.2f}"),
        measured("score", 100, "{:.1f}"),
        measured("drop", 100, "{:+.1f}", flip=True),
        measured("over_frontier", 100, "{:+.1f}"),
        Cell(str(row["seeds"]), sort=row["seeds"]),
    ]
    return Row(cells, below=not row["met"])


def _clock(verdicts: Sequence[Verdict]) -> list[Block]:
    """One table a machine."""
    machines: dict[str, list[Row]] = {}
    for verdict in verdicts:
        path = verdict.path / "operating_points.csv"
        if verdict.status == "refused" or verdict.record is None or verdict.submission is None:
            continue
        points = pd.read_csv(path)
        for device, column in (("cpu", "speedup_cpu"), ("gpu", "speedup_gpu")):
            shown = points[(points["kind"] == "dynamic") & points[column].notna()]
            for target, rows in shown.groupby("target", sort=False):
                name, threads = _machine(verdict.record.environment, device)
                cells = [
                    Cell(verdict.submission.method),
                    Cell(verdict.submission.by),
                    Cell(verdict.record.backbone.name),
                ]
                cells += [Cell(verdict.record.data.name), Cell(str(target))]
                value = float(rows[column].mean())
                cells.append(Cell(f"{value:.2f}", f"{len(rows)} seeds", sort=value))
                machines.setdefault(f"{name}{threads}", []).append(Row(cells))
    names = ("Method", "By", "Backbone", "Data", "Target")
    columns = [*(Column(name, numeric=False) for name in names), Column("× faster", "than the plain backbone, batch 1")]
    tables: list[Block] = [
        Table(f"machine-{number}", machine, columns, rows) for number, (machine, rows) in enumerate(machines.items())
    ]
    return tables or [Text("Nothing was timed.")]


def _machine(environment: Mapping[str, Any], device: str) -> tuple[str, str]:
    if device == "gpu":
        return str((environment.get("gpu") or {}).get("name", "a GPU")), ""
    return str(environment.get("cpu", "a CPU")), f", {environment.get('threads', '?')} threads"
