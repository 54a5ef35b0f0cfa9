"""The comparison in the terminal: twelve rows in the page's order, the answer as the last lines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from eebench.errors import UserError, did_you_mean
from eebench.report.frames import load
from eebench.report.ranking import Race
from eebench.report.scene import Scene
from eebench.report.targets import target as target_of
from eebench.report.text import DASH, Writer, knob, number, times

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["answer_text", "comparison_table", "print_comparison"]

_ROWS = 12
_SHORT = {"accuracy": "acc. %", "mcc": "MCC", "f1": "F1", "accuracy_f1": "acc. F1", "pearson_spearman": "corr."}


def comparison_table(run_dir: Path, target: str | None = None) -> list[dict[str, Any]]:
    """The comparison at one target, a dictionary a row: the columns of the report's tables/comparison.csv.

    Means over seeds; ``x_std`` beside them where several seeds ran, ``x_low``/``x_high`` the mean bounds, ``None``
    where a value does not apply. Scores and drops are shares, not points.

    Args:
        run_dir: the run.
        target: name of the target; the one that the report opens with when not given.

    Raises:
        UserError: no such target, or a record that cannot be read.
    """
    scene = Scene(load(Path(run_dir)))
    name = _target(scene, target)
    rows = scene.table[scene.table["target"] == name].to_dict("records") if len(scene.table) else []
    return [{str(k): None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]


def answer_text(run_dir: Path) -> dict[str, Any]:
    """The report's answer as plain values: kind, sentence, trust, best (method, kind), tied.

    Raises:
        UserError: a record that cannot be read.
    """
    found = Scene(load(Path(run_dir))).answer
    best = {"method": found.best[0], "kind": found.best[1]} if found.best else None
    return {"kind": found.kind, "sentence": found.sentence, "trust": found.trust, "best": best,
            "tied": list(found.tied)}  # fmt: skip


def print_comparison(run_dir: Path, console: Console, target: str | None = None) -> None:
    """Print the comparison at one target as a table as wide as the console lets it be, then the answer.

    Args:
        run_dir: the run.
        console: where to. What is no terminal gets whole sentences, unbroken.
        target: as in :func:`comparison_table`.

    Raises:
        UserError: as there.
    """
    from rich.text import Text

    scene = Scene(load(Path(run_dir)))
    name = _target(scene, target)

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=not console.is_terminal)

    say(f"{scene.record.run['run']}, {target_of(name).title}: {target_of(name).meaning}", "italic")
    if len(scene.table):
        race = scene.race(name)
        rows = _rows(race)
        console.print(_view(scene, race, rows[:_ROWS], console.width))
        hidden = len(rows) - _ROWS
        if hidden > 0:
            say(f"{hidden} more row{'s' if hidden > 1 else ''}, baselines and bounds: in the report", "dim")
        say(_legend(race, rows[:_ROWS], scene.write), "dim")
    for cell in scene.record.cells:
        if cell["status"] != "done":
            label = scene.record.labels[cell["method"]]
            say(f"{label}, seed {cell['seed']}: {cell['status']}, {cell.get('reason')}", "yellow")
    found = scene.answer
    say(found.sentence, "bold")
    say(found.trust)


def _target(scene: Scene, name: str | None) -> str:
    if name is None or (not scene.record.targets and name == scene.main):
        return scene.main
    if name not in scene.record.targets:
        raise UserError(f"unknown target {name}{did_you_mean(name, scene.record.targets)}")
    return name


def _rows(race: Race) -> list[pd.Series]:
    plain = race.rows[race.rows["kind"] == "plain"]
    return [*(row for _, row in plain.iterrows()), *race.shown()]


def _view(scene: Scene, race: Race, rows: list[pd.Series], width: int) -> Any:
    """The table: the columns that fit in the order of their worth, names cut last."""
    from rich.table import Table
    from rich.text import Text

    columns = _columns(scene, race)
    texts = {head: [write(row) for row in rows] for head, write, _ in columns}
    names = [_name(race, row) for row in rows]
    widest = max((len(name) for name in names), default=0)
    reserved = max(len("method"), min(max(24, width // 4), widest))  # of the width, for names
    room = width - reserved - 1
    kept: set[str] = set()
    for head, _, _ in sorted(columns, key=lambda column: column[2]):
        need = max(len(head), *(len(text) for text in texts[head])) + 1
        if need <= room:
            kept.add(head)
            room -= need
    view = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    view.add_column("method", no_wrap=True, overflow="ellipsis", max_width=max(12, min(widest, room + reserved)))
    heads = [head for head, _, _ in columns if head in kept]
    for head in heads:
        need = max(len(head), *(len(text) for text in texts[head]))
        view.add_column(head, justify="left" if head == "knob" else "right", no_wrap=True, min_width=need)
    for i, row in enumerate(rows):
        style = "bold cyan" if row["kind"] == "plain" else "" if race.ranks(row) else "dim"
        view.add_row(*(Text(text) for text in (names[i], *(texts[head][i] for head in heads))), style=style)
    return view


def _columns(scene: Scene, race: Race) -> list[tuple[str, Any, int]]:
    """Heading, how a row is written, and in which order columns are given room."""
    write = scene.write
    score = _SHORT.get(write.metric, "score")
    found: list[tuple[str, Any, int]] = [
        ("knob", lambda row: _knob(row), 6),
        (score, lambda row: f"{write.score(row['score'])}{write.spread(row, 'score', write.score)}", 1),
        ("Δ pt", lambda row: _change(write, row), 0),
        ("95 %", lambda row: "" if row["kind"] == "plain" else write.interval(row, "drop", write.change, flip=True), 7),
    ]
    clocks = [c for c in ("gpu", "cpu") if race.rows[f"speedup_{c}"].notna().any()]
    for place, clock in enumerate(clocks):
        found.append((f"×{clock.upper()}", _speed(clock), 2 + place))
        name = f"speedup_{clock}"
        found.append((f"{clock.upper()} 95 %", lambda row, n=name: write.interval(row, n, number), 9 + place))
    found += [
        ("×MACs", _speed("macs"), 4),
        ("×layers", lambda row: times(row["speedup_layers"]), 5),
        (write.macs_unit, lambda row: write.macs(row["gmacs"]), 8),
        ("exit", lambda row: number(row["mean_exit"], 1), 5),
    ]
    if race.rows["tier"].notna().any():
        found.append(("tier", lambda row: number(row["tier"], 0), 6))
    return found


def _speed(clock: str) -> Any:
    def text(row: pd.Series) -> str:
        value = row[f"speedup_{clock}"]
        if not math.isfinite(value):
            return "withheld" if clock != "macs" and row[f"withheld_{clock}"] else DASH
        star = " ★" if row[f"front_{clock}"] else "  "
        unsure = " n.s." if row["kind"] != "plain" and row[f"unsure_{clock}"] else ""
        return f"{times(value)}{unsure}{star}"

    return text


def _knob(row: pd.Series) -> str:
    return f"{row['knob_name']} {knob(row)}" if row["kind"] in ("dynamic", "fixed", "static") else DASH


def _change(write: Writer, row: pd.Series) -> str:
    if row["kind"] == "plain":
        return ""
    return f"{write.change(row['drop'])}{' n.s.' if row['unsure_drop'] else ''}"


def _name(race: Race, row: pd.Series) -> str:
    marks = " †" if row["met"] < row["seeds"] else " ‡" if not race.ranks(row) and row["kind"] != "plain" else ""
    prefix = "fixed depth of " if row["kind"] == "fixed" else ""
    return f"{prefix}{row['label']}{marks}"


def _legend(race: Race, rows: list[pd.Series], write: Writer) -> str:
    parts = ["★ on the front of score against that cost", "n.s. not told apart from no change"]
    names = [_name(race, row) for row in rows]
    if any(name.endswith("†") for name in names):
        parts.append("† target not met on validation data in every seed, nearest shown")
    if any(name.endswith("‡") for name in names):
        parts.append("‡ missed on test data, at exits that never learnt, or not timed")
    parts.append("± std over seeds" if write.several else "one seed")
    return "; ".join(parts)
