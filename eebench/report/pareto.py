"""Score against cost, and speed as claimed against speed as measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from eebench.report.frames import BACKBONE, Record
from eebench.report.style import GHOST, INK, MUTED, Series, grid, joined, new, palette, thin
from eebench.report.text import Writer
from eebench.report.verdicts import TARGET

__all__ = ["COSTS", "FEW", "REACH", "Scene", "claimed", "ghost_key", "overview", "per_method"]

COSTS = {
    "macs": ("gmacs", "gmacs", "GMACs a sample"),
    "cpu": ("cpu_mean_ms", "speedup_cpu", "CPU ms a sample, batch 1"),
    "gpu": ("gpu_mean_ms", "speedup_gpu", "GPU ms a sample, batch 1"),
}
FEW = 3  # up to so many methods the overview holds their fixed-depth curves too
_DEVICE = {"cpu": "cpu", "gpu": "cuda"}
REACH = 15.0  # points below the plain backbone's score that the overview shows
_POINTS = 60  # a polyline has at most so many


@dataclass(frozen=True)
class Scene:
    """What every plot is drawn from."""

    record: Record
    table: pd.DataFrame
    write: Writer

    @property
    def series(self) -> dict[str, Series]:
        """Looks by method."""
        return palette(self.record.methods, self.record.labels)

    def points(self, kind: str, method: str) -> pd.DataFrame:
        """Comparison rows of one method and kind, all targets."""
        return self.table[(self.table["kind"] == kind) & (self.table["method"] == method)]


def overview(scene: Scene, cost: str) -> Figure:
    """All methods in one plot; with few of them their fixed-depth curves too."""
    figure = new(9.4, 4.9)
    axes = figure.add_axes((0.075, 0.12, 0.68, 0.84))
    few = len(scene.series) <= FEW
    for method, look in scene.series.items():
        _dynamic(axes, scene, method, look, cost)
        if few:
            _fixed(axes, scene, method, look, cost)
    _plain(axes, scene, cost)
    _limits([axes], scene, near=True)
    axes.set_xlabel(COSTS[cost][2])
    axes.set_ylabel(f"test {scene.write.score_name}")
    names = [_key(look.label, look.colour, look.marker, look.dash) for look in scene.series.values()]
    handles = [*names, *_keys(fixed=few)]
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.765, 0.97), fontsize=8.5, handlelength=2.6)
    return figure


def per_method(scene: Scene, cost: str) -> Figure:
    """A panel a method: its curve, its own fixed-depth and random baselines, the oracle, the others as ghosts."""
    figure, panels = grid(len(scene.series))
    lines = {m: [line for line in _curves(scene, m, cost) if len(line)] for m in scene.series}
    for axes, (method, look) in zip(panels, scene.series.items(), strict=True):
        others = joined([thin(line, 20) for m, own in lines.items() if m != method for line in own])
        axes.plot(*others.T, color=GHOST, linewidth=0.9, zorder=1)
        _fixed(axes, scene, method, look, cost)
        if cost == "macs":
            for line in _lines(scene, "random", method):
                axes.plot(*line.T, color=MUTED, linestyle=":", linewidth=1.1, zorder=1.5)
            oracle = scene.points("oracle", method)
            axes.plot(oracle["gmacs"], 100 * oracle["score"], "x", color=MUTED, markeredgecolor=MUTED, markersize=5)
        _dynamic(axes, scene, method, look, cost, solid=True)
        _plain(axes, scene, cost)
        axes.set_title(look.label)
    _limits(panels, scene)
    panels[0].xaxis.set_major_locator(MaxNLocator(4))
    figure.supxlabel(COSTS[cost][2], fontsize=9.5, y=0.012)
    figure.supylabel(f"test {scene.write.score_name}", fontsize=9.5, x=0.006)
    handles = [
        _key("the method", INK, "o", "-"),
        *_keys(fixed=True, random=cost == "macs"),
    ]
    handles += ghost_key(scene)
    figure.legend(handles=handles, loc="upper left", ncols=7, fontsize=8.5, columnspacing=1.2)
    return figure


def claimed(scene: Scene) -> Figure:
    """Speed-up by layer count (what papers report) against MACs and wall clock, every operating point; log scales."""
    dynamic = scene.table[scene.table["kind"] == "dynamic"]
    measured = {
        "speedup_macs": "MACs, everything charged",
        "speedup_cpu": "CPU wall clock",
        "speedup_gpu": "GPU wall clock",
    }
    shown = {name: text for name, text in measured.items() if dynamic[name].notna().any()}
    figure = new(9.4, 4.3 if len(shown) == 2 else 3.6)
    panels = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    figure.subplots_adjust(0.075, 0.13, 0.80, 0.92, wspace=0.08)
    values = dynamic[["speedup_layers", *shown]].to_numpy(float)
    low, high = min(0.9, np.nanmin(values)) * 0.96, max(1.5, np.nanmax(values)) * 1.05
    for axes, (name, text) in zip(panels, shown.items(), strict=True):
        axes.plot([low, high], [low, high], color=MUTED, linestyle="--", linewidth=1)
        axes.axhline(1, color=MUTED, linewidth=0.8)
        for method, look in scene.series.items():
            points = scene.points("dynamic", method)
            for _, row in points.iterrows():
                size = 8 if row["target"] == TARGET else 5
                axes.plot(
                    row["speedup_layers"], row[name], look.marker, color=look.colour, markersize=size, gid=look.gid
                )
        axes.set_title(text)
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator([0.25, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12]))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    panels[0].set_ylabel("speed-up measured")
    figure.supxlabel("speed-up by layer count, heads free", fontsize=9.5, x=0.44, y=0.012)
    handles = [_key(look.label, look.colour, look.marker, "") for look in scene.series.values()]
    handles.append(Line2D([], [], color=MUTED, linestyle="--", label="measured = claimed"))
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.805, 0.93), fontsize=8.5)
    return figure


def _curves(scene: Scene, method: str, cost: str) -> list[np.ndarray]:
    """The method's own polylines (N, 2): a knob sweep a seed over MACs, the measured points over milliseconds."""
    if cost == "macs":
        return _lines(scene, "dynamic", method)
    points = scene.points("dynamic", method).dropna(subset=[COSTS[cost][0]]).sort_values(COSTS[cost][0])
    return [np.stack([points[COSTS[cost][0]], 100 * points["score"]], 1)]


