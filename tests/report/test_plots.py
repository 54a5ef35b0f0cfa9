"""What is drawn is what was recorded: artists' data against the tables, worked out again by hand."""

import itertools

import numpy as np
import pytest

from eebench.report import dumbbell, multiples, overview, panels
from eebench.report.frames import load
from eebench.report.lines import Lines
from eebench.report.looks import GHOST, INK
from eebench.report.scene import Scene
from eebench.report.style import PAGE, style


@pytest.fixture(scope="module")
def scene(three):
    return Scene(load(three))


@pytest.fixture(scope="module")
def lines(scene):
    return Lines(scene)


@pytest.fixture(autouse=True)
def settings():
    """The report's own settings."""
    with style():
        yield


def xy(axes, **wanted):
    """Data of the lines that have these looks."""
    return [
        np.asarray(line.get_xydata())
        for line in axes.get_lines()
        if all(getattr(line, f"get_{name}")() == value for name, value in wanted.items())
    ]


@pytest.mark.parametrize(("cost", "column", "scale"), [("macs", "gmacs", 1000), ("cpu", "cpu_mean_ms", 1)])
def test_operating_points_stand_where_they_were_measured(scene, lines, cost, column, scale):
    (axes,) = overview.overview(scene, lines, cost, PAGE).figure.axes
    for method, look in scene.series.items():
        points = scene.points("dynamic", method).set_index("target")
        (main,) = xy(axes, marker=look.marker, markersize=9)
        np.testing.assert_allclose(main[0], [scale * points.loc["drop_1", column], 100 * points.loc["drop_1", "score"]])
        small = xy(axes, marker=look.marker, markersize=4.5)
        rest = points.drop("drop_1")[column].dropna()
        np.testing.assert_allclose(sorted(p[0, 0] for p in small), sorted(scale * rest))


def test_lines_are_the_mean_curves_and_the_rest_are_ghosts(large):
    found = Lines(large)
    plot = overview.overview(large, found, "macs", PAGE)
    (axes,) = plot.figure.axes
    shown = overview.emphasised(large, found, "macs")
    assert 2 <= len(shown) <= 5
    assert len({large.series[m].colour for m in shown}) == len(shown)
    for method in shown:
        look, curve = large.series[method], found.mean(method)
        drawn = xy(axes, color=look.colour, gid=look.gid, linestyle=look.dash if look.dash == "-" else "--")
        drawn += xy(axes, color=look.colour, gid=look.gid)
        expected = np.stack([1000 * curve.cost, 100 * curve.score], 1)
        assert any(line.shape == expected.shape and np.allclose(line, expected) for line in drawn), method
    assert len(xy(axes, color=GHOST)) == sum(len(found.mean(m)) > 0 for m in large.series) - len(shown)
    names = {text.get_text() for text in axes.texts}
    assert names == {large.series[m].label for m in shown if overview._label_place(axes, large, m, "macs")}
    assert {tip.text.split(" · ")[0] for tip in plot.tips} == {look.label for look in large.series.values()}


def test_what_the_answer_names_is_in_colour(large):
    best = large.answer.best
    if best and best[1] == "dynamic":
        assert best[0] in overview.emphasised(large, Lines(large), "macs")


@pytest.mark.parametrize("cost", ["macs", "cpu", "gpu"])
def test_a_ring_is_around_what_the_answer_names(large, cost):
    method, kind = large.answer.best
    (axes,) = overview.overview(large, Lines(large), cost, PAGE).figure.axes
    (ring,) = xy(axes, markersize=17)
    row = large.points(kind, method).set_index("target").loc["drop_1"]
    column = overview.COSTS[cost][0]
    np.testing.assert_allclose(ring[0], [(1000 if cost == "macs" else 1) * row[column], 100 * row["score"]])


def test_labels_do_not_overlap(large):
    figure = overview.overview(large, Lines(large), "cpu", PAGE).figure
    figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert all(a.y1 <= b.y0 + 1.5 for a, b in itertools.pairwise(boxes))
    right = figure.get_window_extent().x1
    assert all(box.x1 <= right for box in boxes)


@pytest.mark.parametrize("cost", ["macs", "cpu"])
def test_the_scale_ends_where_the_caption_says(large, cost):
    from eebench.report.first import overview_figure

    (axes,) = overview.overview(large, Lines(large), cost, PAGE).figure.axes
    low = overview.floor(large, cost)
    assert axes.get_ylim()[0] < low
    dynamic = large.table[large.table["kind"] == "dynamic"].dropna(subset=[overview.COSTS[cost][0]])
    hidden = int((100 * dynamic["score"] < low).sum())
    caption = overview_figure(large, cost).caption
    assert (f"{hidden} of {len(dynamic)} operating points lie below the scale" in caption) == (hidden > 0)
    main = dynamic[dynamic["target"] == "drop_1"]
    assert (100 * main["score"] >= low - 1e-9).all()


