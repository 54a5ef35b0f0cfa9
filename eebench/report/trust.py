"""How far an answer can be believed: seeds, samples, ties, the clock, exits that never learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from eebench.report.frames import Record
from eebench.report.ranking import CLOCKS, Race
from eebench.report.text import knob, listed

__all__ = ["names", "trust"]

_NOISY = 0.2  # share of swaying timings from which on a clock is called noisy


def trust(race: Race, best: Any, tied: Sequence[Any]) -> str:
    """One line for a reader who asks whether to believe it.

    Args:
        race: the comparison at the report's target.
        best: the row that the answer names, or None.
        tied: rows that cannot be told from it.
    """
    parts = [_samples(race.record)]
    if best is not None:
        parts += [_ties(race, tied), _frontier(race, best), _scores(race, best)]
    parts += [_clock(race), _dead(race)]
    if race.record.run["spec"].get("budget") == "quick":
        parts.append("Budget quick: a first look.")
    return " ".join(part for part in parts if part)


def names(rows: Sequence[Any], record: Record) -> tuple[str, ...]:
    """Labels of comparison rows; a fixed depth with its block."""
    return tuple(_name(row, record) for row in rows)


def _name(row: Any, record: Record) -> str:
    if row["kind"] == "fixed":
        return f"{record.labels[row['method']]} cut at block {knob(row)}"
    return str(row["label"])


def _samples(record: Record) -> str:
    data, seeds = record.run["data"], len(record.seeds)
    tested = f"{data['n_test']:,} test samples" if data.get("n_test") else "test samples"
    chosen = f", knobs chosen on {data['n_val']:,} others" if data.get("n_val") else ""
    if seeds == 1:
        return f"One seed, {tested}{chosen}: another training may differ."
    return f"{seeds} seeds × {tested}{chosen}{': too few seeds to publish' if seeds < 3 else ''}."


def _ties(race: Race, tied: Sequence[Any]) -> str:
    what = "" if race.by_score else " in speed"
    if not tied:
        return f"Nothing is tied with it{what}."
    return f"Tied with it{what}: {listed(names(tied, race.record))}."


def _frontier(race: Race, best: Any) -> str:
    """What deciding adds over everything that decides nothing, at equal MACs: the record's own comparison."""
    value = best["over_frontier"]
    if best["kind"] != "dynamic" or not math.isfinite(value):
        return ""
    ends = [f"{100 * best[f'over_frontier_{end}']:+.1f}".replace("-", "−") for end in ("low", "high")]
    unsure = ", n.s." if best["unsure_over_frontier"] else ""
    change = f"{100 * value:+.1f}".replace("-", "−")
    return f"At equal MACs, over static models and fixed depths: {change} points{unsure} [{ends[0]}, {ends[1]}]."


def _scores(race: Race, best: Any) -> str:
    """What scores say about the named row: by the record's tiers, else by the intervals of those that ran with it."""
    rows = race.rows[race.rows["kind"].isin(["dynamic", "static"])]
    if math.isfinite(best["tier"]):
        above = list(rows.loc[rows["tier"] < best["tier"], "label"])
        if above:
            return f"Scores clearly above it: {listed(above)}."
        level = int((rows["tier"] == best["tier"]).sum()) - 1
        return f"No score is clearly above its own; {level} cannot be told from it." if level > 0 else ""
    running = [row for row in race.running("dynamic", "static") if row.name != best.name]
    above = [row["label"] for row in running if race.better(row, best)]
    if above:
        return f"Scores clearly above it: {listed(above)}."
    if running and not any(race.better(best, row) for row in running):
        return "No score can be told from its own."
    return ""


def _clock(race: Race) -> str:
    latency = race.record.single
    if race.clock == "macs":
        reasons = [text for short in ("cpu", "gpu") for text in race.rows[f"withheld_{short}"] if text]
        if reasons:
            return f"The clock is withheld ({reasons[0]}); speed here is by MACs."
        return "Nothing was timed; speed here is by MACs."
    held = _withheld(race)
    timed = latency[latency["device"] == ("cuda" if race.clock == "gpu" else "cpu")]
    noisy = float(timed["noisy"].mean()) if len(timed) else 0.0
    if len(timed) and (timed["basis"] == "cpu").any():
        held = f" Other processes ran beside it: times are CPU time.{held}"
    name = CLOCKS[race.clock]
    if noisy == 0:
        return f"The {name} clock was quiet.{held}"
    many = f"{100 * noisy:.0f} %" if noisy >= 0.01 else f"{int(timed['noisy'].sum())}"
    how = "noisy" if noisy > _NOISY else "mostly quiet"
    return f"The {name} clock was {how}: {many} of its timings swayed by more than a tenth.{held}"


def _withheld(race: Race) -> str:
    rows = race.rows[race.rows["kind"].isin(["dynamic", "static"])]
    rows = rows[(rows[f"withheld_{race.clock}"] != "") & rows[race.speed].isna()]
    if rows.empty:
        return ""
    return f" Speed-ups withheld: {listed(list(rows['label']))} ({rows[f'withheld_{race.clock}'].iloc[0]})."


def _dead(race: Race) -> str:
    rows = race.rows
    if len(rows):
        rows = rows[rows["dead"] & (rows["kind"] == "dynamic")]
    if rows.empty:
        return ""
    return f"Not ranked, because samples stop at exits that never learnt: {listed(list(rows['label']))}."
