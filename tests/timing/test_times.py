"""Which speed-ups may be shown, on whose clock, and why the others may not."""

import math

import numpy as np
import pytest

from eebench.schema import TABLES
from eebench.timing.readings import CPU, WALL, Timing
from eebench.timing.times import Expected, Times

N, ROUNDS = 100, 3
PLAIN = ("backbone", "cpu", "single", 1, "plain")
MINE = ("ours", "cpu", "single", 1, "drop_1")
BLOCKS = (1, 2, 4)


def path(ms, *, cpu=None, rounds=ROUNDS, exits=None, **more):
    """A path that takes so long: a number, or one a sample."""
    wall = np.broadcast_to(np.asarray(ms, dtype=float), (rounds, N)).copy()
    used = wall.copy() if cpu is None else np.broadcast_to(np.asarray(cpu, dtype=float), (rounds, N)).copy()
    more = {"cpu_counts": True, "crowded": np.zeros(rounds, bool)} | more
    if exits is not None:
        exits = np.broadcast_to(np.asarray(exits)[:, None], (rounds, N, 1))
        more |= {"exits": exits, "answers": np.zeros_like(exits)}
    return Timing(wall, used, **more)


def times_of(plain, mine, expected=Expected(), more=(), threads=1):  # noqa: B008
    return Times(
        threads,
        {PLAIN: plain, MINE: mine, **dict(more)},
        expected={MINE: expected},
        ids={MINE: np.arange(N)[:, None]},
    )


def shown(times):
    found = times.speedup("ours", "cpu", "drop_1")
    assert not found.withheld, found.withheld
    return found


def withheld(times, words):
    found = times.speedup("ours", "cpu", "drop_1")
    assert words in found.withheld
    return found


def test_a_quiet_speedup_is_shown_by_the_wall_clock():
    found = shown(times_of(path(4.0), path(1.6), Expected(2.6)))
    assert (found.interval.estimate, found.interval.low, found.interval.high) == pytest.approx((2.5, 2.5, 2.5))
    assert found.basis == WALL
    assert times_of(path(4.0), path(1.6)).speedup("ours", "cpu", "macs_25") is None
    assert times_of(path(4.0), path(1.6)).speedup("ours", "cuda", "drop_1") is None


def test_where_the_clocks_part_cpu_time_is_the_estimate():
    """Ten times faster by the wall clock, three times by MACs: the long path was preempted, the short one was not."""
    times = times_of(path(30.0, cpu=9.0), path(3.0, cpu=3.0), Expected(3.0))
    found = shown(times)
    assert found.interval.estimate == pytest.approx(3.0)
    assert found.basis == CPU
    assert {(row["path"], row["basis"], row["contaminated"]) for row in times.rows(0)} == {
        ("plain", CPU, True),
        ("drop_1", CPU, False),
    }
    assert [row["mean_ms"] for row in times.rows(0)] == [9.0, 3.0]


def test_with_several_threads_a_crowded_machine_shows_nothing():
    crowded = {"cpu_counts": False, "crowded": np.ones(ROUNDS, bool)}
    times = times_of(path(30.0, cpu=9.0, **crowded), path(3.0, **crowded), Expected(3.0), threads=2)
    assert withheld(times, "cores that 2 threads needed").again
    assert times.rows(0)[0]["basis"] == WALL


def test_a_cpu_clock_that_is_too_coarse_is_said():
    crowded = {"cpu_counts": False, "crowded": np.ones(ROUNDS, bool)}
    withheld(times_of(path(30.0, **crowded), path(10.0, **crowded), Expected(3.0)), "too coarse")


@pytest.mark.parametrize(("mine", "shows"), [(1.6, True), (4 / 2.9, True), (4 / 3.0, False), (0.4, False)])
def test_what_the_work_left_out_does_not_explain_is_no_finding(mine, shows):
    times = times_of(path(4.0), path(mine), Expected(2.55))  # a sixth more is let pass
    found = times.speedup("ours", "cpu", "drop_1")
    assert (found.withheld == "") is shows
    assert found.again is not shows
    if not shows:
        assert found.withheld == f"measured {4 / mine:.2f}x, but the work left out explains 2.55x"


