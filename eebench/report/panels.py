"""Plots of what happens exit by exit: who stops where, how good and how slow each exit is, what it all costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eebench.report.frames import BACKBONE
from eebench.report.looks import GHOST, INK, MUTED, PARTS
from eebench.report.scene import Plot, Scene, Tip
from eebench.report.style import Medium, axes_in, bubbles, captioned, ghost_key, grid, joined, new

__all__ = ["costs", "latency", "pooled", "reliability", "scores", "shares"]


def _shares(scene: Scene, method: str) -> pd.DataFrame:
    """Share and accuracy of those who stop at each exit at the main target, mean over seeds, by block."""
    rows = scene.record.table("shares")
    rows = rows[(rows["method"] == method) & (rows["target"] == scene.main)]
    return rows.groupby("exit")[["share", "accuracy"]].mean()


def _scores(scene: Scene, method: str) -> pd.Series:
    rows = scene.record.exits
    return rows[(rows["split"] == "test") & (rows["method"] == method)].groupby("exit")["score"].mean()


def _blocks(figure: Figure, panels: Sequence[Any], scene: Scene, medium: Medium, ylabel: str) -> None:
    panels[0].set_xlim(0.4, scene.record.depth + 0.6)
    panels[0].xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=3))
    captioned(figure, medium, "block behind which samples stop", ylabel)


def _legend(figure: Figure, medium: Medium, handles: list[Line2D]) -> None:
    narrow = medium.columns < 4
    figure.legend(
        handles=handles, loc="upper left", ncols=2 if narrow else 4, columnspacing=1.2,
        fontsize=medium.type(0.82 if narrow else 0.95),
    )  # fmt: skip


def shares(scene: Scene, medium: Medium) -> Plot | None:
    """Histogram of exits at the main target, a panel a method."""
    if scene.record.table("shares").empty:
        return None
    figure, panels = grid(medium, len(scene.series), height=1.7, key=0)
    tips = []
    for axes, (method, look) in zip(panels, scene.series.items(), strict=True):
        stop = 100 * _shares(scene, method)["share"]
        axes.bar(stop.index, stop, color=look.colour, width=0.8)
        found = zip(stop.index.to_numpy(float), stop.to_numpy(float), strict=True)
        tips += [Tip(axes, b, v, f"{look.label} · block {b:g} · {v:.1f} % stop") for b, v in found]
        points = scene.points("dynamic", method)
        mean = float(points.loc[points["target"] == scene.main, "mean_exit"].mean())
        axes.axvline(mean, color=INK, linewidth=1.1 * medium.scale, linestyle=":")
        axes.set_title(look.label)
        axes.grid(visible=False, axis="x")
    panels[0].yaxis.set_major_formatter(PercentFormatter(decimals=0))
    _blocks(figure, panels, scene, medium, "share of samples")
    return Plot(figure, tips)


def scores(scene: Scene, medium: Medium) -> Plot:
    """Each exit's score over all samples, and over just those that stop there (marker area: their share)."""
    figure, panels = grid(medium, len(scene.series), height=1.9)
    lines = {m: np.stack([e.index, 100 * e], 1) for m in scene.series for e in [_scores(scene, m)]}
    circles = bool(scene.record.table("shares")["accuracy"].notna().any())
    plain = 100 * scene.points("plain", BACKBONE)["score"].mean()
    lowest = min(line[:, 1].min() for line in lines.values())
    s = medium.scale
    tips = []
    for axes, (method, look) in zip(panels, scene.series.items(), strict=True):
        others = joined([line for m, line in lines.items() if m != method])
        axes.plot(*others.T, color=GHOST, linewidth=0.9 * s)
        axes.axhline(plain, color=INK, linewidth=1 * s, linestyle=":")
        axes.plot(*lines[method].T, color=look.colour, marker=".", markersize=5 * s)
        unit = scene.write.unit
        tips += [Tip(axes, x, y, f"{look.label} · block {x:g} · all samples {y:.1f} {unit}") for x, y in lines[method]]
        if circles:
            stop = _shares(scene, method)
            right, share = 100 * stop["accuracy"], stop["share"]
            bubbles(axes, stop.index, right, share, s, facecolors="none", edgecolors=look.colour, linewidths=1.3 * s)
            lowest = min(lowest, np.nanmin([lowest, *right]))
        axes.set_title(look.label)
    panels[0].set_ylim(lowest - 3, 103 if circles else None)
    _blocks(figure, panels, scene, medium, f"test {scene.write.score_name}")
    handles = [
        Line2D([], [], color=INK, marker=".", label="all samples"),
        Line2D([], [], color=INK, linestyle=":", label="plain backbone"),
        *ghost_key(len(scene.series)),
    ]
    if circles:
        ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": INK, "linestyle": ""}
        larger = " (larger: more)" if medium.columns == 4 else ""
        handles.insert(1, Line2D([], [], label=f"those that stop there{larger}", **ring))
    _legend(figure, medium, handles)
    return Plot(figure, tips)


