"""Who is timed on which path, on which samples, and the rows and speed-ups that come of it."""

import numpy as np
import pytest
import torch

from eebench.api import Task
from eebench.engine.model import EarlyExitModel
from eebench.parts import LinearExit
from eebench.plugins.tiny import tiny_backbone, tiny_data
from eebench.progress import Reporter
from eebench.rules import Confidence
from eebench.schema import TABLES
from eebench.timing import paths as timing
from eebench.timing.paths import Entrant, Times, time_seed
from eebench.timing.rounds import Timing

KNOBS = {"drop_1": 0.9, "macs_75": 0.5, "macs_50": 0.5, "macs_25": 0.4}
FIXED = {"drop_1": 4, "macs_75": 2, "macs_50": 2, "macs_25": 2}


@pytest.fixture(scope="module")
def entrants():
    torch.manual_seed(0)
    backbone = tiny_backbone("vit", 3, 4)
    plain = EarlyExitModel(backbone, {}).eval()
    model = EarlyExitModel(backbone, {b: LinearExit(backbone.layouts[0], 3) for b in (1, 2)}).eval()
    return [Entrant("backbone", plain, None, {}, {}), Entrant("ours", model, Confidence(), KNOBS, FIXED)]


@pytest.fixture
def race(entrants, monkeypatch):
    """Run ``time_seed`` with time standing still: the contenders it lists, and the times it makes of 1, 2, 3 … ms."""

    def run(batch_sizes=(1,), samples=8, seed=0):
        listed = []

        def instead(contenders, *, device, rounds, progress):
            listed.extend(contenders)
            return [
                Timing(np.full((rounds, len(c.batches)), float(i)), None, None) for i, c in enumerate(contenders, 1)
            ]

        monkeypatch.setattr(timing, "time_rounds", instead)
        times = time_seed(
            entrants,
            tiny_data("vit", Task(classes=3), 40).test,
            device=torch.device("cpu"),
            samples=samples,
            rounds=2,
            batch_sizes=batch_sizes,
            reporter=Reporter(quiet=True),
            seed=seed,
        )
        return times, listed

    return run


def test_paths_at_batch_one(race):
    times, listed = race()
    paths = {key[4] for key in times.timings if key[0] == "ours"}
    assert paths == {*KNOBS, "fixed_2", "fixed_4", "exit_1", "exit_2", "exit_4"}
    assert {key[:4] for key in times.timings} == {("backbone", "cpu", "single", 1), ("ours", "cpu", "single", 1)}
    assert ("backbone", "cpu", "single", 1, "plain") in times.timings
    # one knob under two names is one measurement
    assert len(listed) == len(times.timings) - 1
    a, b = (times.timings["ours", "cpu", "single", 1, path] for path in ("macs_75", "macs_50"))
    assert a is b


def test_a_batch_larger_than_the_split_is_recorded_as_what_it_is(race):
    times, _ = race(batch_sizes=(1, 64, 128), samples=8)
    assert {key[3] for key in times.timings} == {1, 40}


def test_everybody_sees_the_same_samples(race):
    _, listed = race(samples=8)
    ids = {c.key: [i for _, part in c.batches for i in part.tolist()] for c in listed}
    whole = ids["backbone", "cpu", "single", 1, "plain"]
    assert len(whole) == len(set(whole)) == 8
    for key, mine in ids.items():
        assert mine == (whole[:4] if key[4].startswith("exit_") else whole), key
    again = [i for _, part in race(samples=8)[1][0].batches for i in part.tolist()]
    other = [i for _, part in race(samples=8, seed=1)[1][0].batches for i in part.tolist()]
    assert again == whole
    assert other != whole


def test_larger_batches_are_timed_with_rows_leaving_and_waiting(race):
    times, listed = race(batch_sizes=(1, 6), samples=8)
    scenarios = {key[2] for key in times.timings if key[3] == 6}
    assert scenarios == {"batch", "wait"}
    paths = {key[4] for key in times.timings if key[3] == 6 and key[0] == "ours"}
    assert paths == set(KNOBS)
    for contender in listed:
        assert all(len(ids) == contender.key[3] for _, ids in contender.batches)
    assert len(next(c for c in listed if c.key[3] == 6).batches) == 4  # 4 batches at least, or what there is


def test_every_path_runs_what_its_name_says(race, entrants):
    _, listed = race(batch_sizes=(1, 6))
    model = entrants[1].model
    with torch.inference_mode():
        for contender in listed:
            inputs, ids = contender.batches[0]
            label, _, scenario, _, path = contender.key
            found = contender.run(inputs, ids)
            if label == "backbone":
                expected = model.backbone.plain(inputs)
            elif path.startswith("fixed_"):
                expected = model.static(inputs, int(path[6:]))
            elif path.startswith("exit_"):
                expected = model.forced(inputs, int(path[5:]))
            else:
                found = found.logits
                expected = model.dynamic(inputs, Confidence(), KNOBS[path], ids, wait=scenario == "wait").logits
            torch.testing.assert_close(found, expected)


def times_of():
    held = {
        ("backbone", "cpu", "single", 1, "plain"): Timing(np.full((3, 10), 4.0), None, None),
        ("ours", "cpu", "single", 1, "macs_50"): Timing(np.full((3, 10), 1.6), None, None),
        ("ours", "cpu", "batch", 8, "macs_25"): Timing(np.full((3, 10), 1.0), None, None),
    }
    return Times(held, {("ours", "cpu", "single", 1, "macs_50"): 0.5}, 1)


def test_a_speedup_is_the_plain_backbones_mean_over_ones_own():
    found = times_of().speedup("ours", "cpu", "macs_50")
    assert (found.estimate, found.low, found.high) == pytest.approx((2.5, 2.5, 2.5))
    assert times_of().speedup("ours", "cpu", "macs_25") is None  # timed in batches only
    assert times_of().speedup("ours", "cuda", "macs_50") is None


def test_rows_have_the_documented_columns():
    rows = times_of().rows(seed=7)
    assert set().union(*rows) == set(TABLES["latency"])
    assert [(r["method"], r["path"], r["knob"], r["seed"]) for r in rows] == [
        ("backbone", "plain", None, 7),
        ("ours", "macs_50", 0.5, 7),
        ("ours", "macs_25", None, 7),
    ]


def test_raw_times_are_kept_by_name():
    raw = times_of().raw()
    assert raw["ours|cpu|single|1|macs_50"].shape == (3, 10)
    assert len(raw) == 3
