"""Does the simulated queue say what a real service does? A thread that answers, a queue, requests that come at random.

An exported model answers one request at a time, as ``eebench queue`` supposes. Each request is timed on its own first;
the simulation is given those very times and the arrivals that the service then really saw, so that what is compared is
the queue, not the machine's mood a minute later. Nothing else is fitted.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.harness import Result, Settings
from benchmarks.models import early_exit, images
from eebench.deploy.export import Described, export
from eebench.deploy.runner import Runner
from eebench.measure.queueing import poisson, serve
from eebench.rules import Thresholds

__all__ = ["BOUND", "Seen", "replayed", "run", "served"]

BOUND = {0.5: 0.15, 0.99: 0.25}
"""How far p50 and p99 may be apart, as a share of the service's own: stated before it was measured."""

APART = 10.0
LOADS = (0.3, 0.6, 0.8)


class Seen:
    """What a service saw, in seconds: when requests came, and when each had its answer, (N,) both."""

    def __init__(self, arrivals: np.ndarray, answers: np.ndarray, service: np.ndarray) -> None:
        self.arrivals, self.answers, self.service = arrivals, answers, service

    def quantile(self, share: float) -> float:
        """Latency that this share of the requests does not exceed."""
        return float(np.quantile(self.answers - self.arrivals, share, method="inverted_cdf"))


def served(answer: Callable[[int], object], arrivals: np.ndarray) -> Seen:
    """Serve requests as they come: one thread puts them into a queue, another takes them out and answers.

    Args:
        answer: a request by its number.
        arrivals: (N,) seconds from the start, ascending.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    came, done, took = (np.empty(len(arrivals)) for _ in range(3))

    def send() -> None:
        for number, at in enumerate(arrivals):
            left = started + at - time.perf_counter()
            if left > 0:
                time.sleep(left)
            came[number] = time.perf_counter()
            waiting.put(number)

    started = time.perf_counter() + 0.05
    sender = threading.Thread(target=send)
    sender.start()
    for _ in arrivals:
        number = waiting.get()
        begun = time.perf_counter()
        answer(number)
        done[number] = time.perf_counter()
        took[number] = done[number] - begun
    sender.join()
    return Seen(came - started, done - started, took)


def replayed(seen: Seen, service: np.ndarray) -> Seen:
    """The same arrivals in the simulation, each request keeping the server for so long."""
    return Seen(seen.arrivals, serve(seen.arrivals, service).answers, service)


def run(settings: Settings) -> Iterator[Result]:
    """p50 and p99 of the simulation over the service's own, at three loads."""
    name, requests = ("vit_micro", 40) if settings.quick else ("vit_ti", 600)
    model = early_exit(name, 10, 3)
    rule = Thresholds([-APART * place for place in range(len(model.blocks) - 1)])
    pictures = images(model, 64).numpy()
    rng = np.random.default_rng(0)
    exits = rng.integers(0, len(model.blocks), requests)  # where each request stops
    with TemporaryDirectory() as folder:
        export(model, rule, Path(folder) / "model", Described("served", rule.knob.never))
        runner = Runner(Path(folder) / "model", threads=settings.threads)

        def answer(number: int) -> None:
            place = number % len(pictures)
            _, stopped = runner.decide(pictures[place : place + 1], APART * (exits[number] - 0.5))
            assert stopped.item() == exits[number]

        for number in range(min(50, requests)):
            answer(number)
        alone = np.array([_timed(answer, number) for number in range(requests)])
        for load in (0.6,) if settings.quick else LOADS:
            arrivals = poisson(load / float(alone.mean()), requests, seed=1)
            seen = served(answer, arrivals)
            told = replayed(seen, alone)
            for share, bound in BOUND.items():
                ratio = told.quantile(share) / seen.quantile(share)
                case = f"{name}, load {load:g}: p{100 * share:.0f} simulated, off the real service's by"
                detail = {"real_ms": round(1e3 * seen.quantile(share), 4)}
                detail |= {"simulated_ms": round(1e3 * told.quantile(share), 4), "requests": requests}
                detail |= {"service_over_alone": round(float(seen.service.mean() / alone.mean()), 4)}
                yield Result("serving", case, abs(ratio - 1), "of real", bound, detail=detail)


def _timed(answer: Callable[[int], object], number: int) -> float:
    begun = time.perf_counter()
    answer(number)
    return time.perf_counter() - begun