def latency(scene: Scene, device: str, medium: Medium) -> Plot | None:
    """Milliseconds a sample when everyone is forced to stop at a block, against the plain backbone; batch 1."""
    times = scene.record.single
    times = times[times["device"] == device]
    block = pd.to_numeric(times["path"].str.extract(r"^exit_(\d+)$", expand=False))
    forced = times.assign(block=block).dropna(subset=["block"])
    forced = forced[forced["method"].isin(scene.series)]
    if forced.empty:
        return None
    means = forced.groupby(["method", "block"])["mean_ms"].mean()
    present = {m: look for m, look in scene.series.items() if m in means.index.get_level_values(0)}
    figure, panels = grid(medium, len(present), height=1.7)
    lines = {m: np.stack([means[m].index, means[m]], 1) for m in present}
    plain = times.loc[(times["path"] == "plain") & (times["method"] == BACKBONE), "mean_ms"].mean()
    s = medium.scale
    tips = []
    for axes, (method, look) in zip(panels, present.items(), strict=True):
        others = joined([line for m, line in lines.items() if m != method])
        axes.plot(*others.T, color=GHOST, linewidth=0.9 * s)
        axes.axhline(plain, color=INK, linewidth=1 * s, linestyle=":")
        axes.plot(*lines[method].T, color=look.colour, marker=".", markersize=4 * s)
        tips += [Tip(axes, x, y, f"{look.label} · block {x:g} · {scene.write.ms(y)} ms") for x, y in lines[method]]
        axes.set_title(look.label)
    panels[0].set_ylim(bottom=0)
    _blocks(figure, panels, scene, medium, "ms a sample")
    handles = [
        Line2D([], [], color=INK, marker=".", label="everyone stops at this block"),
        Line2D([], [], color=INK, linestyle=":", label="plain backbone"),
        *ghost_key(len(present)),
    ]
    _legend(figure, medium, handles)
    return Plot(figure, tips)


def costs(scene: Scene, medium: Medium) -> Plot:
    """Where the MACs go at the main target: backbone, heads, gates, stacked, as a share of the plain backbone's."""
    rows = scene.table[(scene.table["target"] == scene.main) & scene.table["kind"].isin(["plain", "dynamic"])]
    s = medium.scale
    figure = new(medium.width, (0.34 * len(rows) + 1.15) * s)
    left = (max(len(label) for label in rows["label"]) * 0.082 + 0.2) * s
    axes = axes_in(figure, min(left, 0.45 * medium.width), 0.55 * s, 0.3 * s, 0.4 * s)
    plain = rows.loc[rows["kind"] == "plain", "gmacs"].mean()
    place = np.arange(len(rows))
    start = np.zeros(len(rows))
    tips = []
    for part, (colour, hatch) in PARTS.items():
        width = (100 * rows[f"gmacs_{part}"].fillna(0) / plain).to_numpy()
        axes.barh(place, width, left=start, color=colour, hatch=hatch, height=0.68, label=part, linewidth=0)
        found = zip(rows["label"], place, start + width / 2, width, strict=True)
        tips += [Tip(axes, x, float(y), f"{label} · {part} {share:.1f} %") for label, y, x, share in found if share > 0]
        start += width
    for y, total in enumerate(start):
        axes.text(total + 0.6, y, f"{total:.0f} %", va="center", fontsize=medium.type(0.9))
    axes.set_yticks(place, list(rows["label"]))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.axvline(100, color=MUTED, linewidth=0.9 * s, linestyle="--")
    axes.set_xlim(0, max(105.0, start.max() * 1.09))
    axes.set_xlabel("MACs a sample, % of the plain backbone's")
    figure.legend(loc="upper left", ncols=3)
    return Plot(figure, tips)


def reliability(scene: Scene, medium: Medium) -> Plot | None:
    """Reliability diagrams at the main target: accuracy against confidence, marker area: samples in the bin."""
    bins = scene.record.table("reliability")
    bins = bins[bins["target"].isin([scene.main, "plain"])]
    bins = pooled(bins)
    plain = bins[bins["method"] == BACKBONE]
    present = {m: look for m, look in scene.series.items() if m in set(bins["method"])}
    if not present:
        return None
    figure, panels = grid(medium, len(present), height=2.0, key=0)
    s = medium.scale
    tips = []
    for axes, (method, look) in zip(panels, present.items(), strict=True):
        mine = bins[bins["method"] == method]
        axes.plot([0, 100], [0, 100], color=MUTED, linestyle="--", linewidth=1 * s)
        axes.plot(100 * plain["confidence"], 100 * plain["accuracy"], "s", color=GHOST, markersize=4 * s, clip_on=False)
        x, y = 100 * mine["confidence"], 100 * mine["accuracy"]
        bubbles(axes, x, y, mine["count"] / mine["count"].sum(), s, color=look.colour, linewidths=0)
        found = zip(x, y, mine["count"], strict=True)
        tips += [
            Tip(axes, a, b, f"{look.label} · sure {a:.0f} %, right {b:.0f} % of {n:g} samples") for a, b, n in found
        ]
        axes.set_title(look.label)
    panels[0].set(xlim=(-4, 104), ylim=(-4, 106))
    captioned(figure, medium, "confidence, %", "accuracy, %")
    return Plot(figure, tips)


def pooled(bins: pd.DataFrame) -> pd.DataFrame:
    """Reliability bins of all seeds together: the samples of a bin are counted, not the seeds."""
    bins = bins[bins["count"] > 0] if len(bins) else bins
    sums = bins.assign(confidence=bins["confidence"] * bins["count"], accuracy=bins["accuracy"] * bins["count"])
    total = sums.groupby(["method", "bin"])[["count", "confidence", "accuracy"]].sum()
    total[["confidence", "accuracy"]] = total[["confidence", "accuracy"]].div(total["count"], axis=0)
    return total.reset_index()
