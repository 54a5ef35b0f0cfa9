"""The plot that a report opens with: score against cost, what is on the front in colour, the rest as ghosts."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from eebench.report.frames import BACKBONE
from eebench.report.lines import Curve, Lines
from eebench.report.looks import GHOST, INK, MUTED, Look
from eebench.report.scene import COSTS, Plot, Scene, Tip
from eebench.report.style import Medium, axes_in, new
from eebench.report.text import knob, number, times

__all__ = ["axis_name", "described", "emphasised", "floor", "overview", "scaled"]

REACH = (4.0, 15.0)  # points below the plain backbone's score that the overview shows at least, and at most
_MOST = 5  # methods in colour; more than these nobody tells apart


def overview(scene: Scene, lines: Lines, cost: str, medium: Medium) -> Plot:
    """Mean curves with a band over seeds, the front over everything, one line of fixed depths, one of static models.

    Against milliseconds only operating points were timed: lines join those, and nothing between them is claimed.
    """
    s = medium.scale
    narrow = medium.columns < 4
    shown = emphasised(scene, lines, cost)
    right = max([len(scene.series[m].label) for m in shown] + [4]) * medium.size * 0.66 / 72 + 0.32 * s
    side_by_side = 2 if narrow else 7 if medium.width > 9 else 4  # entries of the legend
    key = 0.25 if side_by_side == 7 else 0.46
    if narrow:  # a column has no room for names beside the plot: they are in the legend
        key, right = 0.23 * -(-(7 + len(shown)) // 2), 0.12 * s
    figure = new(medium.width, (4.2 + key) * s)
    axes = axes_in(figure, 0.72 * s, (0.55 + key) * s, right, 0.12 * s)
    tips: list[Tip] = []
    ends: list[tuple[float, float, Look]] = []
    for method, look in scene.series.items():
        curve = _curve(scene, lines, method, cost)
        if not len(curve):
            continue
        x, y = scaled(scene, cost, curve.cost), 100 * curve.score
        if method not in shown:
            axes.plot(x, y, color=GHOST, linewidth=1.1 * s, zorder=1.5)
        else:
            axes.fill_between(x, y - 100 * curve.std, y + 100 * curve.std, color=look.colour, alpha=0.11, linewidth=0)
            axes.plot(x, y, color=look.colour, linestyle=look.dash, zorder=4, gid=look.gid)
            _marks(axes, scene, method, look, cost, s)
        tips += _tips(axes, scene, method, cost)
    _trivial(axes, scene, lines, cost, s)
    named = _answer_ring(axes, scene, cost, s)
    _limits(axes, scene, cost)
    for method in shown:
        end = None if narrow else _label_place(axes, scene, method, cost)
        if end:
            ends.append((*end, scene.series[method]))
    _labels(axes, ends, medium)
    axes.set_xlabel(axis_name(scene, cost))
    axes.set_ylabel(f"test {scene.write.score_name}")
    looks = [scene.series[m] for m in shown] if narrow else []
    methods = [Line2D([], [], color=x.colour, marker=x.marker, linestyle=x.dash, label=x.label) for x in looks]
    figure.legend(
        handles=[*methods, *_keys(scene, lines, cost, len(shown) < len(scene.series)), *named],
        loc="lower left", ncols=side_by_side,
        bbox_to_anchor=(0.01, 0.0), columnspacing=1.1, handlelength=1.8, fontsize=medium.type(0.9),
    )  # fmt: skip
    return Plot(figure, tips)


def scaled(scene: Scene, cost: str, values: Any) -> np.ndarray:
    """A cost in the unit its axis has."""
    return np.asarray(values, float) * (scene.write.macs_scale if cost == "macs" else 1.0)


def axis_name(scene: Scene, cost: str) -> str:
    """The axis label of a cost."""
    return f"{scene.write.macs_unit} a sample, everything charged" if cost == "macs" else COSTS[cost][2]


def emphasised(scene: Scene, lines: Lines, cost: str) -> list[str]:
    """Methods in colour: all where they are few, else those that the answer names, then those on the front."""
    if len(scene.series) <= _MOST:
        return list(scene.series)
    front = lines.front if cost == "macs" else lines.timed_front(cost)
    race = scene.race(scene.main)
    running = [row["method"] for row in race.running("dynamic")]
    named = [scene.answer.best[0]] if scene.answer.best else []
    order = [m for m in dict.fromkeys([*named, *running[:1], *front.who, *running, *scene.series]) if m in scene.series]
    first: dict[str, str] = {}  # a colour's first method: two in one colour would be hard to tell apart
    for method in order:
        first.setdefault(scene.series[method].colour, method)
    return list(first.values())[:_MOST]


def _curve(scene: Scene, lines: Lines, method: str, cost: str) -> Curve:
    """A method's mean curve; against time its timed operating points."""
    if cost == "macs":
        return lines.mean(method)
    column = COSTS[cost][0]
    points = scene.points("dynamic", method).dropna(subset=[column]).sort_values(column)
    x, score, knobs = (points[name].to_numpy(float) for name in (column, "score", "knob"))
    return Curve(x, score, points["score_std"].fillna(0.0).to_numpy(float), knobs)


