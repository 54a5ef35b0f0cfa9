"""CLAIMS.md: what papers claim beside what the reference records measured; made by code, tested against the records.

``python -m tests.claims_text`` writes it anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from eebench.published.register import HERE, ExitCounts, read_file

__all__ = ["CLAIMS", "Run", "claims_text", "contest", "records"]

ROOT = Path(__file__).parents[1]
CLAIMS = ROOT / "CLAIMS.md"
MINUS = "\N{MINUS SIGN}"
ORDER = ("lgvit", "vit_ee", "palbert", "pondernet", "pabee", "jei_dnn", "branchynet")
NAMES = {"sdn": "SDN", "static": "smaller static models"}
LEVEL = 0.05

CONTESTS: tuple[tuple[str, str, str], ...] = (
    ("lgvit", "sdn", "LGViT's heads beat linear exits at equal cost (its paper's comparison with SDN)"),
    ("lgvit", "pabee", "LGViT beats PABEE at equal cost"),
    ("lgvit", "vit_ee", "LGViT beats ViT-EE at equal cost"),
    ("palbert", "pondernet", "PALBERT's Q-exit and deeper halting layer beat PonderNet"),
    ("palbert", "pabee", "PALBERT is on a par with PABEE or better"),
    ("jei_dnn", "branchynet", "learned gates beat thresholds on an uncertainty (BranchyNet's entropy stands for them)"),
)
"""Orderings that the papers claim: who is said to beat whom."""


MEASURED = "| measured: record, target | accuracy against plain, points | layers, × | MACs, × | CPU, × |"
MEASURED += " over static models, points |"
OPENING = """# Claims, and what was measured

Made by `python -m tests.claims_text` from `results/reference` and the methods' cards; a test holds it to them.
Papers count **layers**: blocks divided by the mean exit block, heads and gates free. eebench charges everything
(**MACs**) and times inference that really stops (**CPU**). Brackets are 95 % intervals that contain the choice of
the knob, the test samples and the seeds.

## What this data can say
"""
REACH = f"""
No ImageNet, CIFAR-100 or GLUE is among them, and no network of a paper's size unless one is named above: a
published number is neither confirmed nor refuted by these records. What they can test is whether an *ordering*
holds, and what a way of counting hides.

## Orderings

Score of the first method minus the second's, in points, at the same budget of MACs, where validation data vouch for
both; p after Holm over all pairs of a target, told apart below {LEVEL:g}.
"""
RERUN = """## LGViT's released weights, as others ran them

Repository ionymikler/early_exit_vit ran the released ViT-B weights on the 10,000 test images of CIFAR-100; its exit
counts go through eebench's cost model (`eebench reproduce lgvit`). Charging the heads takes a part of what counting
layers gives.
"""


@dataclass(frozen=True)
class Run:
    """One reference record."""

    name: str
    facts: dict
    headlines: pd.DataFrame
    points: pd.DataFrame
    pairs: pd.DataFrame

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read the record."""
        tables = [pd.read_csv(folder / f"{name}.csv") for name in ("headlines", "operating_points", "pairs")]
        return cls(folder.name, json.loads((folder / "run.json").read_text(encoding="utf-8")), *tables)

    @property
    def targets(self) -> list[str]:
        """Targets in the order the run was asked for them."""
        return list(self.facts["spec"]["targets"])

    @property
    def about(self) -> str:
        """Data, backbone, seeds."""
        data, spec = self.facts["data"], self.facts["spec"]
        seeds = len(spec["seeds"])
        backbone = self.facts["backbone"]["name"].rstrip("/").rsplit("/", 1)[-1]
        trained = "from scratch" if self.facts["backbone"]["weights"] == "none" else "pre-trained"
        sizes = f"{data['n_test']} test samples, {seeds} seed{'s' * (seeds > 1)}"
        return f"`{self.name}`: {data['name']}, {backbone} {trained}, {sizes}"


def records() -> list[Run]:
    """Every reference record."""
    return [Run.load(path.parent) for path in sorted((ROOT / "results" / "reference").glob("*/run.json"))]


def card(method: str) -> dict:
    """A card's header."""
    text = (ROOT / "methods" / method / "README.md").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text.split("---")[1]))


def signed(value: float) -> str:
    """One decimal with its sign; nothing where it rounds to zero."""
    text = f"{abs(value):.1f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else MINUS}{text}"