@pytest.mark.parametrize(("mine", "shows"), [(1.55, True), (1.45, False)])
def test_less_is_let_pass_where_others_used_the_machine(mine, shows):
    times = times_of(path(8.0, cpu=4.0), path(mine), Expected(2.55))  # 2.58 and 2.76
    found = times.speedup("ours", "cpu", "drop_1")
    assert found.basis == CPU
    assert (found.withheld == "") is shows


def replayed(shares, bound=math.inf):
    exits = np.repeat([0, 1, 2], np.round(np.array(shares) * 1000).astype(int))
    return Expected(bound, exits, np.zeros(1000, dtype=int), BLOCKS)


def exits_timed(*counts):
    return np.repeat([0, 1, 2], counts)


def test_timed_samples_stand_for_the_split_by_where_they_stop():
    exits = exits_timed(80, 0, 20)  # of the split half stop at either
    mine = np.where(exits == 0, 1.0, 4.0)
    times = times_of(path(4.0), path(mine, exits=exits), replayed([0.5, 0, 0.5]))
    times.ids[MINE] = np.where(exits == 0, 0, 999)[:, None]
    assert shown(times).interval.estimate == pytest.approx(4 / 2.5)
    assert times.rows(0)[1]["mean_ms"] == pytest.approx(2.5)
    unweighted = times_of(path(4.0), path(mine, exits=exits))
    assert unweighted.speedup("ours", "cpu", "drop_1").interval.estimate == pytest.approx(4 / 1.6)


def test_live_exits_elsewhere_are_counted_and_withhold():
    exits = exits_timed(50, 0, 50)
    times = times_of(path(4.0), path(2.0, exits=exits), replayed([0.5, 0, 0.5]))
    times.ids[MINE] = np.arange(N)[:, None]  # all of which stop at the first exit in the replay
    assert times.live("ours") == {"compared": 100, "differ": 50, "answers": 0}
    assert not withheld(times, "50 of 100 timed samples stopped elsewhere than in the replay").again
    assert times.live("backbone") == {"compared": 0, "differ": 0, "answers": 0}


def test_other_answers_at_the_same_exit_are_counted():
    exits = exits_timed(100, 0, 0)
    expected = Expected(math.inf, np.zeros(1000, int), (np.arange(1000) < 7).astype(int), BLOCKS)
    times = times_of(path(4.0), path(2.0, exits=exits), expected)
    assert times.live("ours") == {"compared": 100, "differ": 0, "answers": 7}
    close = Expected(math.inf, np.zeros(1000, int), np.where(np.arange(1000) < 3, 1.0, 1e-6), BLOCKS)
    assert times_of(path(4.0), path(2.0, exits=exits), close).live("ours")["answers"] == 3


def test_one_measurement_under_two_names_is_compared_once():
    exits = exits_timed(100, 0, 0)
    timing = path(2.0, exits=exits)
    times = times_of(path(4.0), timing, Expected(9, np.zeros(1000, int), np.zeros(1000, int), BLOCKS))
    other = (*MINE[:4], "macs_50")
    times.timings[other], times.expected[other], times.ids[other] = timing, times.expected[MINE], times.ids[MINE]
    assert times.live("ours")["compared"] == 100


def forced(ms):
    return [(("ours", "cpu", "single", 1, f"exit_{b}"), path(m)) for b, m in zip(BLOCKS, ms, strict=True)]


