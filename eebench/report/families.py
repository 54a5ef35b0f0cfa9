"""Families: one method trained several times with one option changed, such as JEI-DNN's λ, read as one curve.

Where each operating point of a paper is a training of its own, a single training shows a part of the method. The
trainings of a family are joined budget by budget: validation data choose the training and its knob together, and score
and cost are read on test data, as for a single method. So the joined curve chooses among more points than a member.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.lines import Line2D

from eebench.report.blocks import Block, Cell, Column, Figure, Fold, Row, Section, Table
from eebench.report.lines import Lines
from eebench.report.looks import INK
from eebench.report.overview import axis_name, floor, scaled
from eebench.report.scene import Plot, Scene, Tip
from eebench.report.style import Medium, captioned, grid
from eebench.report.text import DASH

__all__ = ["SHARES", "Family", "draw", "families", "section"]

SHARES = (0.75, 0.5, 0.25)
"""Budgets of the table, of the plain backbone's MACs."""


@dataclass(frozen=True)
class Family:
    """Methods that differ in one option alone.

    Attributes:
        name: the method.
        option: what differs.
        members: labels as asked for, by rising value where all values are numbers.
        values: the option's value of each; empty where it was left out.
    """

    name: str
    option: str
    members: tuple[str, ...]
    values: tuple[str, ...]

    def value(self, member: str) -> str:
        """What a member has for the option; ``default`` where it was left out."""
        return self.values[self.members.index(member)] or "default"


def families(methods: Sequence[str]) -> list[Family]:
    """Every group of at least two methods that differ in one option alone, the largest first.

    >>> [(f.option, f.members) for f in families(["a[x=2,y=1]", "a[x=10,y=1]", "b[x=1]", "a[x=2,y=3]"])]
    [('x', ('a[x=2,y=1]', 'a[x=10,y=1]')), ('y', ('a[x=2,y=1]', 'a[x=2,y=3]'))]

    Args:
        methods: labels as asked for, ``name`` or ``name[option=value,…]``.

    Returns:
        The families, a label in as many as it belongs to.
    """
    parsed = {method: _parts(method) for method in dict.fromkeys(methods)}
    names = {name for name, _ in parsed.values()}
    groups: dict[tuple[str, str, frozenset[tuple[str, str]]], dict[str, str]] = defaultdict(dict)
    for name in names:
        own = {method: options for method, (n, options) in parsed.items() if n == name}
        for option in dict.fromkeys(key for options in own.values() for key in options):
            for method, options in own.items():
                rest = frozenset((k, v) for k, v in options.items() if k != option)
                groups[name, option, rest][method] = options.get(option, "")
    order = {method: i for i, method in enumerate(parsed)}
    found = [_family(name, option, own) for (name, option, _), own in groups.items() if len(own) > 1]
    return sorted(found, key=lambda f: (-len(f.members), min(order[m] for m in f.members), f.option))


def _parts(method: str) -> tuple[str, dict[str, str]]:
    name, _, options = method.partition("[")
    pairs = (part.partition("=") for part in options.removesuffix("]").split(",") if part)
    return name, {key: value for key, _, value in pairs}


def _family(name: str, option: str, values: dict[str, str]) -> Family:
    members = sorted(values, key=lambda method: _number(values[method]))
    return Family(name, option, tuple(members), tuple(values[m] for m in members))


def _number(value: str) -> float:
    """Numbers in their order; what is none, such as a default left out, before them as it was asked for."""
    try:
        return float(value)
    except ValueError:
        return -np.inf


