"""Tables of one trained method: chosen on validation data, scored on test data, in the documented columns."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from eebench.api import Knob, Task
from eebench.engine.trace import Trace
from eebench.measure.costs import Costs
from eebench.rules import Above
from eebench.runs.choose import Chooser
from eebench.runs.summaries import conformal_rows, summary_rows
from eebench.runs.tables import frontier_of, knob_values, score_method, score_plain, score_static
from eebench.schema import TABLES
from eebench.targets import Target

RULE = Above(lambda output: output.logits, Knob("threshold", never=1.0, always=-1.0))
PATIENCE = SimpleNamespace(knob=Knob("patience", never=9, integer=True), grid=lambda seen: [0, 1, 2])
TASK = Task(classes=4)
TARGETS = [Target.parse(name) for name in ("drop_1", "drop_5", "macs_75", "macs_50", "macs_25")]
NAMES = [target.name for target in TARGETS]
DEPTH, SAMPLES = 4, 200
COSTS = Costs(
    *(np.array([c]) * 1e9 for c in ([1.0, 2, 3, 4], [0.1, 0.2, 0.3, 0.3], [0.0] * 4, [1.1, 2.1, 3.1, 4], [4]))
)
PLAIN_COSTS = Costs(*(np.array([[c]]) * 1e9 for c in (4.0, 0.0, 0.0, 4.0, 4.0)))


def trace(seed, *, honest=True, exits=4):
    """Exits that are right more often the deeper they are; a score that tells who is right (or, not honest, wrong)."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 4, SAMPLES)
    logits = rng.normal(size=(exits, SAMPLES, 4)).astype(np.float32)
    for e in range(exits):
        right = rng.random(SAMPLES) < 0.5 + 0.45 * (e + 1) / exits
        logits[e, right, targets[right]] += 4
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    prediction, confidence = logits.argmax(-1).T, p.max(-1).T
    true = np.take_along_axis(p, targets[None, :, None], 2)[..., 0].T
    brier = ((p - np.eye(4)[targets]) ** 2).sum(-1).T
    seen = confidence[:, :-1] if honest else 1 - confidence[:, :-1]
    blocks = tuple(range(DEPTH - exits + 1, DEPTH + 1))
    return Trace(blocks, np.arange(SAMPLES), targets, prediction, confidence, true, -np.log(true), brier,
                 {"score": seen}, logits)  # fmt: skip


def cell(label, traces, costs):
    return SimpleNamespace(label=label, seed=3, trace=traces.__getitem__, costs=lambda split: costs)


def plain_backbone():
    return score_plain(
        cell("backbone", {"val": trace(1, exits=1), "test": trace(2, exits=1)}, PLAIN_COSTS), TASK, DEPTH
    )


def scored(val, test, rule=RULE, **options):
    plain = plain_backbone()
    chooser = Chooser(plain.val("plain")[0])
    ours = cell("ours", {"val": val, "test": test}, COSTS)
    return score_method(ours, rule, TASK, DEPTH, chooser, TARGETS, **options), plain


def alone(seed, exit_index, blocks):
    """A model without exits that answers as one exit of a trace does, on the same samples."""
    whole = trace(seed)
    columns = ("prediction", "confidence", "target_probability", "nll", "brier")
    parts = {name: getattr(whole, name)[:, [exit_index]] for name in columns}
    return replace(whole, blocks=(blocks,), seen={}, logits=whole.logits[[exit_index]], **parts)


def smaller_models():
    """Static models of two and of four blocks."""
    cells = {}
    for blocks, exit_index in ((2, 1), (4, 3)):
        costs = Costs(*(np.array([[c]]) * 1e9 for c in (blocks, 0.0, 0.0, blocks, blocks)))
        traces = {"val": alone(1, exit_index, blocks), "test": alone(2, exit_index, blocks)}
        cells[blocks] = cell(f"static[blocks={blocks}]", traces, costs)
    plain = plain_backbone()
    return score_static(cells, TASK, DEPTH, plain, Chooser(plain.val("plain")[0]), TARGETS)


@pytest.fixture(scope="module")
def both():
    return scored(trace(1), trace(2))


