"""What it took: how much a method's training choices matter, where a search tried some."""

from __future__ import annotations

import math

import pandas as pd

from eebench.report.blocks import Block, Cell, Column, Fold, Row, Table, Text
from eebench.report.scene import Scene
from eebench.report.text import DASH, number, signed

__all__ = ["sensitivity"]


def sensitivity(scene: Scene) -> list[Block]:
    """How a method's validation score moves with its rates and loss weights, by the trials of ``--search``."""
    trials = scene.record.table("search")
    trials = trials[trials["method"].isin(scene.record.labels)]
    if trials.empty:
        return []
    columns = [
        Column("Method", numeric=False),
        Column("Trials", "how many settings were tried, the recipe as it is among them"),
        Column("As it is, ×100", "mean validation score over budgets of the recipe as it is", first="descending"),
        Column("Chosen, ×100", "the same of the trial that trains the method on every seed", first="descending"),
        Column("Gain, pt", "chosen minus as it is, on the validation data that chose: too high", first="descending"),
        Column("Range, pt", "best minus worst trial: how much the choice matters", first="descending"),
        Column("Chosen setting", "factor on the learning rates; the backbone's as a share; options", numeric=False),
        Column("Search, s", "wall-clock seconds of all its trials"),
    ]
    rows = [_row(scene, str(method), mine) for method, mine in trials.groupby("method", sort=False)]
    caption = "What each method gains from its training choices: trials of --search, judged on validation data."
    told = Text(
        "A method that gains much here was short-changed by its recipe, or is sensitive; one with a small range is"
        " easily reproduced. Gains were chosen and measured on the same validation data: test scores stand in the"
        " comparison."
    )
    return [Fold("How much training choices matter", [told, Table("sensitivity", caption, columns, rows)])]


def _row(scene: Scene, method: str, trials: pd.DataFrame) -> Row:
    done = trials.dropna(subset=["value"])
    first, chosen = done[done["trial"] == 0], done[done["chosen"]]
    before, after = (float(t["value"].iloc[0]) if len(t) else math.nan for t in (first, chosen))
    failed = len(trials) - len(done)
    spread = float(done["value"].max() - done["value"].min()) if len(done) > 1 else math.nan
    gain = after - before
    return Row(
        [
            Cell(scene.record.labels[method]),
            Cell(str(len(trials)), f"{failed} failed" if failed else "", len(trials)),
            Cell(number(100 * before, 1), sort=100 * before),
            Cell(number(100 * after, 1), sort=100 * after),
            Cell(signed(100 * gain, 1), sort=100 * gain),
            Cell(number(100 * spread, 1), sort=100 * spread),
            Cell(_setting(chosen.iloc[0]) if len(chosen) else DASH),
            Cell(f"{trials['seconds'].sum():.0f}", sort=float(trials["seconds"].sum())),
        ]
    )


def _setting(trial: pd.Series) -> str:
    """``rates × 0.5, backbone 0.1, alpha=0.3``; the recipe as it is where nothing was changed."""
    if trial["trial"] == 0:
        return "the recipe as it is"
    parts = [f"rates × {trial['lr']:.3g}"] if math.isfinite(trial["lr"]) else []
    parts += [f"backbone {trial['backbone_lr_scale']:.3g}"] if math.isfinite(trial["backbone_lr_scale"]) else []
    parts += [trial["options"].replace(",", ", ")] if isinstance(trial["options"], str) else []
    return ", ".join(parts) or DASH