def test_deciding_is_not_faster_than_being_made_to_stop():
    exits = exits_timed(50, 0, 50)
    slow = [*forced([1.0, 2.0, 4.0])]
    ids = np.where(exits == 0, 0, 999)[:, None]
    times = times_of(path(4.0), path(np.where(exits == 0, 1.1, 4.2), exits=exits), replayed([0.5, 0, 0.5]), slow)
    times.ids[MINE] = ids
    shown(times)
    times = times_of(path(4.0), path(np.where(exits == 0, 0.5, 2.0), exits=exits), replayed([0.5, 0, 0.5]), slow)
    times.ids[MINE] = ids
    assert withheld(times, "measured 3.20x, but 1.60x when made to stop at the same exits").again


def test_an_exit_that_was_not_forced_gives_no_ceiling():
    exits = exits_timed(50, 0, 50)
    times = times_of(
        path(4.0), path(np.where(exits == 0, 0.5, 2.0), exits=exits), replayed([0.5, 0, 0.5]), forced([1, 2, 4])[:2]
    )
    times.ids[MINE] = np.where(exits == 0, 0, 999)[:, None]
    shown(times)


def test_a_wide_interval_is_not_published():
    rng = np.random.default_rng(0)
    turns = np.repeat(rng.lognormal(0, 0.3, 13), 8)[:N]  # turns that differ by a third
    found = withheld(times_of(path(4.0), path(1.6 * turns), Expected(9.0)), "noisy: 95 % interval")
    assert found.again
    assert f"{found.interval.low:.2f}x to {found.interval.high:.2f}x after 3 rounds" in found.withheld


def test_drift_that_all_paths_share_is_no_noise():
    drift = np.array([1.0, 1.5, 0.7])[:, None]
    times = times_of(path(4.0 * drift), path(1.6 * drift), Expected(2.6))
    shown(times)
    assert [row["noisy"] for row in times.rows(0)] == [False, False]
    alone = times_of(path(4.0), path(1.6 * drift), Expected(9.0))
    assert [row["noisy"] for row in alone.rows(0)] == [True, True]  # either strays against the other


def test_few_turns_have_no_interval_and_are_judged_by_their_rounds():
    def few(ms, rounds):
        wall = np.broadcast_to(np.asarray(ms, dtype=float), (rounds, 16)).copy()
        return Timing(wall, wall.copy(), cpu_counts=True)

    found = shown(times_of(few(4.0, 2), few(1.6, 2)))
    assert math.isnan(found.interval.low)
    beside = few(4.0, 2)
    beside.wall_ms[:] *= 2
    assert not withheld(times_of(beside, few(1.6, 2)), "so few samples do not say").again
    strayed = few(np.array([[1.6], [2.4]]), 2)
    withheld(times_of(few(4.0, 2), strayed), "noisy: its 2 rounds stray")


def test_paths_with_fewer_rounds_are_held_against_the_same_rounds_of_the_plain_backbone():
    plain = path(np.array([4.0, 4.0, 4.0, 40.0, 40.0])[:, None], rounds=5)
    assert shown(times_of(plain, path(2.0), Expected(2.0))).interval.estimate == pytest.approx(2.0)


def test_rows_have_the_documented_columns():
    batch = ("ours", "cpu", "batch", 8, "macs_25")
    times = times_of(path(4.0), path(1.6), more=[(batch, path(1.0, size=8))])
    times.knobs[MINE] = 0.5
    rows = times.rows(seed=7)
    assert set().union(*rows) == set(TABLES["latency"])
    assert [(r["method"], r["path"], r["knob"], r["seed"]) for r in rows] == [
        ("backbone", "plain", None, 7),
        ("ours", "drop_1", 0.5, 7),
        ("ours", "macs_25", None, 7),
    ]


def test_raw_times_are_kept_by_name():
    raw = times_of(path(4.0), path(1.6, cpu=1.5)).raw()
    assert raw["ours|cpu|single|1|drop_1"].shape == (ROUNDS, N)
    assert (raw["ours|cpu|single|1|drop_1|cpu"] == 1.5).all()
    assert len(raw) == 4
