"""What a service sees under load: requests that arrive at random, wait, and are served one by one or in batches.

An event simulation on arrays. Times are in any one unit; a *load* is the rate of arrivals times the mean service time
of what the capacity is measured in.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats, class_labels, finite

__all__ = [
    "Served",
    "StageCosts",
    "bursty",
    "highest_load",
    "poisson",
    "serve",
    "serve_batches",
]


@dataclass(frozen=True)
class Served:
    """Requests and when they were answered, in the order of their arrival.

    Attributes:
        arrivals: (N,) when each came.
        answers: (N,) when each had its answer.
        settled: how many of the first requests are left out of the figures, the queue having been empty before.
    """

    arrivals: Floats
    answers: Floats
    settled: int = 0

    @property
    def latencies(self) -> Floats:
        """(N - settled,) from a request's arrival to its answer: waiting and service."""
        return (self.answers - self.arrivals)[self.settled :]

    def quantile(self, share: float) -> float:
        """Latency that this share of the requests does not exceed: 0.5 is p50, 0.99 is p99."""
        return float(np.quantile(self.latencies, share, method="inverted_cdf"))

    @property
    def throughput(self) -> float:
        """Answers a unit of time, from the first arrival that counts to the last answer."""
        span = self.answers.max() - self.arrivals[self.settled]
        return len(self.latencies) / float(span) if span > 0 else float("inf")


def poisson(rate: float, requests: int, seed: int = 0) -> Floats:
    """Arrivals of independent requests, (N,) ascending: exponential gaps with mean ``1 / rate``.

    Raises:
        ValueError: a rate that is not above 0, or no request.
    """
    return bursty(rate, requests, 1.0, seed)


def bursty(rate: float, requests: int, burst: float, seed: int = 0) -> Floats:
    """Arrivals in bursts, (N,) ascending: bursts come as a Poisson process, their sizes are geometric.

    Args:
        rate: requests a unit of time, all bursts together.
        requests: N.
        burst: mean requests a burst, at least 1; with 1 they come one by one.
        seed: of the draws; the same seed gives the same bursts at any rate, their gaps scaled.

    Raises:
        ValueError: a rate that is not above 0, bursts smaller than one request, or no request.
    """
    if not rate > 0 or not burst >= 1 or requests < 1:
        raise ValueError("rate must be above 0, burst and requests at least 1")
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(size=requests)
    sizes = rng.geometric(1 / burst, size=requests)
    starts = np.repeat(gaps.cumsum(), sizes)[:requests]
    return starts * (burst / rate)


def serve(arrivals: ArrayLike, service: ArrayLike, servers: int = 1, settled: int = 0) -> Served:
    """First come, first served, one request at a time on each of some equal servers.

    Args:
        arrivals: (N,) ascending.
        service: (N,) how long each request keeps a server.
        servers: how many there are.
        settled: first requests to leave out of the figures.

    Raises:
        ValueError: wrong shapes, times that do not ascend or are negative, no server.
    """
    came = _ascending(arrivals)
    takes = finite("service", service, came.shape)
    if takes.min() < 0 or servers < 1 or not 0 <= settled < len(came):
        raise ValueError(
            "service times must not be negative; at least one server; settled below the number of requests"
        )
    if servers == 1:
        # Lindley's recursion: an answer comes a service time after the later of arrival and answer before
        total = takes.cumsum()
        return Served(came, total + np.maximum.accumulate(came - (total - takes)), settled)
    free = [0.0] * servers
    answers = np.empty_like(came)
    for i, (at, time) in enumerate(zip(came.tolist(), takes.tolist(), strict=True)):
        answers[i] = max(at, heapq.heappop(free)) + time
        heapq.heappush(free, float(answers[i]))
    return Served(came, answers, settled)


class StageCosts:
    """How long each stretch of blocks between two exits takes, by how many rows are in the batch.

    Args:
        sizes: (S,) batch sizes that were timed, ascending, the first being 1.
        times: (E, S) time of each stretch at each size, the exit's head and decision included.

    Raises:
        ValueError: wrong shapes, sizes that do not ascend from 1, times that are negative.
    """

    def __init__(self, sizes: ArrayLike, times: ArrayLike) -> None:
        self.sizes = finite("sizes", sizes, (None,))
        self.times = finite("times", times, (None, len(self.sizes)))
        if self.sizes[0] != 1 or (np.diff(self.sizes) <= 0).any() or self.times.min() < 0:
            raise ValueError("sizes must ascend from 1, times must not be negative")
        largest = int(self.sizes[-1])
        grid = np.arange(1, largest + 1)
        self._by_rows = np.stack([np.interp(grid, self.sizes, row) for row in self.times], 1)  # (rows, E)

    @property
    def exits(self) -> int:
        """How many stretches, and so exits, there are."""
        return len(self.times)

    @property
    def largest(self) -> int:
        """The largest batch that was timed."""
        return len(self._by_rows)

    def answered(self, exits: np.ndarray) -> Floats:
        """(B,) when each row of a batch has its answer, from the batch's start: rows leave where they stop."""
        alive = len(exits) - np.searchsorted(np.sort(exits), np.arange(int(exits.max()) + 1))
        ends = self._by_rows[alive - 1, np.arange(len(alive))].cumsum()
        return ends[exits]


def serve_batches(arrivals: ArrayLike, exits: ArrayLike, costs: StageCosts, most: int, settled: int = 0) -> Served:
    """One server that takes what is waiting, up to ``most`` requests at once, whenever it is free.

    A request has its answer when its row leaves; the server is free again when the last row has left.

    Args:
        arrivals: (N,) ascending.
        exits: (N,) where each request stops, counted from 0.
        costs: how long each stretch takes.
        most: largest batch.
        settled: first requests to leave out of the figures.

    Raises:
        ValueError: wrong shapes, a batch larger than was timed.
    """
    came = _ascending(arrivals)
    stops = class_labels("exits", exits, came.shape, costs.exits)
    if not 1 <= most <= costs.largest or not 0 <= settled < len(came):
        raise ValueError(f"batches of {most}: costs are known from 1 to {costs.largest}; settled below the requests")
    answers = np.empty_like(came)
    free, first = 0.0, 0
    while first < len(came):
        start = max(free, float(came[first]))
        last = min(first + most, int(np.searchsorted(came, start, side="right")))
        done = costs.answered(stops[first:last])
        answers[first:last] = start + done
        free, first = start + float(done.max()), last
    return Served(came, answers, settled)


def highest_load(
    simulate: Callable[[float], Served], limit: float, share: float = 0.99, most: float = 16.0, steps: int = 30
) -> float:
    """The highest load at which ``share`` of the requests are answered within ``limit``, by bisection; 0 where none is.

    Args:
        simulate: load → what was served; the same random numbers at every load, so that latency rises with it.
        limit: in the simulation's unit of time.
        share: 0.99 keeps p99 under the limit.
        most: loads above it are not tried.
        steps: halvings of the interval.
    """
    low, high = 0.0, most
    for _ in range(steps):
        middle = (low + high) / 2
        if simulate(middle).quantile(share) <= limit:
            low = middle
        else:
            high = middle
    return low


def _ascending(arrivals: ArrayLike) -> Floats:
    came = finite("arrivals", arrivals, (None,))
    if (np.diff(came) < 0).any():
        raise ValueError("arrivals must ascend")
    return came