def _lines(scene: Scene, kind: str, method: str) -> list[np.ndarray]:
    """Score over GMACs, a polyline a seed, thinned evenly along its cost."""
    rows = scene.record.test(kind)
    lines = []
    for _, sweep in rows[rows["method"] == method].groupby("seed"):
        sweep = sweep.drop_duplicates(["gmacs", "score"]).sort_values("gmacs")
        line = np.stack([sweep["gmacs"], 100 * sweep["score"]], 1)
        lines.append(thin(line, _POINTS))
    return lines


def _dynamic(axes: Axes, scene: Scene, method: str, look: Series, cost: str, *, solid: bool = False) -> None:
    lines = _curves(scene, method, cost)
    width = 1.8 if len(lines) == 1 else 1.1
    dash = "-" if solid else look.dash
    axes.plot(*joined(lines).T, color=look.colour, linestyle=dash, linewidth=width, gid=look.gid, zorder=3)
    x, speedup, _ = COSTS[cost]
    for _, row in scene.points("dynamic", method).iterrows():
        chosen = row["target"] == TARGET
        y = 100 * row["score"]
        axes.plot(row[x], y, look.marker, color=look.colour, markersize=8.5 if chosen else 5, gid=look.gid, zorder=5)
        if chosen:
            bounds = [100 * (row["score"] + row["drop"] - row[f"drop_{end}"]) for end in ("high", "low")]
            axes.plot([row[x]] * 2, bounds, color=look.colour, linewidth=1.3, gid=look.gid, zorder=4)
            if cost != "macs":
                plain = row[x] * row[speedup]
                ends = [plain / row[f"{speedup}_{end}"] for end in ("high", "low")]
                axes.plot(ends, [y] * 2, color=look.colour, linewidth=1.3, gid=look.gid, zorder=4)