@pytest.fixture(scope="module")
def frontier(both):
    result, plain = both
    return frontier_of([pair for model in (plain, result, smaller_models()) for pair in model.static_points()])


def knobs_of(result):
    return {(kind, c.target): c.test.knob for kind, chosen in result.chosen.items() for c in chosen}


def test_operating_points_come_from_validation_data_only(both):
    poisoned, _ = scored(trace(1), trace(2, honest=False))  # a test split on which other knobs would be the best
    assert knobs_of(poisoned) == knobs_of(both[0])
    picked_on_test, _ = scored(trace(2, honest=False), trace(2, honest=False))
    different = [key for key, knob in knobs_of(picked_on_test).items() if knob != knobs_of(poisoned)[key]]
    assert {kind for kind, _ in different} >= {"dynamic", "random"}


def test_a_chosen_point_is_the_same_knob_on_both_splits(both):
    result, _ = both
    for kind, chosen in result.chosen.items():
        assert [c.target for c in chosen] == NAMES
        for c in chosen:
            assert c.val.knob == c.test.knob
            assert c.val.kind == c.test.kind == kind
            assert c.val in result.val(kind)
            assert c.test in result.test(kind)
    assert [c.test.knob for c in result.chosen["random"]] == [c.test.knob for c in result.chosen["dynamic"]]
    assert [c.choice.met for c in result.chosen["random"]] == [c.choice.met for c in result.chosen["dynamic"]]


def test_targets_hold_on_validation_data_where_they_are_met(both):
    result, plain = both
    before = plain.val("plain")[0].row
    for c in result.chosen["dynamic"] + result.chosen["fixed"]:
        if not c.choice.met:
            continue
        if c.target.startswith("drop"):
            assert before["score"] - c.val.row["score"] < c.choice.upper <= Target.parse(c.target).value / 100
        else:
            assert c.val.row["gmacs"] <= before["gmacs"] * int(c.target[-2:]) / 100 + 1e-9
    assert all(c.choice.met for c in result.chosen["dynamic"] if c.target == "macs_50")


def test_rows_have_the_documented_columns(both, frontier):
    result, plain = both
    static = smaller_models()
    models = (result, plain, static)
    rows = {
        "curves": [row for m in models for row in m.curve_rows()],
        "exits": [*result.exit_rows([1, 2, 3, 4]), *plain.exit_rows([0]), *static.exit_rows([0])],
        "shares": [row for m in models for row in m.share_rows()],
        "operating_points": [row for m in models for row in m.point_rows(plain, frontier)],
        "reliability": [row for m in models for row in m.reliability_rows()],
        "conformal": [row for m in models for row in conformal_rows(m)],
        "summary": [row for m in models for row in summary_rows(m, plain, frontier)],
    }
    for name, table in rows.items():
        assert table
        assert set().union(*table) <= set(TABLES[name]), name
        assert {(r["method"], r["seed"]) for r in table} <= {("ours", 3), ("backbone", 3), ("static", 3)}
    assert summary_rows(plain, plain, frontier) == []


def test_a_drop_is_against_the_plain_backbone_with_its_interval(both, frontier):
    result, plain = both
    (plain_test,) = plain.test("plain")
    for row in result.point_rows(plain, frontier):
        assert row["drop"] == pytest.approx(plain_test.row["score"] - row["score"])
        c = next(c for c in result.chosen[row["kind"]] if c.target == row["target"])
        assert (row["val_score"], row["val_gmacs"]) == (c.val.row["score"], c.val.row["gmacs"])
        assert row["val_drop"] <= row["val_drop_upper"]
        if row["kind"] == "fixed":
            assert row["drop_low"] <= row["drop"] <= row["drop_high"]
        else:
            assert "drop_low" not in row


def test_over_fixed_is_against_own_fixed_depths_of_the_same_cost(both, frontier):
    result, plain = both
    own, points = result.own_frontier()
    hull = [(points[i].row["gmacs"], points[i].row["score"]) for i in own.index]
    for row in result.point_rows(plain, frontier):
        if row["kind"] != "dynamic":
            assert "over_fixed" not in row
            continue
        at_same_cost = np.interp(row["gmacs"], *zip(*hull, strict=True))  # constant beyond the dearest
        assert row["over_fixed"] == pytest.approx(row["score"] - at_same_cost)
        assert row["over_fixed_low"] <= row["over_fixed"] <= row["over_fixed_high"]