def told(p: float) -> str:
    """A p-value: two decimals, three where it is small."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.01 else f"{p:.2f}"


def contest(run: Run, first: str, second: str) -> list[tuple[str, float, float, str]]:
    """At every MAC budget: points by which the first method leads, Holm's p, and what that means.

    Budgets that either method's cheapest knob exceeds are left out: there is no equal cost to compare at.
    """
    found = []
    points = run.points[run.points["kind"] == "dynamic"]
    for target in run.targets:
        at = points[points["target"] == target]
        met = at.groupby("method")["met"].apply(lambda flags: flags.astype(str).str.lower().isin(["true", "1"]).all())
        if not target.startswith("macs_") or not {first, second} <= set(met.index[met]):
            continue
        rows = run.pairs[run.pairs["target"] == target]
        for a, b, sign in ((first, second, 1), (second, first, -1)):
            row = rows[(rows["method_a"] == a) & (rows["method_b"] == b)]
            if len(row):
                lead, p = sign * 100 * float(row["difference"].iloc[0]), float(row["p_holm"].iloc[0])
                words = "not told apart" if p >= LEVEL else "holds" if lead > 0 else "does not hold"
                found.append((target, lead, p, words))
    return found


def verdict(words: list[str]) -> str:
    """What several comparisons say together."""
    if not words:
        return "not measured"
    kinds = set(words) - {"not told apart"}
    if not kinds:
        return "not told apart"
    return kinds.pop() if len(kinds) == 1 else "depends on the budget or the task"


def orderings(runs: list[Run]) -> list[str]:
    """A table of the papers' orderings."""
    lines = ["| claim | measured at equal MACs, everything charged | on this data |", "|---|---|---|"]
    for first, second, claim in CONTESTS:
        said, words = [], []
        for run in runs:
            found = contest(run, first, second)
            words += [word for *_, word in found]
            if found:
                parts = [f"{signed(lead)} at {t.removeprefix('macs_')} % (p {told(p)})" for t, lead, p, _ in found]
                said.append(f"`{run.name}`: {', '.join(parts)}")
        measured_at = "; ".join(said) or "no record has both within a common budget"
        lines.append(f"| {claim} | {measured_at} | {verdict(words)} |")
    return lines


def claimed(method: str) -> list[str]:
    """The card's claims as a table."""
    claims = card(method).get("claims") or []
    if not claims:
        return ["No published number could be confirmed; the card says what was looked for."]
    lines = ["| published: setting | score (full model) | speed-up, counted as | source |", "|---|---|---|---|"]
    for claim in claims:
        factor = 100 if claim["score"] is not None and claim["score"] <= 1 else 1
        score = f"{factor * claim['score']:.4g} ({factor * claim['baseline']:.4g}) {claim['metric']}"
        speed = "not given" if claim["speedup"] is None else f"{claim['speedup']:.2f}×, {claim['speedup_measure']}"
        lines.append(f"| {claim['setting']} | {score} | {speed} | {claim['source']} |")
    return lines


def measured(run: Run, method: str) -> str | None:
    """One line a run at its first target: the paper's way of counting, then everything charged."""
    target = run.targets[0]
    rows = run.headlines[(run.headlines["method"] == method) & (run.headlines["target"] == target)].set_index("measure")
    mine = run.points[
        (run.points["method"] == method) & (run.points["target"] == target) & (run.points["kind"] == "dynamic")
    ]
    if rows.empty or mine.empty:
        return None
    value, low, high = (-100 * float(rows.loc["drop", name]) for name in ("value", "high", "low"))
    speed, least, most = (float(rows.loc["speedup_macs", name]) for name in ("value", "low", "high"))
    over = "–"
    if "over_frontier" in rows.index:
        lead, bottom, top = (100 * float(rows.loc["over_frontier", name]) for name in ("value", "low", "high"))
        over = f"{signed(lead)} [{signed(bottom)}, {signed(top)}]"
    clock = mine["speedup_cpu"]
    cpu = "withheld" if clock.isna().any() else f"{clock.mean():.2f}"
    layers, macs = mine["speedup_layers"].mean(), f"{speed:.2f} [{max(least, 0):.2f}, {most:.2f}]"
    drop = f"{signed(value)} [{signed(low)}, {signed(high)}]"
    return f"| `{run.name}`, {target} | {drop} | {layers:.2f} | {macs} | {cpu} | {over} |"


def rerun() -> list[str]:
    """LGViT's released weights as others ran them, through eebench's cost model."""
    lines = ["| threshold | accuracy, % | layers, × | MACs, everything charged, × |", "|---|---|---|---|"]
    for cell in read_file(HERE / "lgvit.toml"):
        assert isinstance(cell.check, ExitCounts)
        threshold = cell.id.rsplit("-", 1)[-1]
        lines.append(
            f"| {threshold} | {cell.printed['accuracy']} | {cell.check.speedup_layers} | {cell.check.speedup_macs} |"
        )
    return lines


def claims_text(runs: list[Run] | None = None) -> str:
    """The whole page."""
    runs = records() if runs is None else runs
    lines = [OPENING, *(f"- {run.about}." for run in runs), REACH, *orderings(runs), "", "## Method by method", ""]
    for method in ORDER:
        title = card(method)["title"]
        lines += [f"### {title}", "", *claimed(method), ""]
        rows = [row for run in runs if (row := measured(run, method)) is not None]
        if rows:
            lines += [MEASURED, "|---|---|---|---|---|---|", *rows, ""]
        else:
            lines += ["No reference record has it.", ""]
    lines += [RERUN, *rerun(), ""]
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    CLAIMS.write_text(claims_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
