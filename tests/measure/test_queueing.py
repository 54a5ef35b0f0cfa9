"""The simulation against queueing theory (Pollaczek and Khinchine, Erlang), brute force, and by hand."""

import math

import numpy as np
import pytest

from eebench.measure.queueing import Served, StageCosts, bursty, highest_load, poisson, serve, serve_batches

N, SETTLED = 400_000, 20_000


def mean_wait(served, service):
    return float((served.latencies - service[served.settled :]).mean())


def theory(rate, service):
    """Mean wait of M/G/1: λ E[S²] / 2(1 - ρ)."""
    return rate * (service**2).mean() / (2 * (1 - rate * service.mean()))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_service_time_is_m_d_1(load):
    service = np.ones(N)
    served = serve(poisson(load, N, seed=1), service, settled=SETTLED)
    assert mean_wait(served, service) == pytest.approx(load / (2 * (1 - load)), rel=0.06)


@pytest.mark.parametrize("load", [0.4, 0.8])
def test_several_service_times_are_m_g_1(load):
    """Exits at a quarter, half and all of the network."""
    service = np.random.default_rng(2).choice([0.25, 0.5, 1.0], size=N, p=[0.6, 0.3, 0.1])
    rate = load / service.mean()
    served = serve(poisson(rate, N, seed=3), service, settled=SETTLED)
    assert mean_wait(served, service) == pytest.approx(theory(rate, service), rel=0.05)


def test_bursts_are_m_x_g_1():
    """Mean wait when X come at once: that of a burst as one customer, and what comes before in one's own."""
    burst, load = 4.0, 0.6
    service = np.ones(N)
    served = serve(bursty(load, N, burst, seed=4), service, settled=SETTLED)
    mean, square = burst, (2 - 1 / burst) * burst**2  # of a geometric size: E[X²] = (2 - p) / p²
    expected = load / (2 * (1 - load)) + (square - mean) / (2 * mean * (1 - load))
    assert mean_wait(served, service) == pytest.approx(expected, rel=0.05)


def test_two_servers_are_m_m_2():
    """Erlang's C for two servers: the mean wait is ρ² / (1 - ρ²) of a mean service time."""
    load = 0.7
    service = np.random.default_rng(5).exponential(size=N)
    served = serve(poisson(2 * load, N, seed=6), service, servers=2, settled=SETTLED)
    assert mean_wait(served, service) == pytest.approx(load**2 / (1 - load**2), rel=0.06)


def test_arrivals_come_at_the_rate():
    for arrivals in (poisson(5.0, N), bursty(5.0, N, 8.0)):
        assert len(arrivals) == N
        assert N / arrivals[-1] == pytest.approx(5.0, rel=0.02)
    gaps = np.diff(poisson(5.0, N))
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)
    assert (np.diff(bursty(5.0, N, 8.0)) == 0).mean() == pytest.approx(7 / 8, abs=0.01)


@pytest.mark.parametrize("servers", [1, 3])
def test_a_queue_by_hand(servers):
    served = serve([0.0, 1.0, 1.5, 9.0], [2.0, 2.0, 1.0, 1.0], servers)
    assert served.answers.tolist() == ([2.0, 4.0, 5.0, 10.0] if servers == 1 else [2.0, 3.0, 2.5, 10.0])
    assert served.quantile(0.5) == (2.0 if servers == 1 else 1.0)
    assert served.throughput == pytest.approx(0.4)


COSTS = StageCosts([1, 2, 4], [[1.0, 1.5, 2.5], [2.0, 2.0, 3.0]])