def draw(scene: Scene, lines: Lines, medium: Medium) -> Plot:
    """A panel a family: each training's own curve, the joined one over them, static models beside."""
    found = families(scene.record.methods)
    figure, panels = grid(medium, len(found), height=2.6)
    s = medium.scale
    static = lines.static("macs")
    tips: list[Tip] = []
    for axes, family in zip(panels, found, strict=True):
        for member in family.members:
            look, curve = scene.series[member], lines.mean(member)
            x, y = scaled(scene, "macs", curve.cost), 100 * curve.score
            axes.plot(
                x, y, color=look.colour, marker=look.marker, markersize=4 * s, linewidth=0.9 * s, alpha=0.8, zorder=2,
                gid=look.gid,
            )  # fmt: skip
            told = f"{family.option}={family.value(member)}"
            tips += [
                Tip(axes, float(a), float(b), f"{told} · {scene.write.score(c)} {scene.write.unit}")
                for a, b, c in zip(x, y, curve.score, strict=True)
            ]
        joined = lines.joined(family.members)
        x, y = scaled(scene, "macs", joined.cost), 100 * joined.score
        axes.plot(x, y, color=scene.series[family.members[0]].colour, linewidth=3.2 * s, alpha=0.45, zorder=3)
        if len(static):
            x, y = scaled(scene, "macs", static.cost), 100 * static.score
            axes.plot(x, y, color=INK, marker="s", markerfacecolor="none", markeredgecolor=INK, linewidth=1.1 * s)
        axes.set_title(f"{_title(scene, family)}, by {family.option}")
    panels[0].set_ylim(bottom=floor(scene, "macs") - 1)  # shared by all panels
    captioned(figure, medium, axis_name(scene, "macs"), f"test {scene.write.score_name}")
    keys = [
        Line2D([], [], color=INK, marker="o", linewidth=0.9 * s, label="a training"),
        Line2D([], [], color=INK, linewidth=3.2 * s, alpha=0.45, label="all of them, joined"),
    ]
    if len(static):
        keys.append(Line2D([], [], color=INK, marker="s", markerfacecolor="none", label="static models"))
    figure.legend(handles=keys, loc="upper left", ncols=3, columnspacing=1.2, handlelength=1.8)
    return Plot(figure, tips)


def section(scene: Scene, drawn: set[str]) -> list[Section]:
    """The section, where the run has a family."""
    found = families(scene.record.methods)
    if not found or "families" not in drawn:
        return []
    lines = Lines(scene)
    caption = (
        "One method trained several times with one option changed. The broad line joins the trainings: at each budget"
        " validation data choose among all of their knob values, and test data are read; mean over seeds."
    )
    blocks: list[Block] = [
        Figure("families", "Several trainings of one method, joined", caption, _id(0), "the table", "curves")
    ]
    blocks += [
        Fold(f"{_title(scene, family)} at three budgets", [_table(scene, lines, family, _id(i))], open=i == 0)
        for i, family in enumerate(found)
    ]
    return [Section("families", "One method, several trainings", blocks)]


def _id(number: int) -> str:
    return f"family-{number}"


def _title(scene: Scene, family: Family) -> str:
    """The method's name without the option that differs."""
    return scene.record.labels[family.members[0]].partition(" [")[0].partition("[")[0]


def _table(scene: Scene, lines: Lines, family: Family, id: str) -> Table:
    """Scores of every training and of all joined, within shares of the plain backbone's MACs."""
    plain = float(scene.record.val("plain")["gmacs"].mean())
    budgets = [share * plain for share in SHARES]
    rows = [
        Row([Cell(f"{family.option}={family.value(member)}"), *_scores(scene, lines.at([member], budgets))])
        for member in family.members
    ]
    told = lines.at(family.members, budgets)
    cells = _scores(scene, told)
    which = [", ".join(family.value(m) for m in who) for _, who in told]
    rows.append(
        Row([Cell("all, joined"), *(Cell(c.text, w, c.sort) for c, w in zip(cells, which, strict=True))], "plain")
    )
    heads = [Column(f"Within {100 * share:g} % of the MACs", first="descending") for share in SHARES]
    caption = (
        f"Test {scene.write.score_name}, the best by validation data within the budget, mean over seeds; below the"
        f" joined score the {family.option} chosen in each seed. {DASH}: nothing fits the budget in some seed."
    )
    return Table(id, caption, [Column("Training", numeric=False), *heads], rows)


def _scores(scene: Scene, told: Sequence[tuple[float, Sequence[str]]]) -> list[Cell]:
    return [Cell(scene.write.score(score), sort=100 * score) if np.isfinite(score) else Cell(DASH) for score, _ in told]