def test_the_common_frontier_holds_static_models_and_live_exits(both, frontier):
    result, plain = both
    _, points = frontier
    assert {p.kind for p in points} == {"plain", "fixed", "static"}
    rows = result.point_rows(plain, frontier)
    for row in rows:
        if row["kind"] == "dynamic" and "over_frontier" in row:
            found = np.interp(row["gmacs"], frontier[0].cost, frontier[0].score)
            assert row["over_frontier"] == pytest.approx(row["score"] - found)
    assert any("over_frontier" in row for row in rows)


def test_an_exit_at_the_majority_class_is_dead_and_anchors_nothing():
    val, test = trace(1), trace(2)
    for split in (val, test):
        split.prediction[:, 0] = 0  # the first exit always answers the same class
    result, plain = scored(val, test)
    assert result.live.tolist() == [False, True, True, True]
    assert [p.knob for _, p in result.static_points()] == [2, 3, 4]
    frontier = frontier_of([*plain.static_points(), *result.static_points()])
    for row in result.point_rows(plain, frontier):
        if row["kind"] == "dynamic":
            c = next(c for c in result.chosen["dynamic"] if c.target == row["target"])
            assert row["dead_share"] == pytest.approx((c.test.exits == 0).mean())
    assert [r["live"] for r in result.exit_rows([0] * 4) if r["split"] == "test"] == [False, True, True, True]


def test_static_models_are_one_family_whose_knob_is_their_depth(frontier):
    static, plain = smaller_models(), plain_backbone()
    assert [(p.kind, p.knob) for p in static.test("static")] == [("static", 2), ("static", 4)]
    assert [p.row["speedup_layers"] for p in static.test("static")] == [2, 1]
    assert [p.row["speedup_macs"] for p in static.test("static")] == [2, 1]
    rows = static.point_rows(plain, frontier)
    assert [r["target"] for r in rows] == NAMES
    assert {r["knob"] for r in rows if r["target"] == "macs_50"} == {2}
    assert all(r["knob_name"] == "blocks" for r in rows)


def test_shares_at_an_operating_point_sum_to_one(both):
    result, _ = both
    for split in ("val", "test"):
        rows = [r for r in result.share_rows() if r["split"] == split]
        for target in NAMES:
            assert sum(r["share"] for r in rows if r["target"] == target) == pytest.approx(1)


def test_reliability_rows_count_every_sample(both):
    result, plain = both
    for rows, targets in ((result.reliability_rows(), NAMES), (plain.reliability_rows(), ["plain"])):
        for target in targets:
            mine = [r for r in rows if r["target"] == target]
            assert sum(r["count"] for r in mine) == SAMPLES
            assert all(r["low"] <= r["confidence"] <= r["high"] for r in mine)


def test_a_pinned_knob_is_the_only_one():
    result, _ = scored(trace(1), trace(2), pinned=0.6)
    assert {p.knob for p in result.test("dynamic")} == {0.6}
    assert {c.test.knob for c in result.chosen["dynamic"]} == {0.6}


def test_knob_values():
    seen = {"score": np.array([[0.25, 0.5], [0.75, 0.5]])}
    assert knob_values(RULE, seen, None, 0.3) == [0.3]
    assert knob_values(RULE, seen, (0.9, 0.2), None) == [0.2, 0.9, 1.0]  # never stopping is always among them
    assert knob_values(RULE, seen, None, None) == list(RULE.grid(seen))
    assert knob_values(PATIENCE, seen, (0.9, 0.2), None) == [0, 1, 2]  # thresholds are no patience
    pinned = knob_values(PATIENCE, seen, None, 3.0)
    assert pinned == [3]
    assert isinstance(pinned[0], int)


def test_a_rule_may_name_a_knob_value_twice():
    doubled = Above(RULE.score, RULE.knob)
    doubled.grid = lambda seen: [0.5, 0.5, 1.0]
    result, _ = scored(trace(1), trace(2), doubled)
    assert len(result.chosen["random"]) == len(TARGETS)
