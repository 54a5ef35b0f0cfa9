"""Each depth of static models is one decision for all seeds; what the record measured of it is kept."""

import numpy as np
import pytest
from scipy.stats import norm

from eebench.report.frames import load
from eebench.report.statics import static_points
from tests.report.fake_run import TARGETS, write_run


@pytest.fixture
def record(tmp_path):
    return load(write_run(tmp_path / "run", 1, seeds=(0, 1, 2), statics=(3, 6, 9), troubles=False))


def test_every_depth_stands_at_every_target_in_every_seed(record):
    rows = static_points(record)
    assert len(rows) == 3 * 3 * len(TARGETS)
    plain = record.plain.set_index("seed")["score"]
    scores = record.test("static").set_index(["seed", "knob"])["score"]
    for _, row in rows.iterrows():
        assert row["score"] == scores[(row["seed"], row["knob"])]
        assert row["drop"] == pytest.approx(plain[row["seed"]] - row["score"])


def test_a_depth_meets_a_loss_by_its_mean_over_seeds(record):
    curves = record.tables["curves"]
    static = curves["kind"] == "static"
    plain = record.val("plain").set_index("seed")["score"]
    lost = {3: (0.02, 0.0, 0.0), 6: (0.02, 0.015, 0.0), 9: (0.0, 0.0, 0.0)}  # means 0.67, 1.17 and 0 points
    for i in curves.index[static & (curves["split"] == "val")]:
        row = curves.loc[i]
        curves.loc[i, "score"] = plain[row["seed"]] - lost[int(row["knob"])][int(row["seed"])]
    met = static_points(record).query("target == 'drop_1'").groupby("knob")["met"].agg(["all", "any"])
    assert met.to_numpy().tolist() == [[True, True], [False, False], [True, True]]
    # With a margin: the mean's one-sided 90 % bound, of three times 319 unpaired samples.
    record.points["choose"] = "upper"
    p = plain.mean()
    for loss, knob in ((0.02 / 3, 3), (0.0, 9)):
        error = np.sqrt(((p - loss) * (1 - p + loss) + p * (1 - p)) / 319 / 3)
        met = static_points(record).set_index(["target", "knob"]).loc[("drop_1", knob), "met"]
        assert met.all() == (loss + norm.ppf(0.9) * error <= 0.01)


def test_a_depth_meets_a_share_of_the_macs_by_arithmetic(record):
    met = static_points(record).groupby(["target", "knob"])["met"].all()
    plain = record.val("plain")["gmacs"].mean()
    cost = record.val("static").groupby("knob")["gmacs"].mean()
    for share in (75, 50, 25):
        for knob in (3, 6, 9):
            assert met[(f"macs_{share}", knob)] == (cost[knob] <= share / 100 * plain)


def test_what_the_record_measured_of_a_depth_is_kept(record):
    rows = static_points(record).set_index(["target", "seed", "knob"])
    told = record.points[record.points["kind"] == "static"]
    assert len(told)
    for _, row in told.iterrows():
        mine = rows.loc[(row["target"], row["seed"], row["knob"])]
        assert (mine["drop_low"], mine["drop_high"]) == (row["drop_low"], row["drop_high"])
        assert mine["speedup_cpu"] == row["speedup_cpu"]
        whole = ((told["target"] == row["target"]) & (told["knob"] == row["knob"])).sum() == 3
        assert np.isfinite(mine["speedup_cpu_low"]) == whole  # an interval belongs to all seeds or to none


def test_a_depth_withheld_by_the_record_stays_withheld(record):
    static = record.points["kind"] == "static"
    record.points.loc[static, ["withheld_cpu", "speedup_cpu"]] = ["a busy machine", np.nan]
    rows = static_points(record).set_index(["target", "seed", "knob"])
    for _, row in record.points[static].iterrows():
        assert rows.loc[(row["target"], row["seed"], row["knob"]), "withheld_cpu"] == "a busy machine"


def test_the_other_intervals_are_those_of_two_unpaired_groups(record):
    rows = static_points(record)
    told = record.points[record.points["kind"] == "static"].set_index(["target", "seed", "knob"]).index
    others = rows[[key not in told for key in zip(rows["target"], rows["seed"], rows["knob"], strict=True)]]
    plain = record.plain.set_index("seed")["score"]
    for _, row in others.iterrows():
        p, q = row["score"], plain[row["seed"]]
        half = norm.ppf(0.975) * np.sqrt((p * (1 - p) + q * (1 - q)) / 400)
        assert row["drop_high"] - row["drop_low"] == pytest.approx(2 * half, rel=1e-5)


def test_a_record_without_static_models_has_no_rows(tmp_path):
    assert static_points(load(write_run(tmp_path / "run", 1))).empty


def test_where_scores_are_no_accuracies_no_interval_is_made_up(tmp_path):
    record = load(write_run(tmp_path / "run", 1, statics=(3, 6), regression=True))
    rows = static_points(record)
    told = record.points[record.points["kind"] == "static"]
    assert rows["drop_low"].notna().sum() == len(told)
