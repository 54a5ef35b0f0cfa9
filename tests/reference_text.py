"""The sentences and tables that README and the cards take from the reference record, made by code, tested against it.

``python -m tests.reference_text`` writes them anew between their markers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eebench.report.targets import target
from tests import claims_text, runtimes_text, search_text

__all__ = ["BEGIN", "ELSEWHERE", "END", "Reference", "between", "card_paragraph", "elsewhere", "others", "readme_block"]

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference" / "mnist5k-quick"
ELSEWHERE = "<!-- elsewhere: made by python -m tests.reference_text -->"
BEGIN, END = "<!-- reference: made by python -m tests.reference_text -->", "<!-- /reference -->"
MINUS = "\N{MINUS SIGN}"
UNTRAINED = (
    "In `{}` the smaller static model chosen scores {} points against the plain backbone, having had more passes: the"
    " backbone is far from trained there. What methods lose is counted from it; their lead over static models is not."
)


@dataclass(frozen=True)
class Reference:
    """The committed record of the default run."""

    run: dict
    headlines: pd.DataFrame
    tiers: pd.DataFrame
    points: pd.DataFrame
    folder: str = REFERENCE.name

    @classmethod
    def load(cls, folder: Path = REFERENCE) -> Reference:
        """Read the record."""
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        tables = [pd.read_csv(folder / f"{name}.csv") for name in ("headlines", "tiers", "operating_points")]
        return cls(run, *tables, folder.name)

    @property
    def target(self) -> str:
        """The headline's target: the first of the run."""
        return str(self.run["spec"]["targets"][0])

    @property
    def methods(self) -> list[str]:
        """Methods and static models, by falling MAC speed-up at the headline's target."""
        mine = self.headlines.query("target == @self.target and measure == 'speedup_macs'")
        return mine.sort_values("value", ascending=False)["method"].tolist()

    def label(self, method: str) -> str:
        """Display name."""
        if method == "static":
            return "smaller static model"
        cards = {c["label"]: (c.get("card") or {}).get("title") for c in self.run["cells"]}
        return cards.get(method) or method

    def measure(self, method: str, name: str, target: str | None = None) -> tuple[float, float, float] | None:
        """Value, low and high of a headline; None where the record has none."""
        target = target or self.target
        rows = self.headlines.query("target == @target and method == @method and measure == @name")
        if rows.empty:
            return None
        row = rows.iloc[0]
        return float(row["value"]), float(row["low"]), float(row["high"])

    def plain_score(self) -> tuple[float, float]:
        """Mean and standard deviation over seeds of the plain backbone's test score, in per cent."""
        rows = self.points.query("target == @self.target and kind == 'dynamic'").copy()
        scores = (rows["score"] + rows["drop"]).groupby(rows["seed"]).mean() * 100
        return float(scores.mean()), float(scores.std(ddof=1)) if len(scores) > 1 else 0.0

    def cpu(self, method: str) -> str:
        """Measured CPU speed-up, mean over seeds; a dash where a seed's was withheld."""
        rows = self._chosen(method)
        values = rows["speedup_cpu"]
        return "withheld" if values.isna().any() else f"{values.mean():.2f}"

    def _chosen(self, method: str) -> pd.DataFrame:
        """Operating points of a method at the headline's target, one a seed."""
        points = self.points
        kind = "static" if method == "static" else "dynamic"
        return points[(points["target"] == self.target) & (points["kind"] == kind) & (points["method"] == method)]

    def tier(self, method: str) -> int:
        """Tier by test score at the headline's target."""
        return int(self.tiers.query("target == @self.target and method == @method")["tier"].iloc[0])

    def met(self, method: str) -> bool:
        """Whether validation data vouched for the target in every seed."""
        rows = self._chosen(method)
        return bool(rows["met"].astype(str).str.lower().isin(["true", "1"]).all())


def signed(value: float) -> str:
    """``+1.2`` or ``−0.3``; zero without a sign."""
    text = f"{abs(value):.1f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else MINUS}{text}"


def ranged(found: tuple[float, float, float] | None, factor: float, *, sign: bool) -> str:
    """``value [low, high]``."""
    if found is None:
        return "–"
    write = signed if sign else "{:.2f}".format
    value, low, high = (factor * x for x in found)
    return f"{write(value)} [{write(low)}, {write(high)}]"


