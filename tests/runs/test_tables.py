"""Tables of one trained method: chosen on validation data, scored on test data, in the documented columns."""

from types import SimpleNamespace

import numpy as np
import pytest

from eebench.api import Knob, Task
from eebench.engine.trace import Trace
from eebench.measure.statistics import score_drop
from eebench.rules import Above
from eebench.runs.score import Costs
from eebench.runs.summaries import conformal_rows, summary_rows
from eebench.runs.tables import attach_speedups, knob_values, score_cell, score_plain
from eebench.schema import TABLES, TARGETS

RULE = Above(lambda output: output.logits, Knob("threshold", never=1.0, always=-1.0))
PATIENCE = SimpleNamespace(knob=Knob("patience", never=9, integer=True), grid=lambda seen: [0, 1, 2])
TASK = Task(classes=4)
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


def scored(val, test, **options):
    plain = score_plain(
        cell("backbone", {"val": trace(1, exits=1), "test": trace(2, exits=1)}, PLAIN_COSTS), TASK, DEPTH
    )
    return score_cell(cell("ours", {"val": val, "test": test}, COSTS), RULE, TASK, DEPTH, plain, **options), plain


@pytest.fixture(scope="module")
def both():
    return scored(trace(1), trace(2))


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
        assert [c.target for c in chosen] == list(TARGETS)
        for c in chosen:
            assert c.val.knob == c.test.knob
            assert c.val.kind == c.test.kind == kind
            assert c.val in result.curves["val"]
            assert c.test in result.curves["test"]
    assert [c.test.knob for c in result.chosen["random"]] == [c.test.knob for c in result.chosen["dynamic"]]
    assert [c.met for c in result.chosen["random"]] == [c.met for c in result.chosen["dynamic"]]


def test_targets_hold_on_validation_data_where_they_are_met(both):
    result, plain = both
    before = plain.curves["val"][0].row
    for c in result.chosen["dynamic"] + result.chosen["fixed"]:
        if not c.met:
            continue
        if c.target == "drop_1pt":
            assert c.val.row["score"] >= before["score"] - 0.01 - 1e-9
        else:
            assert c.val.row["gmacs"] <= before["gmacs"] * int(c.target[-2:]) / 100 + 1e-9
    assert all(c.met for c in result.chosen["dynamic"] if c.target == "macs_50")


def test_rows_have_the_documented_columns(both):
    result, plain = both
    rows = {
        "curves": result.curve_rows() + plain.curve_rows(),
        "exits": result.exit_rows([1, 2, 3, 4]) + plain.exit_rows([0]),
        "operating_points": result.point_rows(plain),
        "reliability": result.reliability_rows() + plain.reliability_rows(),
        "conformal": conformal_rows(result) + conformal_rows(plain),
        "summary": summary_rows(result, plain),
    }
    for name, table in rows.items():
        assert table
        assert set().union(*table) <= set(TABLES[name]), name
        assert {(r["method"], r["seed"]) for r in table} <= {("ours", 3), ("backbone", 3)}
    assert summary_rows(plain, plain) == []


def test_a_drop_is_against_the_plain_backbone_with_its_bootstrap_interval(both):
    result, plain = both
    before = plain.test.predictions(plain.curves["test"][0].exits)
    for row in result.point_rows(plain):
        assert row["drop"] == pytest.approx(plain.curves["test"][0].row["score"] - row["score"])
        c = next(c for c in result.chosen[row["kind"]] if c.target == row["target"])
        assert (row["val_score"], row["val_gmacs"]) == (c.val.row["score"], c.val.row["gmacs"])
        if row["kind"] in ("dynamic", "fixed"):
            after = result.test.predictions(c.test.exits)
            interval = score_drop("accuracy", before, after, result.test.trace.targets, n=2000)
            assert (row["drop_low"], row["drop_high"]) == (interval.low, interval.high)
            assert row["drop_low"] <= row["drop"] <= row["drop_high"]
        else:
            assert "drop_low" not in row


def test_over_fixed_is_against_fixed_depths_of_the_same_cost(both):
    result, plain = both
    depths = [(p.row["gmacs"], p.row["score"]) for p in result.curves["test"] if p.kind == "fixed"]
    for row in result.point_rows(plain):
        if row["kind"] != "dynamic":
            assert "over_fixed" not in row
            continue
        at_same_cost = np.interp(row["gmacs"], *zip(*depths, strict=True))  # constant beyond the dearest
        assert row["over_fixed"] == pytest.approx(row["score"] - at_same_cost)
        assert row["over_fixed_low"] <= row["over_fixed"] <= row["over_fixed_high"]


def test_shares_at_an_operating_point_sum_to_one(both):
    result, _ = both
    for split in ("val", "test"):
        rows = [r for r in result.exit_rows([0] * 4) if r["split"] == split]
        for target in TARGETS:
            assert sum(r[f"share_{target}"] for r in rows) == pytest.approx(1)


def test_reliability_rows_count_every_sample(both):
    result, plain = both
    for rows, targets in ((result.reliability_rows(), list(TARGETS)), (plain.reliability_rows(), ["plain"])):
        for target in targets:
            mine = [r for r in rows if r["target"] == target]
            assert sum(r["count"] for r in mine) == SAMPLES
            assert all(r["low"] <= r["confidence"] <= r["high"] for r in mine)


def test_a_pinned_knob_is_the_only_one():
    result, _ = scored(trace(1), trace(2), pinned=0.6)
    assert {p.knob for p in result.curves["test"] if p.kind == "dynamic"} == {0.6}
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
    plain = score_plain(
        cell("backbone", {"val": trace(1, exits=1), "test": trace(2, exits=1)}, PLAIN_COSTS), TASK, DEPTH
    )
    ours = cell("ours", {"val": trace(1), "test": trace(2)}, COSTS)
    result = score_cell(ours, doubled, TASK, DEPTH, plain)
    assert len(result.chosen["random"]) == len(TARGETS)


def test_measured_speedups_go_to_the_rows_they_were_measured_for():
    rows = [
        {"method": "ours", "seed": 1, "kind": "dynamic", "target": "macs_50", "knob": 0.5},
        {"method": "ours", "seed": 1, "kind": "fixed", "target": "macs_50", "knob": 2},
        {"method": "ours", "seed": 1, "kind": "oracle", "target": "macs_50", "knob": None},
        {"method": "ours", "seed": 2, "kind": "dynamic", "target": "macs_50", "knob": 0.5},
        {"method": "ours", "seed": 1, "kind": "dynamic", "target": "macs_25", "knob": 0.4},
    ]
    timed = {("ours", "cpu", "macs_50"): (2.0, 1.8, 2.2), ("ours", "cpu", "fixed_2"): (1.5, 1.4, 1.6)}

    class Times:
        def speedup(self, label, device, path):
            found = timed.get((label, device, path))
            return None if found is None else SimpleNamespace(estimate=found[0], low=found[1], high=found[2])

    attach_speedups(rows, Times(), 1)
    assert [row.get("speedup_cpu") for row in rows] == [2.0, 1.5, None, None, None]
    assert (rows[0]["speedup_cpu_low"], rows[0]["speedup_cpu_high"]) == (1.8, 2.2)
    assert all("speedup_gpu" not in row for row in rows)