def test_a_batch_by_hand():
    """Three rows run the first stretch in 2.0 (between 1.5 and 2.5), the two that go on the second in 2.0."""
    assert COSTS.answered(np.array([1, 0, 1])).tolist() == [4.0, 2.0, 4.0]
    assert COSTS.answered(np.array([0])).tolist() == [1.0]
    assert COSTS.answered(np.array([1])).tolist() == [3.0]
    served = serve_batches([0.0, 0.5, 0.5, 0.6, 20.0], [1, 1, 0, 1, 0], COSTS, most=4)
    # the first runs alone until 3; the next three were waiting then
    assert served.answers.tolist() == [3.0, 7.0, 5.0, 7.0, 21.0]
    assert serve_batches([0.0, 0.5, 0.5, 0.6], [1, 1, 0, 1], COSTS, most=2).answers.tolist() == [3.0, 6.5, 4.5, 9.5]


def test_batches_of_one_are_the_queue_without_batches():
    rng = np.random.default_rng(7)
    exits, arrivals = rng.integers(0, 2, 500), poisson(0.4, 500)
    alone = np.array([1.0, 3.0])[exits]
    np.testing.assert_allclose(
        serve_batches(arrivals, exits, COSTS, most=1).answers, serve(arrivals, alone).answers, rtol=1e-12
    )


def brute(arrivals, exits, costs, most):
    """Row by row and stretch by stretch."""
    answers, free, waiting = [None] * len(arrivals), 0.0, list(range(len(arrivals)))
    while waiting:
        start = max(free, arrivals[waiting[0]])
        batch = [i for i in waiting if arrivals[i] <= start][:most]
        waiting = waiting[len(batch) :]
        clock = start
        for stretch in range(costs.exits):
            alive = [i for i in batch if exits[i] >= stretch]
            if not alive:
                break
            clock += np.interp(len(alive), costs.sizes, costs.times[stretch])
            for i in alive:
                if exits[i] == stretch:
                    answers[i] = clock
        free = clock
    return answers


def test_batches_against_brute_force():
    rng = np.random.default_rng(8)
    costs = StageCosts([1, 3, 8], np.sort(rng.uniform(0.5, 3, (5, 3)), 1))
    exits = rng.integers(0, 5, 300)
    for burst in (1.0, 5.0):
        arrivals = bursty(0.7, 300, burst, seed=9)
        served = serve_batches(arrivals, exits, costs, most=8)
        np.testing.assert_allclose(served.answers, brute(arrivals, exits, costs, 8), rtol=1e-12)


def test_the_highest_load_is_the_root():
    """M/D/1 at the load that is found has its p99 at the limit."""

    def simulate(load):
        return serve(poisson(load, 50_000, seed=1), np.ones(50_000), settled=1000)

    found = highest_load(simulate, 8.0, most=2.0)
    assert 0.6 < found < 0.9
    assert simulate(found).quantile(0.99) == pytest.approx(8.0, abs=0.01)
    assert highest_load(simulate, 0.5, most=2.0) < 1e-6  # service alone takes longer
    assert highest_load(lambda load: serve([0.0], [1.0]), 2.0, most=2.0) == pytest.approx(2.0)


def test_quantiles_are_latencies_that_were_seen():
    served = Served(np.zeros(4), np.array([9.0, 1.0, 2.0, 3.0]), settled=1)
    assert [served.quantile(share) for share in (0.01, 0.5, 1.0)] == [1.0, 2.0, 3.0]
    assert math.isinf(Served(np.zeros(2), np.zeros(2)).throughput)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: poisson(0.0, 5),
        lambda: bursty(1.0, 5, 0.5),
        lambda: poisson(1.0, 0),
        lambda: serve([1.0, 0.0], [1.0, 1.0]),
        lambda: serve([0.0], [-1.0]),
        lambda: serve([0.0], [1.0, 1.0]),
        lambda: serve([0.0], [1.0], servers=0),
        lambda: serve([0.0], [1.0], settled=1),
        lambda: StageCosts([2, 4], [[1.0, 1.0]]),
        lambda: StageCosts([1, 4], [[1.0, -1.0]]),
        lambda: serve_batches([0.0], [0], COSTS, most=5),
        lambda: serve_batches([0.0], [2], COSTS, most=1),
        lambda: serve([0.0], [float("nan")]),
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"."):
        wrong()
