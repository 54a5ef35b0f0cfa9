"""What is drawn is what was recorded: artists' data against the tables, worked out again by hand."""

import numpy as np
import pytest

from eebench.report import panels, pareto
from eebench.report.derive import compare
from eebench.report.frames import load
from eebench.report.pareto import Scene
from eebench.report.style import style
from eebench.report.text import Writer


@pytest.fixture(scope="module")
def scene(three):
    record = load(three)
    return Scene(record, compare(record), Writer(record))


@pytest.fixture(autouse=True)
def looks():
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


def test_operating_points_stand_where_they_were_measured(scene):
    for cost, column in (("macs", "gmacs"), ("cpu", "cpu_mean_ms")):
        (axes,) = pareto.overview(scene, cost).axes
        for method, look in scene.series.items():
            points = scene.points("dynamic", method).set_index("target")
            (large,) = xy(axes, marker=look.marker, markersize=8.5)
            np.testing.assert_allclose(large[0], [points.loc["drop_1", column], 100 * points.loc["drop_1", "score"]])
            small = xy(axes, marker=look.marker, markersize=5)
            assert len(small) == 3
            np.testing.assert_allclose(sorted(p[0, 0] for p in small), sorted(points.drop("drop_1")[column]))


def test_knob_sweeps_are_the_recorded_curves(scene):
    (axes,) = pareto.overview(scene, "macs").axes
    look = scene.series["pabee"]
    drawn = np.concatenate(xy(axes, color=look.colour, linestyle=look.dash, marker="None", gid=look.gid))
    sweep = scene.record.test("dynamic").query("method == 'pabee'")
    recorded = {(round(x, 9), round(100 * y, 9)) for x, y in zip(sweep["gmacs"], sweep["score"], strict=True)}
    seen = {(round(x, 9), round(y, 9)) for x, y in drawn[np.isfinite(drawn).all(1)]}
    whiskers = {
        (round(x, 9), round(y, 9))
        for line in axes.get_lines()
        if line.get_linewidth() == 1.3
        for x, y in line.get_xydata()
    }
    assert seen - whiskers <= recorded
    assert len(seen - whiskers) > 20


def test_fixed_depth_pairs_each_seeds_score_with_its_own_time(scene):
    (axes,) = pareto.overview(scene, "cpu").axes
    look = scene.series["pabee"]
    (drawn,) = xy(axes, linestyle="--", gid=look.gid)
    fixed = scene.record.test("fixed").query("method == 'pabee'")
    times = scene.record.single.query("method == 'pabee'").set_index(["seed", "path"])["mean_ms"]
    expected = []
    for block, rows in fixed.groupby("knob"):
        pairs = [
            (times[(row["seed"], f"fixed_{block:.0f}")], 100 * row["score"])
            for _, row in rows.iterrows()
            if (row["seed"], f"fixed_{block:.0f}") in times.index
        ]
        if pairs:
            expected.append(np.mean(pairs, 0))
    np.testing.assert_allclose(drawn, expected)


def test_every_claim_is_in_the_claims_plot(scene):
    figure = pareto.claimed(scene)
    dynamic = scene.table[scene.table["kind"] == "dynamic"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["MACs, everything charged", "CPU wall clock"]
    for axes, name in zip(figure.axes, ("speedup_macs", "speedup_cpu"), strict=True):
        drawn = np.concatenate(xy(axes, linestyle="None"))
        recorded = dynamic[["speedup_layers", name]].to_numpy()
        np.testing.assert_allclose(sorted(map(tuple, drawn)), sorted(map(tuple, recorded)))
        assert axes.get_xlim()[1] > recorded[:, 0].max()
        assert axes.get_ylim()[0] < recorded[:, 1].min()


def test_shares_are_means_over_seeds_and_sum_to_one(scene):
    figure = panels.shares(scene)
    exits = scene.record.exits.query("split == 'test'")
    for axes, method in zip(figure.axes, scene.series, strict=False):
        heights = [bar.get_height() for bar in axes.patches]
        assert sum(heights) == pytest.approx(100)
        mean = exits[exits["method"] == method].groupby("exit")["share_drop_1"].mean()
        np.testing.assert_allclose(heights, 100 * mean)


def test_cost_bars_add_up_to_all_macs(scene):
    (axes,) = panels.costs(scene).axes
    rows = scene.table[(scene.table["target"] == "drop_1") & scene.table["kind"].isin(["plain", "dynamic"])]
    widths = np.reshape([bar.get_width() for bar in axes.patches], (3, len(rows))).sum(0)
    np.testing.assert_allclose(widths, 100 * rows["gmacs"] / rows["gmacs"].iloc[0])


def test_forced_exits_and_the_plain_time(scene):
    figure = panels.latency(scene, "cpu")
    times = scene.record.single
    for axes, (method, look) in zip(figure.axes, scene.series.items(), strict=False):
        (line,) = xy(axes, color=look.colour)
        mine = times[(times["method"] == method) & times["path"].str.startswith("exit_")]
        mean = mine.groupby(mine["path"].str.removeprefix("exit_").astype(int))["mean_ms"].mean()
        np.testing.assert_allclose(line, np.stack([mean.index, mean], 1))
        (level,) = xy(axes, linestyle=":")
        assert level[0, 1] == pytest.approx(times.query("path == 'plain'")["mean_ms"].mean())
    assert panels.latency(scene, "cuda") is None


def test_nothing_measured_is_cut_off_method_by_method(scene):
    for axes in pareto.per_method(scene, "macs").axes[:3]:
        low, high = axes.get_ylim()
        scores = 100 * scene.table.loc[scene.table["kind"].isin(["dynamic", "plain", "oracle"]), "score"]
        assert low < scores.min()
        assert scores.max() < high
