"""Speed-up as papers claim it beside speed-up with everything charged, and by the clock: a line a method."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from eebench.report.looks import INK, MUTED
from eebench.report.scene import Plot, Scene, Tip
from eebench.report.style import Medium, axes_in, new
from eebench.report.text import times

__all__ = ["KINDS", "claimed"]

KINDS = {
    "layers": ("claimed: by layer count", "o", "none"),
    "macs": ("counted: MACs, everything charged", "D", "#2e799e"),
    "cpu": ("measured: CPU", "s", "#e57300"),
    "gpu": ("measured: GPU", "^", "#9e532e"),
}


def claimed(scene: Scene, medium: Medium) -> Plot:
    """Speed-ups of every method at the main target on one logarithmic scale."""
    rows = scene.table[(scene.table["target"] == scene.main) & (scene.table["kind"] == "dynamic")]
    shown = [kind for kind in KINDS if rows[f"speedup_{kind}"].notna().any()]
    rows = rows.sort_values(f"speedup_{scene.clock}", ascending=False, na_position="last", kind="stable")
    s = medium.scale
    narrow = medium.columns < 4
    key = (0.28 if not narrow else 0.26 * len(shown)) * s
    figure = new(medium.width, (0.3 * len(rows) + 0.75) * s + key)
    left = (max(len(label) for label in rows["label"]) * 0.082 + 0.2) * s
    axes = axes_in(figure, min(left, 0.45 * medium.width), 0.55 * s, 0.15 * s, key + 0.05 * s)
    tips = []
    for place, (_, row) in enumerate(rows.iterrows()):
        values = {kind: float(row[f"speedup_{kind}"]) for kind in shown}
        real = [value for value in values.values() if np.isfinite(value)]
        axes.plot([min(real), max(real)], [place] * 2, color=MUTED, linewidth=1.4 * s, zorder=2)
        for kind, value in values.items():
            name, marker, fill = KINDS[kind]
            looks: dict[str, Any] = {
                "color": INK,
                "markerfacecolor": "none",
                "markeredgecolor": INK,
                "markeredgewidth": 1.4 * s,
            }
            looks = looks if fill == "none" else {"color": fill}
            axes.plot(value, place, marker, markersize=7 * s, zorder=4, **looks)
            low, high = row.get(f"speedup_{kind}_low", np.nan), row.get(f"speedup_{kind}_high", np.nan)
            if fill != "none" and np.isfinite(low) and np.isfinite(high):
                axes.plot([low, high], [place] * 2, color=fill, linewidth=3 * s, alpha=0.35, zorder=3)
            if np.isfinite(value):
                tips.append(Tip(axes, value, place, f"{row['label']} · {name}: {times(value)}"))
    axes.axvline(1, color=INK, linewidth=1 * s)
    axes.set_yticks(range(len(rows)), list(rows["label"]))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xscale("log")
    everything = rows[[f"speedup_{kind}" for kind in shown]].to_numpy(float)
    axes.set_xlim(min(0.9, np.nanmin(everything)) * 0.95, max(1.5, np.nanmax(everything)) * 1.06)
    axes.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    axes.set_xlabel("speed-up over the plain backbone")
    handles = []
    for kind in shown:
        name, marker, fill = KINDS[kind]
        edge: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": INK} if fill == "none" else {}
        handles.append(
            Line2D([], [], color=fill if fill != "none" else INK, marker=marker, linestyle="", label=name, **edge)
        )
    figure.legend(handles=handles, loc="upper left", ncols=1 if narrow else 4, handletextpad=0.3, columnspacing=1.4)
    return Plot(figure, tips)