def readme_block(ref: Reference) -> str:
    """README's table, one line a method."""
    lines = [
        "| method | accuracy, % | against plain, points | fewer MACs, × | CPU, × | over static frontier | tier |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in ref.methods:
        score, drop = ref.measure(method, "score"), ref.measure(method, "drop")
        assert score is not None
        assert drop is not None
        value, low, high = drop
        against = ranged((-value, -high, -low), 100, sign=True)
        dagger = "" if ref.met(method) else " †"
        lines.append(
            f"| {ref.label(method)}{dagger} | {100 * score[0]:.1f} | {against}"
            f" | {ranged(ref.measure(method, 'speedup_macs'), 1, sign=False)} | {ref.cpu(method)}"
            f" | {ranged(ref.measure(method, 'over_frontier'), 100, sign=True)} | {ref.tier(method)} |"
        )
    mean, std = ref.plain_score()
    data = ref.run["data"]
    head = (
        f"Plain backbone: {mean:.1f} ± {std:.1f} %, {ref.run['backbone']['gmacs'] * 1e3:.2f} MMACs;"
        f" {data['n_test']} test samples, seeds {', '.join(map(str, ref.run['spec']['seeds']))}."
    )
    dagger = "† validation data vouch for no knob value in every seed; the nearest is shown."
    searched = ref.run["spec"].get("search")
    if searched:
        head += (
            f" Each method has the best of {searched} trials of its rates and loss weights on seed"
            f" {ref.run['spec']['seeds'][0]}'s validation data, the first being the common recipe; the plain backbone"
            " and the static models have the common recipe."
        )
    return "\n".join([head, "", *lines, "", dagger, "", *findings(ref)])


def findings(ref: Reference) -> list[str]:
    """What a reader may repeat."""
    over = {method: ref.measure(method, "over_frontier") for method in ref.methods if method != "static"}
    above = [ref.label(m) for m, found in over.items() if found is not None and found[1] > 0]
    below = {m: found for m, found in over.items() if found is not None and found[2] < 0}
    worse = "none is clearly below"
    if below:
        least, most = (f"{-100 * pick(found[0] for found in below.values()):.1f}" for pick in (max, min))
        named = ", ".join(map(ref.label, below))
        worse = f"{len(below)} of {len(over)} ({named}) are clearly below, by {least} to {most} points"
    clearly = f"only {', '.join(above)} clearly above" if above else "no method clearly above"
    ahead = max(over, key=lambda m: -1.0 if over[m] is None else over[m][0])
    advice = "On this task: shorten the network."
    if above:
        advice = f"On this task: {' or '.join(above)}."
    elif over[ahead] is not None and over[ahead][0] > 0:
        lead, speed = ref.measure(ahead, "over_frontier"), ref.measure(ahead, "speedup_macs")
        advice = (
            f"The best of them, {ref.label(ahead)}, has {ranged(lead, 100, sign=True)} points over it at"
            f" {ranged(speed, 1, sign=False)} times fewer MACs: it cannot be told from shortening the network here."
        )
    rows = ref._chosen("static")
    small = rows[rows["knob"] == rows["knob"].min()]
    scores = " and ".join(f"{100 * score:.1f}" for score in small["score"])
    random, kept = {}, []
    for method in over:
        mine = ref._chosen(method)
        drawn = ref.points.query("target == @ref.target and kind == 'random' and method == @method")
        random[method] = 100 * (mine["score"].mean() - drawn["score"].mean())
        kept.append(100 * mine["speedup_cpu"].mean() / mine["speedup_macs"].mean())
    worst, best = min(random, key=random.__getitem__), max(random, key=random.__getitem__)
    first = (
        f"- **Against static models there is {clearly}**; {worse}. In {len(small)} of {len(rows)} seeds what validation"
        f" data choose is a {int(small['knob'].iloc[0])}-block model trained alone:"
        f" {small['speedup_macs'].mean():.2f} times fewer MACs, {small['speedup_cpu'].mean():.2f} times faster,"
        f" {scores} %. {advice}"
    )
    second = (
        f"- Deciding per sample is worth {random[worst]:+.1f} ({ref.label(worst)}) to {random[best]:+.1f} points"
        f" ({ref.label(best)}) over exits drawn at random at the same rate."
    )
    return [first, second, f"- The clock keeps {min(kept):.0f} to {max(kept):.0f} % of the MAC speed-up."]


def card_paragraph(ref: Reference, method: str) -> str:
    """What a method's card says about the reference run."""
    drop = ref.measure(method, "drop")
    assert drop is not None
    value, low, high = drop
    over = ref.measure(method, "over_frontier")
    lead = (
        "no static model is as cheap"
        if over is None
        else f"{ranged(over, 100, sign=True)} points over the run's static frontier"
    )
    met = "" if ref.met(method) else " (not vouched for by validation data in every seed: the nearest knob)"
    return (
        f"`results/reference/mnist5k-quick` (5,000 MNIST images, `vit_micro`, budget quick, seeds"
        f" {', '.join(map(str, ref.run['spec']['seeds']))}; mean over seeds [95 % interval that contains the choice]):"
        f" at the knob chosen for at most one point of loss{met}, accuracy against the plain backbone"
        f" {ranged((-value, -high, -low), 100, sign=True)} points with"
        f" {ranged(ref.measure(method, 'speedup_macs'), 1, sign=False)} times fewer MACs; {lead}."
    )


def others() -> list[Reference]:
    """Every other committed record."""
    folders = sorted(path.parent for path in REFERENCE.parent.glob("*/run.json"))
    return [Reference.load(folder) for folder in folders if folder != REFERENCE]


def elsewhere(refs: list[Reference]) -> str:
    """README's second table: one line a record, read at its own headline target."""
    head = "| run | plain backbone, % | largest speed-up | fewer MACs, × | CPU, × | against plain, points"
    head += " | over static frontier | clearly above, clearly below |"
    lines = [head, "|---|---|---|---|---|---|---|---|", *map(_elsewhere_row, refs)]
    for ref in refs:
        drop = ref.measure("static", "drop")
        if drop is not None and drop[0] < -0.01:
            lead = ranged((-drop[0], -drop[2], -drop[1]), 100, sign=True)
            lines += ["", UNTRAINED.format(ref.folder, lead)]
    return "\n".join(lines)


def _elsewhere_row(ref: Reference) -> str:
    methods = [m for m in ref.methods if m != "static" and ref.met(m)] or [m for m in ref.methods if m != "static"]
    best = methods[0]
    over = {m: found for m in ref.methods if m != "static" and (found := ref.measure(m, "over_frontier")) is not None}
    above = ", ".join(ref.label(m) for m, found in over.items() if found[1] > 0) or "none"
    below = ", ".join(ref.label(m) for m, found in over.items() if found[2] < 0) or "none"
    drop = ref.measure(best, "drop")
    assert drop is not None
    mean, std = ref.plain_score()
    seeds = len(ref.run["spec"]["seeds"])
    level = f"{mean:.1f} ± {std:.1f}" if seeds > 1 else f"{mean:.1f}"
    against = ranged((-drop[0], -drop[2], -drop[1]), 100, sign=True)
    link = f"[{ref.folder}](reports/reference/{ref.folder}/report.md)"
    phases = next(c["phases"] for c in ref.run["cells"] if c["label"] == "backbone")
    passes = sum(phase["epochs"] for phase in phases)
    return (
        f"| {link}: {seeds} seed{'s' * (seeds > 1)}, {passes} passes, {ref.run['data']['n_test']:,} test samples"
        f" | {level}"
        f" | {ref.label(best)}{'' if ref.met(best) else ' †'}, {target(ref.target).title}"
        f" | {ranged(ref.measure(best, 'speedup_macs'), 1, sign=False)} | {ref.cpu(best)} | {against}"
        f" | {ranged(over.get(best), 100, sign=True)} | {above}; {below} |"
    )


def between(text: str, begin: str = BEGIN) -> str:
    """What stands between the markers."""
    return text.split(begin)[1].split(END)[0].strip()


def main() -> None:
    """Write every block anew."""
    ref = Reference.load()
    readme = ROOT / "README.md"
    targets = [(readme, BEGIN, readme_block(ref)), (readme, ELSEWHERE, elsewhere(others()))]
    targets.append((runtimes_text.PAGE, runtimes_text.BEGIN, runtimes_text.tables()))
    for card in sorted((ROOT / "methods").glob("*/README.md")):
        targets.append((card, BEGIN, card_paragraph(ref, card.parent.name)))
    for path, begin, block in targets:
        text = path.read_text(encoding="utf-8")
        start = text.index(begin)
        end = text.index(END, start)
        path.write_text("\n".join([text[:start] + begin, block, text[end:]]), encoding="utf-8")
    search_text.PAGE.write_text(search_text.search_page(), encoding="utf-8")
    claims_text.main()


if __name__ == "__main__":
    main()
