"""A panel a method: its knob sweeps, its own fixed depths, random exits and the oracle, everybody else in grey."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from eebench.report.frames import BACKBONE
from eebench.report.looks import GHOST, INK, MUTED, Look
from eebench.report.overview import axis_name, described, scaled
from eebench.report.scene import COSTS, Plot, Scene, Tip
from eebench.report.style import Medium, captioned, ghost_key, grid, joined, thin

__all__ = ["per_method"]

_POINTS = 40  # a polyline has at most so many
_DEVICE = {"cpu": "cpu", "gpu": "cuda"}


def per_method(scene: Scene, cost: str, medium: Medium) -> Plot:
    """The detail of the overview, down to the cheapest operating point."""
    figure, panels = grid(medium, len(scene.series))
    lines = {m: [line for line in _curves(scene, m, cost) if len(line)] for m in scene.series}
    tips: list[Tip] = []
    s = medium.scale
    for axes, (method, look) in zip(panels, scene.series.items(), strict=True):
        others = joined([thin(line, 12) for m, own in lines.items() if m != method for line in own])
        axes.plot(*others.T, color=GHOST, linewidth=0.9 * s, zorder=1)
        tips += _fixed(axes, scene, method, look, cost, s)
        if cost == "macs":
            for line in _sweeps(scene, "random", method):
                axes.plot(*line.T, color=MUTED, linestyle=":", linewidth=1.1 * s, zorder=1.5)
            oracle = scene.points("oracle", method)
            x = scaled(scene, cost, oracle["gmacs"])
            axes.plot(x, 100 * oracle["score"], "x", color=MUTED, markeredgecolor=MUTED, markersize=5 * s)
        axes.plot(*joined(lines[method]).T, color=look.colour, linewidth=(1.8 if len(lines[method]) == 1 else 1.1) * s)
        tips += _points(axes, scene, method, look, cost, s)
        plain = scene.points("plain", BACKBONE)
        place = scaled(scene, cost, plain[COSTS[cost][0]].iloc[:1])
        axes.plot(place, 100 * plain["score"].iloc[:1], "*", color=INK, markersize=11 * s, zorder=6)
        axes.set_title(look.label)
    _limits(panels, scene)
    panels[0].xaxis.set_major_locator(MaxNLocator(4))
    captioned(figure, medium, axis_name(scene, cost), f"test {scene.write.score_name}")
    narrow = medium.columns < 4
    figure.legend(
        handles=_keys(scene, cost), loc="upper left", ncols=3 if narrow else 6, columnspacing=1.2,
        handlelength=1.8, fontsize=medium.type(0.85 if narrow else 0.95),
    )  # fmt: skip
    return Plot(figure, tips)


def _curves(scene: Scene, method: str, cost: str) -> list[np.ndarray]:
    """The method's own polylines (N, 2): a knob sweep a seed over MACs, the measured points over milliseconds."""
    if cost == "macs":
        return _sweeps(scene, "dynamic", method)
    column = COSTS[cost][0]
    points = scene.points("dynamic", method).dropna(subset=[column]).sort_values(column)
    return [np.stack([points[column], 100 * points["score"]], 1)]


def _sweeps(scene: Scene, kind: str, method: str) -> list[np.ndarray]:
    """Score over MACs, a polyline a seed, thinned evenly along its cost."""
    rows = scene.record.test(kind)
    lines = []
    for _, sweep in rows[rows["method"] == method].groupby("seed"):
        sweep = sweep.drop_duplicates(["gmacs", "score"]).sort_values("gmacs")
        line = np.stack([scaled(scene, "macs", sweep["gmacs"]), 100 * sweep["score"]], 1)
        lines.append(thin(line, _POINTS))
    return lines


def _points(axes: Axes, scene: Scene, method: str, look: Look, cost: str, s: float) -> list[Tip]:
    column = COSTS[cost][0]
    tips = []
    for _, row in scene.points("dynamic", method).dropna(subset=[column]).iterrows():
        chosen = row["target"] == scene.main
        x, y = float(scaled(scene, cost, row[column])), 100 * row["score"]
        axes.plot(x, y, look.marker, color=look.colour, markersize=(8 if chosen else 4.5) * s, zorder=5)
        tips.append(Tip(axes, x, y, described(scene, row, cost)))
    return tips


def _fixed(axes: Axes, scene: Scene, method: str, look: Look, cost: str, s: float) -> list[Tip]:
    """The method's fixed depths, mean over seeds: by MACs, or as timed where every seed timed that block."""
    rows = scene.record.test("fixed")
    rows = rows[rows["method"] == method]
    seeds = rows["seed"].nunique()
    x = "gmacs"
    if cost != "macs":
        times = scene.record.single
        times = times[(times["method"] == method) & (times["device"] == _DEVICE[cost])]
        block = pd.to_numeric(times["path"].str.extract(r"^fixed_(\d+)$", expand=False))
        times = times.assign(knob=block).dropna(subset=["knob"])[["seed", "knob", "mean_ms"]]
        x, rows = "mean_ms", rows.merge(times, on=["seed", "knob"])  # a seed's score goes with that seed's time
    whole = rows.groupby("knob")["seed"].transform("nunique") == seeds
    means = rows[whole].groupby("knob")[["score", x]].mean()
    place, y = scaled(scene, cost, means[x]), 100 * means["score"]
    axes.plot(
        place, y, color=look.colour, linestyle="--", linewidth=1.1 * s, marker=".", markersize=7 * s, zorder=2,
    )  # fmt: skip
    label = scene.record.labels[method]
    parts = zip(means.index, place, y, means["score"], strict=True)
    return [
        Tip(axes, float(a), float(b), f"{label} cut at block {k:g} · {scene.write.score(score)} {scene.write.unit}")
        for k, a, b, score in parts
    ]


def _limits(panels: list[Axes], scene: Scene) -> None:
    """Scales that show every operating point."""
    shown = 100 * scene.table.loc[scene.table["kind"] == "dynamic", "score"]
    floor = min(shown.min(), 100 * scene.points("plain", BACKBONE)["score"].max())
    drawn = np.concatenate([np.asarray(line.get_xydata(), float) for axes in panels for line in axes.get_lines()])
    seen = drawn[np.isfinite(drawn).all(1) & (drawn[:, 1] >= floor)]
    top, span = seen[:, 1].max(), max(np.ptp(seen[:, 0]), 1e-9)
    pad = 0.05 * max(top - floor, 1.0)
    panels[0].set_ylim(floor - pad, top + pad)
    panels[0].set_xlim(max(0.0, seen[:, 0].min() - 0.04 * span), seen[:, 0].max() + 0.05 * span)


def _keys(scene: Scene, cost: str) -> list[Any]:
    handles = [
        Line2D([], [], color=INK, marker="o", label="the method"),
        Line2D([], [], color=INK, marker="*", linestyle="", label="plain backbone"),
        Line2D([], [], color=INK, linestyle="--", marker=".", label="its fixed depths"),
    ]
    if cost == "macs":
        handles.append(Line2D([], [], color=MUTED, linestyle=":", label="random exits"))
        handles.append(
            Line2D([], [], color=MUTED, marker="x", markeredgecolor=MUTED, linestyle="", label="oracle (bound)")
        )
    return [*handles, *ghost_key(len(scene.series))]
