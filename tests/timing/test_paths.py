"""Who is timed on which path, on which samples, and the rows and speed-ups that come of it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from eebench.api import Task
from eebench.engine.model import EarlyExitModel
from eebench.parts import LinearExit
from eebench.progress import Reporter
from eebench.record import TimingFacts
from eebench.rules import Confidence
from eebench.testing import tiny_backbone, tiny_data
from eebench.timing import paths as timing
from eebench.timing.entrant import Entrant
from eebench.timing.paths import time_seed
from eebench.timing.readings import Timing
from eebench.timing.rounds import Rounds, time_rounds
from eebench.timing.times import Expected
from tests.timing.fake import FakeClocks

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

        def instead(contenders, *, device, rounds, unsettled, clocks, progress):
            listed.extend(contenders)
            ms = [np.full((rounds.least, len(c.batches)), float(i)) for i, c in enumerate(contenders, 1)]
            return [Timing(wall, wall) for wall in ms]

        monkeypatch.setattr(timing, "time_rounds", instead)
        times = time_seed(
            entrants,
            tiny_data("vit", Task(classes=3), 40).test,
            device=torch.device("cpu"),
            samples=samples,
            rounds=Rounds(2, 2),
            batch_sizes=batch_sizes,
            reporter=Reporter(quiet=True),
            clocks=FakeClocks(),
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
                assert (contender.stopwatch is not None) == (scenario == "batch")
                expected = model.dynamic(inputs, Confidence(), KNOBS[path], ids, wait=scenario == "wait").logits
            torch.testing.assert_close(found, expected)


def test_rounds_go_on_for_noisy_operating_points_and_the_plain_backbone_beside_them(entrants):
    """A machine on which one path is slow every other round: it, and what it is compared with, go on to the end."""
    clocks = FakeClocks()
    entrants = [*entrants, Entrant("smaller", entrants[0].model, None, path="static_2")]
    expected = {"fixed_2": Expected(bound=2.0)}
    entrants[1] = Entrant("ours", entrants[1].model, Confidence(), KNOBS, FIXED, expected=expected)

    def time_fake(contenders, **more):
        return time_rounds([replace(c, run=working(c)) for c in contenders], **more)

    def working(contender):
        calls = itertools.count()

        def run(inputs, ids):
            path = contender.key[4]
            slow = 10.0 if path == "fixed_4" and next(calls) // 6 % 2 else 1.0  # five calls a turn of four batches
            clocks.work(slow * (0.1 if path == "fixed_2" else 1.0))

        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "time_rounds", time_fake)
        times = time_seed(
            entrants,
            tiny_data("vit", Task(classes=3), 40).test,
            device=torch.device("cpu"),
            samples=4,
            rounds=Rounds(3, 6, 60.0),
            batch_sizes=(1,),
            reporter=Reporter(quiet=True),
            clocks=clocks,
        )
    rounds = {key[4]: found.rounds for key, found in times.timings.items()}
    assert rounds["plain"] == rounds["fixed_4"] == 6
    assert rounds["fixed_2"] == 6, "ten times faster than work left out explains"
    assert rounds["static_2"] == rounds["exit_1"] == rounds["drop_1"] == 3
    assert "explains 2.00x" in times.speedup("ours", "cpu", "fixed_2").withheld
    assert "noisy" in times.speedup("ours", "cpu", "fixed_4").withheld
    assert times.speedup("smaller", "cpu", "static_2").withheld == ""
    (facts,) = times.facts
    assert (facts["device"], facts["basis"], facts["rounds"], facts["others_cores"]) == ("cpu", "wall", 6, [0.0] * 6)
    assert facts.keys() == set(TimingFacts.model_fields) - {"runtimes"}, "what was asked for is the run's to say"
