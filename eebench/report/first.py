"""The first screen: the answer, how far to believe it, the plot that shows it; and what the numbers rest on."""

from __future__ import annotations

import math

from eebench.report.blocks import AnswerBlock, Block, Figure, Section, Text
from eebench.report.frames import BACKBONE, STATIC
from eebench.report.overview import floor
from eebench.report.scene import COSTS, Scene
from eebench.report.targets import target
from eebench.report.text import METRICS, one_line, short_name

__all__ = ["first_screen", "overview_figure", "setting"]


def first_screen(scene: Scene, drawn: set[str]) -> Section:
    """The answer, its trust line, the overview against what the answer speaks of, then the setting."""
    found = scene.answer
    blocks: list[Block] = [AnswerBlock(found.kind, found.sentence, found.trust)]
    if f"overview_{scene.clock}" in drawn:
        blocks.append(overview_figure(scene, scene.clock))
    blocks += [Text(setting(scene)), *_warnings(scene)]
    return Section("answer", "The answer", blocks, summary=True)


def overview_figure(scene: Scene, cost: str) -> Figure:
    """The overview with a caption that holds for this very plot."""
    how = "Lines: mean over seeds of the knob that validation data choose at each budget, read on test data."
    if not scene.write.several:
        how = "Lines: the knob that validation data choose at each budget, read on test data."
    if cost != "macs":
        how = "Markers: operating points that were timed, joined by a line; between them nothing was timed."
    whiskers = f"Large marker: {target(scene.main).title}, with its 95 % interval."
    plain = scene.points("plain", BACKBONE)
    dynamic = scene.table[scene.table["kind"] == "dynamic"].dropna(subset=[COSTS[cost][0]])
    low = floor(scene, cost)
    hidden = int((100 * dynamic["score"] < low).sum())
    cut = f" {hidden} of {len(dynamic)} operating points lie below the scale." if hidden else ""
    at = f"{scene.write.score(plain['score'].iloc[0])} {scene.write.unit}" if len(plain) else ""
    cheap = f" The plain backbone: {at} at {scene.cost(cost, plain[COSTS[cost][0]].iloc[0])}." if at else ""
    title = f"Test score against {'MACs' if cost == 'macs' else COSTS[cost][2]}"
    return Figure(
        f"overview_{cost}", title, f"{how} {whiskers}{cut}{cheap}", f"comparison-{scene.main}", "comparison table"
    )


def setting(scene: Scene) -> str:
    """Model, data, the plain backbone's score and cost, how long everybody was trained."""
    run, write = scene.record.run, scene.write
    data, backbone = run["data"], run["backbone"]
    plain = scene.points("plain", BACKBONE)
    weights = short_name(one_line(backbone.get("weights")))
    text = f"{short_name(backbone['name'])} ({scene.record.depth} blocks, weights: {weights})"
    text += f" on {short_name(data['name'])}, budget {run['spec'].get('budget')}."
    if len(plain):
        row = plain.iloc[0]
        score = f"{write.score(row['score'])}{write.spread(row, 'score', write.score)}"
        unit = " %" if write.metric == "accuracy" else " (×100)"
        text += f" The plain backbone: {score}{unit} test {METRICS.get(write.metric, write.metric)}"
        text += f" at {scene.cost('macs', row['gmacs'])}"
        for short, name in (("cpu", "CPU"), ("gpu", "GPU")):
            ms = row[f"{short}_mean_ms"]
            text += f", {write.ms(ms)} ms on the {name}" if math.isfinite(ms) else ""
        text += "."
    if run.get("imported"):
        text += " Imported, cost as declared: eebench did not run what is marked so."
    return f"{text} {_training(scene)}".rstrip()


def _training(scene: Scene) -> str:
    """How long the backbone was trained, and the methods after it: what they gain on it may be further training."""
    epochs: dict[bool, set[int]] = {True: set(), False: set()}
    for cell in scene.record.run["cells"]:
        if cell.get("phases") and not cell["method"].startswith(f"{STATIC}["):
            epochs[cell["method"] == BACKBONE].add(sum(p["epochs"] for p in cell["phases"]))
    if not epochs[True] or not epochs[False]:
        return ""
    more = " or ".join(map(str, sorted(epochs[False])))
    hint = "" if scene.record.statics else " What one that trains the backbone gains on it may be further training."
    return f"It was trained for {max(epochs[True])} epochs, each method from there for {more}.{hint}"


def _warnings(scene: Scene) -> list[Text]:
    """What a reader must not miss: the run's own notes, failures, dead exits, what validation data cannot tell."""
    run, record = scene.record.run, scene.record
    notes = [f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in map(one_line, run.get("notes") or [])]
    for status in ("failed", "skipped"):
        cells = [c for c in record.cells if c["status"] == status]
        if cells:
            names = ", ".join(dict.fromkeys(record.labels[c["method"]] for c in cells))
            notes.append(f"{len(cells)} cell{'s' if len(cells) > 1 else ''} {status}: {names}.")
    notes += [*_dead(scene), *_resolution(scene)]
    return [Text(" ".join(notes), "note")] if notes else []


def _dead(scene: Scene) -> list[str]:
    exits = scene.record.exits
    dead = exits[(exits["split"] == "test") & ~exits["live"]]
    dead = dead[dead["method"].isin(scene.record.methods)]
    if dead.empty:
        return []
    labels = scene.record.labels
    parts = [
        f"{labels[str(method)]} block{'s' if rows['exit'].nunique() > 1 else ''}"
        f" {', '.join(f'{e:g}' for e in sorted(rows['exit'].unique()))}"
        for method, rows in dead.groupby("method", sort=False)
    ]
    shown = parts if len(parts) <= 6 else [*parts[:5], f"{len(parts) - 5} more methods"]
    return [f"Exits that never learnt more than the majority class: {'; '.join(shown)}."]


def _resolution(scene: Scene) -> list[str]:
    """Whether validation data can tell what the target asks: its chance, from the test intervals and the two sizes."""
    wanted = target(scene.main)
    data, points = scene.record.run["data"], scene.record.points
    at = points[(points["target"] == scene.main) & (points["kind"] == "dynamic")]
    if wanted.kind != "drop" or (at["choose"] == "upper").any():
        return []  # chosen on an upper bound: the choice itself knows what the data can tell
    half = (at["drop_high"] - at["drop_low"]).median() / 2
    if not (data.get("n_val") and data.get("n_test") and math.isfinite(half)):
        return []
    chance = half * math.sqrt(data["n_test"] / data["n_val"])
    if chance <= wanted.amount / 100:
        return []
    note = f"Knobs were chosen on {data['n_val']:,} validation samples, where a difference of {100 * chance:.1f} points"
    return [f"{note} is chance: more than what the target allows may be lost on test data."]