def _marks(axes: Axes, scene: Scene, method: str, look: Look, cost: str, s: float) -> None:
    """Operating points; the large one is the main target's, with its interval in score and, timed, in time."""
    x, speedup, _ = COSTS[cost]
    for _, row in scene.points("dynamic", method).dropna(subset=[x]).iterrows():
        chosen = row["target"] == scene.main
        place, y = float(scaled(scene, cost, row[x])), 100 * row["score"]
        size = (9 if chosen else 4.5) * s
        axes.plot(place, y, look.marker, color=look.colour, markersize=size, gid=look.gid, zorder=6 if chosen else 5)
        if chosen:
            bounds = [100 * (row["score"] + row["drop"] - row[f"drop_{end}"]) for end in ("high", "low")]
            axes.plot([place] * 2, bounds, color=look.colour, linewidth=1.2 * s, gid=look.gid, zorder=4.5)
            if cost != "macs":
                plain = row[x] * row[speedup]
                sides = [plain / row[f"{speedup}_{end}"] for end in ("high", "low")]
                axes.plot(sides, [y] * 2, color=look.colour, linewidth=1.2 * s, gid=look.gid, zorder=4.5)


def _trivial(axes: Axes, scene: Scene, lines: Lines, cost: str, s: float) -> None:
    """What decides nothing: the front's shadow, fixed depth, static models, the plain backbone."""
    front = lines.front if cost == "macs" else lines.timed_front(cost)
    if len(front):
        x, y = scaled(scene, cost, front.cost), 100 * front.score
        axes.plot(x, y, color=MUTED, linewidth=6 * s, alpha=0.22, zorder=1, solid_capstyle="round")
    fixed = lines.fixed if cost == "macs" else lines.timed_fixed(cost)
    if len(fixed):
        x, y = scaled(scene, cost, fixed.cost), 100 * fixed.score
        axes.plot(x, y, color=INK, linestyle=(0, (4, 2)), linewidth=1.2 * s, marker=".", markersize=6 * s, zorder=2)
    static = lines.static(cost)
    if len(static):
        x, y = scaled(scene, cost, static.cost), 100 * static.score
        axes.errorbar(
            x, y, 100 * static.std, color=INK, linewidth=1.3 * s, marker="s", markersize=5 * s, elinewidth=0.9 * s,
            markerfacecolor="none", markeredgecolor=INK, zorder=3,
        )  # fmt: skip
    plain = scene.points("plain", BACKBONE)
    place = scaled(scene, cost, plain[COSTS[cost][0]].iloc[:1])
    axes.plot(place, 100 * plain["score"].iloc[:1], "*", color=INK, markersize=13 * s, zorder=7)


def _answer_ring(axes: Axes, scene: Scene, cost: str, s: float) -> list[Line2D]:
    """A ring around what the answer names, whatever kind it is, and its entry in the legend."""
    best, column = scene.answer.best, COSTS[cost][0]
    if best is None or best[1] == "plain":
        return []
    points = scene.points(best[1], best[0])
    points = points[points["target"] == scene.main].dropna(subset=[column])
    if points.empty:
        return []
    row = points.iloc[0]
    ring: dict[str, Any] = {
        "marker": "o", "linestyle": "", "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.5 * s,
    }  # fmt: skip
    axes.plot(scaled(scene, cost, [row[column]]), [100 * row["score"]], markersize=17 * s, zorder=8, **ring)
    return [Line2D([], [], markersize=10 * s, label="the answer", **ring)]


def floor(scene: Scene, cost: str) -> float:
    """Where the score's scale begins: room for the main target's points, for the cheapest ones where they are near."""
    column = COSTS[cost][0]
    points = scene.table[scene.table["kind"].isin(["dynamic", "static", "plain"])].dropna(subset=[column])
    plain = 100 * float(scene.points("plain", BACKBONE)["score"].mean())
    worst = plain - 100 * float(points.loc[points["target"] == scene.main, "score"].min())
    reach = min(max(REACH[0], 2.5 * worst), max(REACH[1], worst))
    return max(100 * float(points["score"].min()), plain - reach)


