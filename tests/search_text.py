"""The page about the reference run's search, made by code; ``python -m tests.reference_text`` writes it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

__all__ = ["PAGE", "search_page"]

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
RUN = REFERENCE / "mnist5k-quick"
PAGE = REFERENCE / "search" / "README.md"

TEXT = """# Equal effort: the search behind mnist5k-quick

Made by `python -m tests.reference_text` from [search.csv](../mnist5k-quick/search.csv); a test holds it to that.

Each of {methods} methods was trained {trials} times on seed {seed}: once by the common recipe, then with other
learning rates, backbone rates and its own loss weights and options, as Optuna's TPE sampler proposed. A trial is
worth its mean validation score within a budget, over budgets from 10 to 100 % of the plain backbone's MACs (in per
cent below); the best one's rates train every seed.

| method | common recipe | best | rates and options of the best | seconds |
|---|---|---|---|---|
{rows}

The search gains {least:.1f} to {most:.1f} points of that mean over the common recipe, on the validation data it was
chosen on. One such score of {samples} samples is uncertain by about 0.7 points, so the smaller gains are within
chance. The default rates of every method stay the common recipe's, the same for all: what is best here need not be
elsewhere. Whoever wants tuned rates asks for `--search N`, which gives every method N trials. The plain backbone
and the static models have the common recipe.
"""


def search_page() -> str:
    """What the search tried, what it found, and what it took."""
    trials = pd.read_csv(RUN / "search.csv")
    run = json.loads((RUN / "run.json").read_text(encoding="utf-8"))
    rows, gains = [], []
    for method, mine in trials.groupby("method"):
        first, best = mine[mine["trial"] == 0].iloc[0], mine[mine["chosen"]].iloc[0]
        gains.append(100 * (best["value"] - first["value"]))
        values = f"{100 * first['value']:.1f} | {100 * best['value']:.1f}"
        rows.append(f"| {method} | {values} | {_words(best)} | {mine['seconds'].sum():.0f} |")
    return TEXT.format(
        methods=len(rows),
        trials=run["spec"]["search"],
        seed=run["spec"]["seeds"][0],
        rows="\n".join(rows),
        least=min(gains),
        most=max(gains),
        samples=run["data"]["n_val"],
    )


def _words(best: pd.Series) -> str:
    if best["trial"] == 0:
        return "the common recipe"
    tried = [f"learning rate × {best['lr']:.3g}"]
    tried += [] if pd.isna(best["backbone_lr_scale"]) else [f"backbone at {best['backbone_lr_scale']:.3g} of it"]
    tried += [] if pd.isna(best["options"]) else [str(best["options"]).replace(",", ", ")]
    return ", ".join(tried)
