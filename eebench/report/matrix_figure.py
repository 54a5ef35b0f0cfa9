"""The critical-difference diagram: mean ranks on a line, a bar over those that are not told apart (Demšar, 2006)."""

from __future__ import annotations

from matplotlib.figure import Figure

from eebench.report.frames import BACKBONE, STATIC
from eebench.report.looks import INK, MUTED
from eebench.report.matrix import Matrix, Ranking
from eebench.report.style import Medium, axes_in, new

__all__ = ["rank_figure"]


def rank_figure(matrix: Matrix, ranking: Ranking, medium: Medium) -> Figure:
    """Ranks from left, the best, to right; names to both sides, baselines in grey."""
    test = ranking.difference
    assert test is not None, "without a test there is no diagram"
    s, count = medium.scale, len(ranking.methods)
    bars = [group for group in test.groups if len(group) > 1]
    half = (count + 1) // 2
    head = 0.5 + 0.16 * len(bars)
    figure = new(medium.width, (head + 0.28 * half + 0.5) * s)
    side = min(2.6 * s, medium.width * 0.34)
    axes = axes_in(figure, side, 0.06 * s, side, 0.5 * s)
    axes.set_xlim(1, max(count, 2))
    axes.set_ylim(half + head, 0)
    axes.grid(visible=False)
    axes.xaxis.tick_top()
    axes.set_xticks(range(1, count + 1))
    axes.tick_params(axis="x", length=3 * s, pad=2)
    axes.yaxis.set_visible(False)
    for spine in ("left", "right", "bottom"):
        axes.spines[spine].set_visible(False)
    axes.spines["top"].set_visible(True)
    for number, group in enumerate(bars):
        y = 0.3 + 0.4 * number
        ends = [ranking.ranks[group[0]] - 0.04, ranking.ranks[group[-1]] + 0.04]
        axes.plot(ends, [y, y], color=INK, linewidth=4 * s, solid_capstyle="butt", clip_on=False)
    start = 0.5 + 0.4 * len(bars)
    for place, (method, rank) in enumerate(zip(ranking.methods, ranking.ranks, strict=True)):
        left = place < half
        y = start + 0.9 * (place if left else count - 1 - place)
        edge, align = (1.0, "right") if left else (float(max(count, 2)), "left")
        colour = MUTED if method in (BACKBONE, STATIC) else INK
        axes.plot([rank, rank, edge], [0, y, y], color=colour, linewidth=0.9 * s, clip_on=False)
        text = f"{matrix.labels.get(method, method)}  {rank:.2f}" if left else (
            f"{rank:.2f}  {matrix.labels.get(method, method)}"
        )  # fmt: skip
        gap = -6 * s if left else 6 * s
        axes.annotate(text, (edge, y), (gap, 0), textcoords="offset points", ha=align, va="center", color=colour,
                      fontsize=medium.size, annotation_clip=False)  # fmt: skip
    title = f"critical difference {test.difference:.2f}, {test.blocks} data sets"
    figure.text(0.5, 0.995, title, ha="center", va="top", fontsize=medium.size * 0.95, color=MUTED)
    return figure
