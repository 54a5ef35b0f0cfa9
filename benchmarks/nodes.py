"""How a study's cells fill many nodes: a discrete simulation, with cell times as measured, and with nodes that die.

Nodes pull work as ``eebench run`` does under leases: the first job of the plan that is ready and that nobody has. The
cell of a node that dies goes back to its last checkpoint; the others count the node as dead after the patience of
leases and go on; after a while it is back. Nothing is trained here.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Result, Settings
from eebench.engine.checkpoint import EVERY
from eebench.leases.leases import PATIENCE

__all__ = ["Task", "measured", "reading_time", "run", "simulate", "study"]

NODES = (1, 4, 16, 64, 256)
HOUR = 3600.0
LIFE = 24 * HOUR  # seconds that a node lives on average: harsh, as spot machines are
AWAY = 600.0  # seconds until another one has taken its place
RECORD = Path(__file__).parents[1] / "results" / "reference" / "mnist5k-quick"


@dataclass(frozen=True)
class Task:
    """A job of a plan."""

    seconds: float
    needs: tuple[int, ...] = ()  # places in the plan
    alone: bool = False  # reading and timing: nothing of it is kept when its node dies


Lives = Callable[[int], Iterator[float]]


def _for_ever(node: int) -> Iterator[float]:
    return itertools.repeat(np.inf)


def simulate(
    plan: Sequence[Task],
    nodes: int,
    lives: Lives = _for_ever,
    *,
    away: float = AWAY,
    patience: float = PATIENCE,
    every: float = EVERY,
) -> float:
    """Seconds until everything is done.

    Args:
        plan: tasks, each behind those it needs.
        nodes: how many pull work.
        lives: of each node, how long it lives each time.
        away: seconds until a node that died is back.
        patience: seconds until the others count its task as free.
        every: seconds of work between two checkpoints.
    """
    return _Nodes(plan, nodes, lives, away, patience, every).run()


class _Nodes:
    """The state of a simulation, at ``now``."""

    def __init__(
        self, plan: Sequence[Task], nodes: int, lives: Lives, away: float, patience: float, every: float
    ) -> None:
        self.plan, self.away, self.patience, self.every = plan, away, patience, every
        self.left = [task.seconds for task in plan]
        self.missing = [len(task.needs) for task in plan]
        self.followers: list[list[int]] = [[] for _ in plan]
        for place, task in enumerate(plan):
            for need in task.needs:
                self.followers[need].append(place)
        self.ready = [place for place, count in enumerate(self.missing) if count == 0]  # a heap
        self.lives = [lives(node) for node in range(nodes)]
        self.idle = set(range(nodes))
        self.at: dict[int, tuple[int, float, int]] = {}  # node: its task, since when, the event that ends it
        self.now, self.done, self.order = 0.0, 0, itertools.count()
        self.events: list[tuple[float, int, str, int]] = []  # a heap: when, its number, what, of which node or task
        for node in range(nodes):
            self.put(next(self.lives[node]), "dies", node)

    def put(self, seconds: float, what: str, whose: int) -> int:
        """Something will happen in so many seconds."""
        number = next(self.order)
        if seconds < np.inf:
            heapq.heappush(self.events, (self.now + seconds, number, what, whose))
        return number

    def run(self) -> float:
        """Let it happen."""
        while self.done < len(self.plan):
            while self.idle and self.ready:
                node, place = min(self.idle), heapq.heappop(self.ready)
                self.idle.discard(node)
                self.at[node] = place, self.now, self.put(self.left[place], "ends", node)
            self.now, number, what, whose = heapq.heappop(self.events)
            if what == "ends" and whose in self.at and self.at[whose][2] == number:  # else it died meanwhile
                self.ends(whose)
            elif what == "dies":
                self.dies(whose)
            elif what == "free":
                heapq.heappush(self.ready, whose)
            elif what == "back":
                self.idle.add(whose)
                self.put(next(self.lives[whose]), "dies", whose)
        return self.now

    def ends(self, node: int) -> None:
        """A node is done with its task."""
        place, *_ = self.at.pop(node)
        self.idle.add(node)
        self.done += 1
        for follower in self.followers[place]:
            self.missing[follower] -= 1
            if self.missing[follower] == 0:
                heapq.heappush(self.ready, follower)

    def dies(self, node: int) -> None:
        """A node dies; what it was at goes back to its last checkpoint, and the others wait before they take it."""
        self.idle.discard(node)
        self.put(self.away, "back", node)
        if node in self.at:
            place, since, _ = self.at.pop(node)
            if not self.plan[place].alone:
                self.left[place] -= (self.now - since) // self.every * self.every
            self.put(self.patience, "free", place)


def measured(record: Path = RECORD) -> dict[str, list[float]]:
    """Seconds of the cells of a recorded run, by kind: backbone, static, method."""
    found: dict[str, list[float]] = {"backbone": [], "static": [], "method": []}
    for cell in _done(record)[1]:
        if cell.get("seconds"):
            kind = "backbone" if cell["label"] == "backbone" else "method"
            found["static" if cell["label"].startswith("static") else kind].append(float(cell["seconds"]))
    return found


def reading_time(record: Path = RECORD) -> float:
    """Seconds of reading and timing a cell, of a recorded run that found all its cells finished."""
    facts, cells = _done(record)
    assert all(cell["reused"] for cell in cells), "its seconds would hold training too"
    return float(facts["seconds"]) / len(cells)


def _done(record: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A run's record, and its finished cells."""
    facts = json.loads((record / "run.json").read_text(encoding="utf-8"))
    return facts, [cell for cell in facts["cells"] if cell["status"] == "done"]