def _fixed(axes: Axes, scene: Scene, method: str, look: Series, cost: str) -> None:
    """The fixed-depth curve, mean over seeds: its cost by MACs, or as timed where a target chose that block."""
    rows = scene.record.test("fixed")
    rows = rows[rows["method"] == method]
    x = "gmacs"
    if cost != "macs":
        times = scene.record.single
        times = times[(times["method"] == method) & (times["device"] == _DEVICE[cost])]
        block = pd.to_numeric(times["path"].str.extract(r"^fixed_(\d+)$", expand=False))
        times = times.assign(knob=block).dropna(subset=["knob"])[["seed", "knob", "mean_ms"]]
        x, rows = "mean_ms", rows.merge(times, on=["seed", "knob"])  # a seed's score goes with that seed's time
    means = rows.groupby("knob")[["score", x]].mean()
    axes.plot(
        means[x], 100 * means["score"], color=look.colour, linestyle="--", linewidth=1.1, marker=".", markersize=7,
        gid=look.gid, zorder=2,
    )  # fmt: skip


def _plain(axes: Axes, scene: Scene, cost: str) -> None:
    row = scene.points("plain", BACKBONE)
    x = row[COSTS[cost][0]].iloc[:1]
    axes.plot(x, 100 * row["score"].iloc[:1], "*", color=INK, markersize=12, zorder=6)


def _limits(panels: list[Axes], scene: Scene, *, near: bool = False) -> None:
    """Scales that show every operating point; ``near``: only down to :data:`REACH` below the plain backbone."""
    shown = 100 * scene.table.loc[scene.table["kind"] == "dynamic", "score"]
    plain = 100 * scene.points("plain", BACKBONE)["score"].max()
    floor = min(shown.min(), plain)
    if near:
        floor = max(floor, min(plain - REACH, shown.max()))
    drawn = np.concatenate([np.asarray(line.get_xydata(), float) for axes in panels for line in axes.get_lines()])
    seen = drawn[np.isfinite(drawn).all(1) & (drawn[:, 1] >= floor)]
    top, span = seen[:, 1].max(), max(np.ptp(seen[:, 0]), 1e-9)
    pad = 0.05 * max(top - floor, 1.0)
    panels[0].set_ylim(floor - pad, top + pad)
    panels[0].set_xlim(max(0.0, seen[:, 0].min() - 0.04 * span), seen[:, 0].max() + 0.05 * span)


def ghost_key(scene: Scene) -> list[Line2D]:
    """The legend's entry for the other methods' lines, where there are any."""
    return [Line2D([], [], color=GHOST, label="other methods")] if len(scene.series) > 1 else []


def _key(label: str, colour: str, marker: str, dash: Any) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle=dash, markersize=6, label=label)


def _keys(*, fixed: bool, random: bool = False) -> list[Line2D]:
    handles = [Line2D([], [], color=INK, marker="*", linestyle="", markersize=10, label="plain backbone")]
    if fixed:
        dashed: dict[str, Any] = {"color": INK, "linestyle": "--", "linewidth": 1.1, "marker": ".", "markersize": 7}
        handles.append(Line2D([], [], label="fixed depth", **dashed))
    if random:
        handles.append(Line2D([], [], color=MUTED, linestyle=":", label="random exits"))
        handles.append(
            Line2D([], [], color=MUTED, marker="x", markeredgecolor=MUTED, linestyle="", label="oracle (bound)")
        )
    return handles
