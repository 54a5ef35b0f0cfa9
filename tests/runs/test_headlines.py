"""Headline numbers are means over seeds of what the operating points say, with intervals around them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import gmean

from eebench.measure import Candidates, Rule, Split, cross_fit
from eebench.runs.choose import Chooser
from eebench.runs.crossfit import cross_fitted
from eebench.runs.headlines import Seed, headline_rows, pair_rows, widen
from eebench.runs.tables import frontier_of, score_method, score_plain, score_static
from eebench.schema import BACKBONE, TABLES
from eebench.targets import Target
from tests.runs.test_tables import COSTS, DEPTH, PLAIN_COSTS, RULE, TASK, alone, cell, trace

TARGETS = [Target.parse(name) for name in ("drop_5", "macs_50")]


def one_seed(number):
    """A seed: the plain backbone, a static model, a method and its twin; the test samples are the same for all."""
    noise = np.random.default_rng(number)

    def flipped(whole):
        wrong = noise.random(whole.prediction.shape) < 0.02
        return replace(whole, prediction=np.where(wrong, (whole.prediction + 1) % 4, whole.prediction))

    def stored(label, val, test, costs):
        found = cell(label, {"val": flipped(val), "test": flipped(test)}, costs)
        found.seed = number
        return found

    plain = score_plain(stored(BACKBONE, alone(1, 3, DEPTH), alone(2, 3, DEPTH), PLAIN_COSTS), TASK, DEPTH)
    chooser = Chooser(plain.val("plain")[0])
    half = type(COSTS)(*(np.array([[c]]) * 1e9 for c in (2, 0.0, 0.0, 2, 2)))
    small = stored("static[blocks=2]", alone(1, 1, 2), alone(2, 1, 2), half)
    models = {BACKBONE: plain, "static": score_static({2: small}, TASK, DEPTH, plain, chooser, TARGETS)}
    for label in ("ours", "twin"):
        models[label] = score_method(stored(label, trace(1), trace(2), COSTS), RULE, TASK, DEPTH, chooser, TARGETS)
    return Seed(number, models)


@pytest.fixture(scope="module")
def seeds():
    return [one_seed(number) for number in (0, 1, 2)]


def test_a_headline_is_the_mean_of_the_operating_points(seeds):
    rows = headline_rows(seeds, TARGETS, "upper", 0.9)
    assert set().union(*rows) <= set(TABLES["headlines"])
    assert {(r["target"], r["method"]) for r in rows} == {
        (t.name, m) for t in TARGETS for m in ("static", "ours", "twin")
    }
    for row in rows:
        kind = "static" if row["method"] == "static" else "dynamic"
        points = [
            point
            for seed in seeds
            for point in seed.models[row["method"]].point_rows(seed.plain, frontier_of(seed.frontier_points()))
            if point["target"] == row["target"] and point["kind"] == kind
        ]
        values = [point[row["measure"]] for point in points]
        assert row["seeds"] == len(values) == 3
        expected = gmean(values) if row["measure"] == "speedup_macs" else np.mean(values)
        assert row["value"] == pytest.approx(expected, rel=1e-5, abs=1e-6), row["measure"]
        assert row["low"] <= row["value"] <= row["high"]
        assert row["low"] < row["high"] or row["measure"] == "speedup_macs"


def test_more_seeds_know_more_about_seeds_than_one(seeds):
    alone_ = {(r["method"], r["target"], r["measure"]): r for r in headline_rows(seeds[:1], TARGETS, "upper", 0.9)}
    for row in headline_rows(seeds, TARGETS, "upper", 0.9):
        assert row["seeds"] == 3
        assert alone_[row["method"], row["target"], row["measure"]]["seeds"] == 1


def test_operating_points_get_intervals_that_contain_the_choice(seeds):
    seed = seeds[0]
    frontier = frontier_of(seed.frontier_points())
    rows = [row for label, scored in seed.models.items() if label != BACKBONE
            for row in scored.point_rows(seed.plain, frontier)]  # fmt: skip
    widen(rows, seed, TARGETS, "upper", 0.9)
    for row in rows:
        if row["kind"] in ("dynamic", "static"):
            assert row["speedup_macs_low"] <= row["speedup_macs"] <= row["speedup_macs_high"]
            assert row["drop_low"] <= row["drop"] <= row["drop_high"]
        else:
            assert "speedup_macs_low" not in row
    assert any(row["speedup_macs_low"] < row["speedup_macs_high"] for row in rows if row["kind"] == "dynamic")


def test_pairs_and_tiers(seeds):
    pairs, tiers = pair_rows(seeds, TARGETS)
    assert set().union(*pairs) <= set(TABLES["pairs"])
    assert set().union(*tiers) <= set(TABLES["tiers"])
    for target in TARGETS:
        mine = [row for row in pairs if row["target"] == target.name]
        assert len(mine) == 6  # of four
        assert all(row["difference"] >= 0 and row["p"] <= row["p_holm"] for row in mine)
        ranked = {row["method"]: row for row in tiers if row["target"] == target.name}
        assert set(ranked) == {BACKBONE, "static", "ours", "twin"}
        assert min(row["tier"] for row in ranked.values()) == 1
        assert sum(row["mean_rank"] for row in ranked.values()) == pytest.approx(10)
    twins = [row for row in pairs if {row["method_a"], row["method_b"]} == {"ours", "twin"}]
    assert all(row["p_holm"] > 0.05 for row in twins)
    small = next(
        r for r in pairs if r["target"] == "macs_50" and {r["method_a"], r["method_b"]} == {BACKBONE, "static"}
    )
    assert small["method_a"] == BACKBONE  # right on 95 % of the samples, the small one on 72 %
    assert small["p_holm"] < 0.05


def test_a_method_that_missed_a_seed_is_compared_with_nobody(seeds):
    short = Seed(2, {label: scored for label, scored in seeds[2].models.items() if label != "twin"})
    _, tiers = pair_rows([*seeds[:2], short], TARGETS)
    assert "twin" not in {row["method"] for row in tiers}
    rows = headline_rows([*seeds[:2], short], TARGETS, "upper", 0.9)
    assert {row["seeds"] for row in rows if row["method"] == "twin"} == {2}


def test_cross_fitting_chooses_on_one_half_and_reads_on_the_other():
    """Knob 0 is right on the first half of the held-out samples alone, knob 1 on the second."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 80)
    fold = cross_fit(lambda rows: 0, 80, targets).fold
    answers = np.stack([np.where(fold == 0, targets, 1 - targets), np.where(fold == 1, targets, 1 - targets)], 1)
    cost = np.array([0.5, 0.25])
    whole = [Split(targets[r], targets[r], 1.0, Candidates(answers[r], cost)) for r in (slice(50), slice(50, 80))]
    drop, speedup = cross_fitted(*whole, Rule(budget=1.0), "accuracy")
    assert drop == 1.0  # the best on either half is wrong on the other
    shares = [(fold == f).mean() for f in (0, 1)]
    assert speedup == pytest.approx(1 / (0.25 * shares[0] + 0.5 * shares[1]))
    naive = cross_fitted(*whole, Rule(drop=0.01, level=None), "accuracy")
    assert naive == (drop, pytest.approx(speedup))


def test_the_tables_hold_what_cross_fitting_says(seeds):
    rows = [{"target": t.name, "method": "ours", "seed": 0, "kind": "dynamic"} for t in TARGETS]
    widen(rows, seeds[0], TARGETS, "upper", 0.9)
    for row in rows:
        assert -1 <= row["crossfit_drop"] <= 1
        assert row["crossfit_speedup_macs"] > 0
    assert set().union(*rows) <= set(TABLES["operating_points"])