def _limits(axes: Axes, scene: Scene, cost: str) -> None:
    low = floor(scene, cost)
    drawn = np.concatenate([np.asarray(line.get_xydata(), float) for line in axes.get_lines()])
    seen = drawn[np.isfinite(drawn).all(1) & (drawn[:, 1] >= low)]
    span = max(np.ptp(seen[:, 0]), 1e-9)
    pad = 0.05 * max(seen[:, 1].max() - low, 1.0)
    axes.set_ylim(low - pad, seen[:, 1].max() + pad)
    axes.set_xlim(max(0.0, seen[:, 0].min() - 0.04 * span), seen[:, 0].max() + 0.03 * span)


def _label_place(axes: Axes, scene: Scene, method: str, cost: str) -> tuple[float, float] | None:
    """Where a label's leader starts: the main target's marker, where it is inside the axes."""
    points = scene.points("dynamic", method)
    points = points[points["target"] == scene.main]
    if points.empty:
        return None
    row = points.iloc[0]
    x, y = float(scaled(scene, cost, row[COSTS[cost][0]])), 100 * float(row["score"])
    low, high = axes.get_ylim()
    return (x, y) if np.isfinite(x) and low <= y <= high else None


def _labels(axes: Axes, ends: list[tuple[float, float, Look]], medium: Medium) -> None:
    """Names in the right margin, in the order of their markers, each with a thin line to its own."""
    if not ends:
        return
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    height = axes.get_window_extent().height / axes.figure.dpi * 72
    step = (high - low) * medium.size * 1.5 / height
    ends = sorted(ends, key=lambda end: end[1])
    places = [y for _, y, _ in ends]
    for _ in range(200):  # neighbours push each other apart until all have room
        for i in range(len(places) - 1):
            lack = step - (places[i + 1] - places[i])
            if lack > 0:
                places[i] -= lack / 2
                places[i + 1] += lack / 2
        places = [min(max(p, low + step / 2), high - step / 2) for p in places]
    mark, text = right + 0.02 * (right - left), right + 0.035 * (right - left)
    for (x, y, look), place in zip(ends, places, strict=True):
        axes.plot([x, mark], [y, place], color=look.colour, linewidth=0.6, alpha=0.55, zorder=3.5, clip_on=False)
        axes.plot(mark, place, look.marker, color=look.colour, markersize=7 * medium.scale, clip_on=False, zorder=8)
        axes.text(text, place, look.label, va="center", fontweight="bold", fontsize=medium.type(0.95))
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)


def _keys(scene: Scene, lines: Lines, cost: str, ghosts: bool) -> list[Any]:
    handles: list[Any] = [Line2D([], [], color=INK, marker="*", linestyle="", markersize=9, label="plain backbone")]
    if len(lines.static(cost)):
        handles.append(
            Line2D([], [], color=INK, marker="s", markerfacecolor="none", markeredgecolor=INK, markersize=5,
                   label="static models")
        )  # fmt: skip
    if len(lines.fixed if cost == "macs" else lines.timed_fixed(cost)):
        handles.append(Line2D([], [], color=INK, linestyle=(0, (4, 2)), marker=".", label="best fixed depth"))
    handles.append(Line2D([], [], color=MUTED, linewidth=5, alpha=0.25, label="Pareto front"))
    if ghosts:
        handles.append(Line2D([], [], color=GHOST, label="other methods"))
    if scene.write.several:
        handles.append(Patch(color=MUTED, alpha=0.2, linewidth=0, label="± std over seeds"))
    return handles


def _tips(axes: Axes, scene: Scene, method: str, cost: str) -> list[Tip]:
    column = COSTS[cost][0]
    rows = scene.points("dynamic", method).dropna(subset=[column])
    return [
        Tip(axes, float(scaled(scene, cost, row[column])), 100 * row["score"], described(scene, row, cost))
        for _, row in rows.iterrows()
    ]


def described(scene: Scene, row: Any, cost: str) -> str:
    """A comparison row in one line: name, knob, score, cost, speed-up, mean exit."""
    column, speedup, _ = COSTS[cost]
    parts = [row["label"], f"{row['knob_name']} {knob(row)}", f"{scene.write.score(row['score'])} {scene.write.unit}"]
    parts += [scene.cost(cost, row[column]), times(row[speedup]), f"mean exit {number(row['mean_exit'], 1)}"]
    return " · ".join(parts)
