"""Mean curves and fronts, worked out again by brute force over the record's rows."""

import numpy as np
import pandas as pd
import pytest

from eebench.report.lines import Lines
from eebench.report.scene import COSTS


@pytest.fixture(scope="module")
def lines(large):
    return Lines(large)


def rows_of(record, method, kind, seed):
    """(validation score, validation cost, test score, test cost, knob) of every point."""
    val, test = (
        table[(table["method"] == method) & (table["seed"] == seed)].set_index("knob")
        for table in (record.val(kind), record.test(kind))
    )
    return [
        (val.loc[k, "score"], val.loc[k, "gmacs"], test.loc[k, "score"], test.loc[k, "gmacs"], k) for k in test.index
    ]


def test_a_mean_curve_is_the_protocol_at_every_budget(large, lines):
    record = large.record
    curve = lines.mean("ztw")
    expected = []
    for budget in lines.grid:
        chosen = []
        for seed in (0, 1, 2):
            fits = [row for row in rows_of(record, "ztw", "dynamic", seed) if row[1] <= budget * (1 + 1e-9)]
            if fits:
                chosen.append(max(fits, key=lambda row: (row[0], -row[1])))
        if len(chosen) == 3:
            scores = [row[2] for row in chosen]
            expected.append((np.mean([row[3] for row in chosen]), np.mean(scores), np.std(scores, ddof=1)))
    kept = [row for i, row in enumerate(expected) if i == 0 or row != expected[i - 1]]
    np.testing.assert_allclose(np.stack([curve.cost, curve.score, curve.std], 1), kept)
    assert len(curve) > 5
    assert (curve.std > 0).any()


def test_the_front_is_chosen_over_everything_on_validation_data(large, lines):
    record = large.record
    budget = lines.grid[20]
    dead = record.exits[(record.exits["split"] == "test") & ~record.exits["live"]]
    dead = set(zip(dead["method"], dead["seed"], dead["exit"], strict=True))
    scores = []
    for seed in (0, 1, 2):
        best = None
        for kind in ("dynamic", "fixed", "static", "plain"):
            val = record.val(kind).query("seed == @seed").set_index(["method", "knob"])
            test = record.test(kind).query("seed == @seed").set_index(["method", "knob"])
            for key in test.index:
                if kind == "fixed" and (key[0], seed, key[1]) in dead:
                    continue
                v, t = (frame.loc[[key]].iloc[0] for frame in (val, test))
                if v["gmacs"] <= budget * (1 + 1e-9) and (best is None or (v["score"], -v["gmacs"]) > best[0]):
                    best = ((v["score"], -v["gmacs"]), t["score"], t["gmacs"])
        scores.append(best[1:])
    score, cost = np.mean(scores, 0)
    distance = abs(lines.front.cost - cost) + abs(lines.front.score - score)
    assert distance.min() < 1e-9
    assert set(lines.front.who) <= set(record.methods)


def test_the_fixed_depth_line_has_only_exits_that_learnt_and_never_falls_on_validation_data(large, lines):
    record = large.record
    dead = record.exits[(record.exits["split"] == "test") & ~record.exits["live"]]
    gone = set(zip(dead["method"], dead["exit"], strict=True))
    points = list(zip(lines.fixed.who, lines.fixed.knob, strict=True))
    assert not gone & set(points)
    means = record.val("fixed").groupby(["method", "knob"])["score"].mean()
    scores = [means[key] for key in points]
    assert scores == sorted(scores)
    np.testing.assert_array_equal(lines.fixed.cost, sorted(lines.fixed.cost))


def test_timed_fixed_depths_were_timed_in_every_seed(large, lines):
    times = large.record.single
    for cost, device in (("cpu", "cpu"), ("gpu", "cuda")):
        curve = lines.timed_fixed(cost)
        assert len(curve)
        for method, block, ms in zip(curve.who, curve.knob, curve.cost, strict=True):
            path = f"fixed_{block:.0f}"
            mine = times[(times["method"] == method) & (times["device"] == device) & (times["path"] == path)]
            seeds = large.record.test("fixed").query("method == @method")["seed"].nunique()
            assert len(mine) == seeds
            assert ms == pytest.approx(mine["mean_ms"].mean())
        assert list(curve.cost) == sorted(curve.cost)  # it never runs backwards


def test_static_models_stand_from_small_to_large_with_the_plain_backbone_last(large, lines):
    for cost in COSTS:
        curve = lines.static(cost)
        assert list(curve.who) == ["static", "static", "backbone"]
        assert list(curve.knob) == [3, 6, 12.5]
        assert list(curve.cost) == sorted(curve.cost)
    scores = large.record.test("static").groupby("knob")["score"].agg(["mean", "std"])
    curve = lines.static("macs")
    np.testing.assert_allclose(curve.score[:2], scores["mean"])
    np.testing.assert_allclose(curve.std[:2], scores["std"])
    times = large.record.single.query("device == 'cuda' and path == 'blocks_3'")["mean_ms"]
    assert lines.static("gpu").cost[0] == pytest.approx(times.mean())


def test_a_record_without_static_models_has_no_such_line(scene):
    assert len(Lines(scene).static("macs")) == 0


def test_the_timed_front_is_on_validation_scores_by_brute_force(large, lines):
    table = large.table
    rows = table[table["kind"].isin(["plain", "static", "dynamic", "fixed"]) & ~table["dead"]]
    rows = rows.dropna(subset=["cpu_mean_ms"])
    val = rows["val_score"].where(rows["kind"] != "plain", large.record.val("plain")["score"].mean())
    pairs = pd.DataFrame({"ms": rows["cpu_mean_ms"], "val": val, "score": rows["score"]})
    rows = list(pairs.itertuples())

    def beaten(row):
        return any(o.ms <= row.ms and o.val >= row.val and (o.ms < row.ms or o.val > row.val) for o in rows)

    front = {(row.ms, row.score) for row in rows if not beaten(row)}
    curve = lines.timed_front("cpu")
    assert set(zip(curve.cost, curve.score, strict=True)) == front