def study(
    times: dict[str, list[float]],
    reading: float,
    rng: np.random.Generator,
    runs: int = 10,
    seeds: int = 5,
    *,
    in_turn: bool = False,
) -> list[Task]:
    """A thousand cells: runs of so many seeds, of each a backbone, four static models and fifteen methods.

    Args:
        times: seconds of cells, by kind, to draw from.
        reading: seconds of reading and timing a cell; a whole run is read on one node.
        rng: draws.
        runs: how many.
        seeds: of each.
        in_turn: a run begins when the one before it is read, as ``eebench run STUDY`` has it; else all at once.
    """
    plan: list[Task] = []
    for _ in range(runs):
        cells: list[int] = []
        before = (len(plan) - 1,) if in_turn and plan else ()
        for _ in range(seeds):
            base = len(plan)
            plan.append(Task(float(rng.choice(times["backbone"])), before))
            for kind, count in (("static", 4), ("method", 15)):
                plan += [Task(float(rng.choice(times[kind])), (base,)) for _ in range(count)]
            cells += range(base, len(plan))
        plan.append(Task(reading * len(cells), tuple(cells), alone=True))
    return plan


def run(settings: Settings) -> Iterator[Result]:
    """Work over node time: the runs of a study at once and in turn, without deaths and with them."""
    size = (1, 1) if settings.quick else (10, 5)
    for words, in_turn in (("all runs at once", False), ("runs in turn", True)):
        plan = study(measured(), reading_time(), np.random.default_rng(0), *size, in_turn=in_turn)
        cells = sum(not task.alone for task in plan)
        scale = cells * HOUR / sum(task.seconds for task in plan if not task.alone)
        plan = [task if task.alone else Task(task.seconds * scale, task.needs) for task in plan]  # none reads longer
        work = sum(task.seconds for task in plan)
        for nodes in NODES:
            spans = [simulate(plan, nodes, lives) for lives in (_for_ever, _mortal)]
            detail = {"hours": spans[0] / HOUR, "hours_with_deaths": spans[1] / HOUR}
            for how, span in zip(("", ", nodes living a day"), spans, strict=True):
                case = f"{cells:,} cells of an hour, {words}, {nodes} nodes{how}: work over node time"
                yield Result("nodes", case, work / (nodes * span), "x", detail=detail)


def _mortal(node: int) -> Iterator[float]:
    own = np.random.default_rng((1, node))
    return (float(own.exponential(LIFE)) for _ in itertools.count())
