"""What becomes of readings: interruptions, the clock to go by, and the row of latency.csv."""

import numpy as np
import pytest

from eebench.measure.timings import Strata
from eebench.schema import TABLES
from eebench.timing.readings import CPU, WALL, Timing


def alone(wall, cpu=None, **more):
    """A path timed on one thread under a fine clock."""
    wall = np.asarray(wall, dtype=float)
    return Timing(wall, wall.copy() if cpu is None else np.asarray(cpu, dtype=float), cpu_counts=True, **more)


def test_summary_has_the_columns_of_the_table():
    rng = np.random.default_rng(0)
    times = rng.gamma(5.0, size=(5, 200))
    found = alone(times).summary(WALL)
    assert found.keys() <= TABLES["latency"].keys()
    for percent in (50, 90, 95, 99):
        assert found[f"p{percent}_ms"] == np.quantile(times, percent / 100, method="inverted_cdf")
    assert found["iqr_ms"] == np.subtract(*np.quantile(times, (0.75, 0.25), method="inverted_cdf"))
    assert found["mean_ms"] == pytest.approx(sum(sorted(column)[2] for column in times.T) / 200)
    assert (found["n"], found["rounds"]) == (1000, 5)
    assert found["device_ms"] is found["syncs"] is found["switches"] is None


def test_one_interruption_does_not_move_the_mean():
    wall = np.ones((5, 40))
    wall[1, 3:9] = 50.0  # somebody else's work
    timing = alone(wall, np.ones((5, 40)))
    assert not timing.contaminated
    found = timing.summary(WALL)
    assert found["mean_ms"] == found["cpu_ms"] == 1
    assert found["p99_ms"] == 50
    assert timing.interrupted.sum() == 6


def test_a_clock_that_parts_from_the_cpu_in_most_rounds_is_contaminated():
    wall = np.full((5, 40), 1.0)
    wall[:3] = 4.0
    timing = alone(wall, np.ones((5, 40)))
    assert timing.contaminated
    assert timing.summary(WALL)["mean_ms"] == 4
    found = timing.summary(CPU)
    assert (found["mean_ms"], found["wall_ms"], found["cpu_ms"]) == (1, 4, 1)
    assert (found["basis"], found["contaminated"]) == (CPU, True)
    assert found["p99_ms"] == 1


@pytest.mark.parametrize(("wall", "contaminated"), [(1.04, False), (1.08, True)])
def test_five_percent_and_some_slack_are_let_pass(wall, contaminated):
    timing = alone(np.full((3, 10), wall), np.ones((3, 10)))
    assert timing.contaminated is contaminated
    assert timing.interrupted.all() == contaminated


def test_cpu_time_is_taken_from_the_rounds_nothing_interrupted():
    wall = [[1.0, 9.0], [9.0, 9.0], [1.2, 9.0]]
    cpu = [[1.0, 2.0], [1.8, 3.0], [1.2, 4.0]]  # whoever comes back finds cold caches
    timing = alone(wall, cpu)
    np.testing.assert_allclose(timing.times(CPU), [1.1, 3.0])  # the second was always interrupted: all its rounds


def test_with_several_threads_only_other_peoples_load_speaks():
    wall = np.full((4, 20), 3.0)
    busy_threads = Timing(wall, 2 * wall, crowded=np.array([False] * 4))  # the process's CPU time, both threads'
    assert not busy_threads.contaminated
    sleeping = Timing(wall, 0.5 * wall, crowded=np.array([False] * 4))  # waiting for each other is no interruption
    assert not sleeping.contaminated
    assert Timing(wall, wall, crowded=np.array([True, True, False, False])).contaminated
    assert not Timing(wall, wall, crowded=np.array([True, False, False, False])).contaminated


def test_on_a_gpu_the_host_must_have_been_pushed_aside():
    wall, gpu = np.full((2, 10), 3.0), np.full((2, 10), 2.5)
    none, some = np.zeros((2, 10, 2)), np.zeros((2, 10, 2))
    some[..., 1] = 1
    assert not Timing(wall, 0.2 * wall, switches=none, device_ms=gpu).contaminated  # it sleeps while the GPU works
    assert not Timing(wall, wall, switches=some, device_ms=gpu).contaminated  # pushed aside for no time to speak of
    assert Timing(wall, 0.2 * wall, switches=some, device_ms=gpu).contaminated


def test_summary_of_device_times_and_switches():
    switches = np.array([[[1, 2], [0, 0], [0, 3]]] * 2)
    found = Timing(np.ones((2, 3)), np.ones((2, 3)), 2, switches=switches, device_ms=np.full((2, 3), 0.25), syncs=1.5)
    found = found.summary(WALL)
    assert (found["device_ms"], found["syncs"]) == (0.25, 1.5)
    assert found["switches"] == 1  # six in three batches of two


def test_mean_and_percentiles_stand_for_the_whole_split():
    wall = np.array([[1.0] * 8 + [4.0] * 2] * 3)  # eight stop at the first exit, two at the last
    strata = Strata([0] * 8 + [2] * 2, [0.5, 0.0, 0.5], [1, 2, 4])
    found = alone(wall).summary(WALL, strata)
    assert found["mean_ms"] == found["cpu_ms"] == 2.5
    assert (found["p50_ms"], found["p90_ms"]) == (1, 4)
    assert alone(wall).summary(WALL)["mean_ms"] == pytest.approx(1.6)


def test_a_batchs_percentiles_are_its_requests_latencies():
    wall = np.full((2, 3), 2.5)  # ms a sample, batches of four
    waits = np.broadcast_to(np.array([4.0, 4.0, 8.0, 10.0]), (2, 3, 4))
    leaving = Timing(wall, wall, 4, True, wait_wall_ms=waits, wait_cpu_ms=waits / 2)
    found = leaving.summary(WALL)
    assert (found["mean_ms"], found["p50_ms"], found["p90_ms"], found["p99_ms"]) == (2.5, 4, 10, 10)
    assert leaving.summary(CPU)["p99_ms"] == 5
    waiting = Timing(wall, wall, 4, True).summary(WALL)
    assert waiting["p50_ms"] == waiting["p99_ms"] == 10  # nobody has its answer before the batch is done


def test_the_first_rounds_alone():
    timing = alone(np.arange(12.0).reshape(4, 3) + 1, exits=np.arange(12).reshape(4, 3, 1), crowded=np.zeros(4, bool))
    some = timing.until(2)
    assert some.rounds == 2
    assert some.exits.shape == (2, 3, 1)
    assert len(some.crowded) == 2
    assert some.size == timing.size
    assert some.cpu_counts
