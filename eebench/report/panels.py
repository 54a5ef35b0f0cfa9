"""Plots of what happens exit by exit: who stops where, how good and how slow each exit is, what it all costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eebench.report.frames import BACKBONE
from eebench.report.pareto import Scene, ghost_key
from eebench.report.style import GHOST, INK, MUTED, PARTS, bubbles, grid, joined, new
from eebench.report.verdicts import TARGET

__all__ = ["costs", "latency", "reliability", "scores", "shares"]


def _exits(scene: Scene, method: str) -> pd.DataFrame:
    """Test rows of one method's exits, mean over seeds, by block."""
    rows = scene.record.exits
    rows = rows[(rows["split"] == "test") & (rows["method"] == method)]
    return rows.drop(columns=["method", "split", "metric"]).groupby("exit").mean()


def _blocks(figure: Figure, panels: list[Any], scene: Scene, ylabel: str) -> None:
    panels[0].set_xlim(0.4, scene.record.depth + 0.6)
    panels[0].xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=3))
    figure.supxlabel("block behind which samples stop", fontsize=9.5, y=0.012)
    figure.supylabel(ylabel, fontsize=9.5, x=0.006)


def shares(scene: Scene) -> Figure:
    """Histogram of exits at the first target, a panel a method."""
    figure, panels = grid(len(scene.series), height=1.7, key=False)
    for axes, (method, look) in zip(panels, scene.series.items(), strict=True):
        exits = _exits(scene, method)[f"share_{TARGET}"]
        axes.bar(exits.index, 100 * exits, color=look.colour, width=0.8)
        points = scene.points("dynamic", method)
        mean = float(points.loc[points["target"] == TARGET, "mean_exit"].mean())
        axes.axvline(mean, color=INK, linewidth=1.1, linestyle=":")
        axes.set_title(look.label)
        axes.grid(visible=False, axis="x")
    panels[0].yaxis.set_major_formatter(PercentFormatter(decimals=0))
    _blocks(figure, panels, scene, "share of samples")
    return figure


def scores(scene: Scene) -> Figure:
    """Each exit's score over all samples, and over just those that stop there (marker area: their share)."""
    figure, panels = grid(len(scene.series), height=1.9)
    lines = {m: np.stack([e.index, 100 * e["score"]], 1) for m in scene.series for e in [_exits(scene, m)]}
    circles = bool(scene.record.exits[f"accuracy_{TARGET}"].notna().any())
    plain = 100 * scene.points("plain", BACKBONE)["score"].mean()
    lowest = min(line[:, 1].min() for line in lines.values())
    for axes, (method, look) in zip(panels, scene.series.items(), strict=True):
        axes.plot(*joined([line for m, line in lines.items() if m != method]).T, color=GHOST, linewidth=0.9)
        axes.axhline(plain, color=INK, linewidth=1, linestyle=":")
        axes.plot(*lines[method].T, color=look.colour, marker=".", markersize=5)
        exits = _exits(scene, method)
        stopped, share = 100 * exits[f"accuracy_{TARGET}"], exits[f"share_{TARGET}"]
        bubbles(axes, exits.index, stopped, share, facecolors="none", edgecolors=look.colour, linewidths=1.3)
        lowest = min(lowest, np.nanmin([lowest, *stopped]))
        axes.set_title(look.label)
    panels[0].set_ylim(lowest - 3, 108 if circles else None)
    _blocks(figure, panels, scene, f"test {scene.write.score_name}")
    handles = [
        Line2D([], [], color=INK, marker=".", label="all samples"),
        Line2D([], [], color=INK, linestyle=":", label="plain backbone"),
        *ghost_key(scene),
    ]
    if circles:
        ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": INK, "linestyle": ""}
        handles.insert(1, Line2D([], [], label="samples that stop there (larger: more of them)", **ring))
    figure.legend(handles=handles, loc="upper left", ncols=4, fontsize=8.5)
    return figure