def test_a_panel_shows_its_own_sweeps(scene):
    figure = multiples.per_method(scene, "macs", PAGE).figure
    look = scene.series["pabee"]
    drawn = np.concatenate(xy(figure.axes[0], color=look.colour, linestyle="-"))
    sweep = scene.record.test("dynamic").query("method == 'pabee'")
    recorded = {(round(1000 * x, 6), round(100 * y, 6)) for x, y in zip(sweep["gmacs"], sweep["score"], strict=True)}
    seen = {(round(x, 6), round(y, 6)) for x, y in drawn[np.isfinite(drawn).all(1)]}
    points = scene.points("dynamic", "pabee")
    marks = {(round(1000 * x, 6), round(100 * y, 6)) for x, y in zip(points["gmacs"], points["score"], strict=True)}
    assert seen - marks <= recorded
    assert len(seen - marks) > 20


def test_fixed_depth_pairs_each_seeds_score_with_its_own_time(scene):
    figure = multiples.per_method(scene, "cpu", PAGE).figure
    look = scene.series["pabee"]
    (drawn,) = xy(figure.axes[0], linestyle="--", color=look.colour)
    fixed = scene.record.test("fixed").query("method == 'pabee'")
    times = scene.record.single.query("method == 'pabee'").set_index(["seed", "path"])["mean_ms"]
    expected = []
    for block, rows in fixed.groupby("knob"):
        pairs = [
            (times[(row["seed"], f"fixed_{block:.0f}")], 100 * row["score"])
            for _, row in rows.iterrows()
            if (row["seed"], f"fixed_{block:.0f}") in times.index
        ]
        if len(pairs) == 2:  # timed in both seeds: a mean over other seeds at every point would run backwards
            expected.append(np.mean(pairs, 0))
    np.testing.assert_allclose(drawn, np.reshape(expected, (-1, 2)))


def test_every_claim_is_in_the_dumbbells(scene):
    plot = dumbbell.claimed(scene, PAGE)
    (axes,) = plot.figure.axes
    rows = scene.table[(scene.table["kind"] == "dynamic") & (scene.table["target"] == "drop_1")].set_index("label")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(
        rows.sort_values("speedup_cpu", ascending=False).index
    )
    for place, label in enumerate(tick.get_text() for tick in axes.get_yticklabels()):
        for kind, (_, marker, _) in dumbbell.KINDS.items():
            at = [p[0, 0] for p in xy(axes, marker=marker) if p[0, 1] == place]
            value = rows.loc[label, f"speedup_{kind}"]
            assert at == ([pytest.approx(value)] if np.isfinite(value) else [])
    assert "speed-up over the plain backbone" in axes.get_xlabel()


def test_shares_are_means_over_seeds_and_sum_to_one(scene):
    figure = panels.shares(scene, PAGE).figure
    shares = scene.record.table("shares").query("target == 'drop_1'")
    for axes, method in zip(figure.axes, scene.series, strict=False):
        heights = [bar.get_height() for bar in axes.patches]
        assert sum(heights) == pytest.approx(100)
        mean = shares[shares["method"] == method].groupby("exit")["share"].mean()
        np.testing.assert_allclose(heights, 100 * mean)


def test_cost_bars_add_up_to_all_macs(scene):
    (axes,) = panels.costs(scene, PAGE).figure.axes
    rows = scene.table[(scene.table["target"] == "drop_1") & scene.table["kind"].isin(["plain", "dynamic"])]
    widths = np.reshape([bar.get_width() for bar in axes.patches], (3, len(rows))).sum(0)
    np.testing.assert_allclose(widths, 100 * rows["gmacs"] / rows["gmacs"].iloc[0])


def test_forced_exits_and_the_plain_time(scene):
    figure = panels.latency(scene, "cpu", PAGE).figure
    times = scene.record.single
    for axes, (method, look) in zip(figure.axes, scene.series.items(), strict=False):
        (line,) = xy(axes, color=look.colour)
        for block, ms in line:
            rows = times[(times["method"] == method) & (times["path"] == f"exit_{block:.0f}")]
            assert ms == pytest.approx(rows["mean_ms"].mean())
        (plain,) = xy(axes, color=INK)
        rows = times[(times["method"] == "backbone") & (times["path"] == "plain")]
        assert plain[0, 1] == pytest.approx(rows["mean_ms"].mean())


def test_reliability_pools_samples_over_seeds_and_cuts_no_marker_off(scene):
    plot = panels.reliability(scene, PAGE)
    bins = scene.record.table("reliability").query("method == 'pabee' and target == 'drop_1'")
    drawn = np.concatenate([np.asarray(c.get_offsets()) for c in plot.figure.axes[0].collections])
    expected = []
    for _, rows in bins.groupby("bin"):
        n = rows["count"].sum()
        expected.append([100 * (rows[c] * rows["count"]).sum() / n for c in ("confidence", "accuracy")])
    np.testing.assert_allclose(sorted(map(tuple, drawn)), sorted(map(tuple, expected)))
    assert not any(c.get_clip_on() for c in plot.figure.axes[0].collections)


def test_tips_lie_on_their_points_in_the_svgs_own_coordinates(scene, lines, tmp_path):
    import re

    from eebench.report.svg import save

    plot = overview.overview(scene, lines, "macs", PAGE)
    text = save(plot.figure, tmp_path, "plot")
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups())
    places = plot.places()
    assert places
    assert all(0 <= x <= width and 0 <= y <= height for x, y, _ in places)
    uses = {(float(x), float(y)) for x, y in re.findall(r'<use xlink:href="[^"]+" x="([\d.]+)" y="([\d.]+)"', text)}
    for x, y, name in places:
        assert min(abs(x - a) + abs(y - b) for a, b in uses) < 0.3, name