def latency(scene: Scene, device: str) -> Figure | None:
    """Milliseconds a sample when everyone is forced to stop at a block, against the plain backbone; batch 1."""
    times = scene.record.single
    times = times[times["device"] == device]
    block = pd.to_numeric(times["path"].str.extract(r"^exit_(\d+)$", expand=False))
    forced = times.assign(block=block).dropna(subset=["block"])
    if forced.empty:
        return None
    means = forced.groupby(["method", "block"])["mean_ms"].mean()
    present = {m: look for m, look in scene.series.items() if m in means.index.get_level_values(0)}
    figure, panels = grid(len(present), height=1.7)
    lines = {m: np.stack([means[m].index, means[m]], 1) for m in present}
    plain = times.loc[(times["path"] == "plain") & (times["method"] == BACKBONE), "mean_ms"].mean()
    for axes, (method, look) in zip(panels, present.items(), strict=True):
        axes.plot(*joined([line for m, line in lines.items() if m != method]).T, color=GHOST, linewidth=0.9)
        axes.axhline(plain, color=INK, linewidth=1, linestyle=":")
        axes.plot(*lines[method].T, color=look.colour)
        axes.set_title(look.label)
    panels[0].set_ylim(bottom=0)
    _blocks(figure, panels, scene, "ms a sample")
    handles = [
        Line2D([], [], color=INK, label="everyone stops at this block"),
        Line2D([], [], color=INK, linestyle=":", label="plain backbone"),
        *ghost_key(scene),
    ]
    figure.legend(handles=handles, loc="upper left", ncols=4, fontsize=8.5)
    return figure


def costs(scene: Scene) -> Figure:
    """Where the MACs go at the first target: backbone, heads, gates, stacked, as a share of the plain backbone's."""
    rows = scene.table[(scene.table["target"] == TARGET) & scene.table["kind"].isin(["plain", "dynamic"])]
    figure = new(9.4, 0.34 * len(rows) + 1.15)
    height = figure.get_figheight()
    axes = figure.add_axes((0.17, 0.55 / height, 0.79, 1 - 1.0 / height))
    plain = rows.loc[rows["kind"] == "plain", "gmacs"].mean()
    place = np.arange(len(rows))
    left = np.zeros(len(rows))
    for part, (colour, hatch) in PARTS.items():
        width = (100 * rows[f"gmacs_{part}"].fillna(0) / plain).to_numpy()
        axes.barh(place, width, left=left, color=colour, hatch=hatch, height=0.68, label=part, linewidth=0)
        left += width
    for y, total in enumerate(left):
        axes.text(total + 0.6, y, f"{total:.0f} %", va="center", fontsize=8.5)
    axes.set_yticks(place, list(rows["label"]))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.axvline(100, color=MUTED, linewidth=0.9, linestyle="--")
    axes.set_xlim(0, max(105.0, left.max() * 1.07))
    axes.set_xlabel("MACs a sample, % of the plain backbone's")
    figure.legend(loc="upper left", ncols=3, fontsize=8.5, bbox_to_anchor=(0.16, 1.0))
    return figure


def reliability(scene: Scene) -> Figure | None:
    """Reliability diagrams at the first target: accuracy against confidence, marker area: samples in the bin."""
    bins = scene.record.optional.get("reliability")
    if bins is None:
        return None
    bins = bins[bins["target"].isin([TARGET, "plain"]) & (bins["count"] > 0)]
    plain = bins[bins["method"] == BACKBONE]
    present = {m: look for m, look in scene.series.items() if m in set(bins["method"])}
    if not present:
        return None
    figure, panels = grid(len(present), height=2.0, key=False)
    for axes, (method, look) in zip(panels, present.items(), strict=True):
        mine = bins[bins["method"] == method]
        weights = mine["count"] / mine["count"].sum()
        axes.plot([0, 100], [0, 100], color=MUTED, linestyle="--", linewidth=1)
        axes.plot(100 * plain["confidence"], 100 * plain["accuracy"], "s", color=GHOST, markersize=4)
        bubbles(axes, 100 * mine["confidence"], 100 * mine["accuracy"], weights, color=look.colour, linewidths=0)
        axes.set_title(look.label)
    panels[0].set(xlim=(-3, 103), ylim=(-3, 103))
    figure.supxlabel("confidence, %", fontsize=9.5, y=0.012)
    figure.supylabel("accuracy, %", fontsize=9.5, x=0.006)
    return figure
