"""What is read beside the wall clock."""

import threading
import time

from eebench.timing.clocks import FINE_NS, Clocks, Stopwatch
from tests.timing.fake import MS, FakeClocks


def test_one_thread_is_read_alone_and_many_as_a_process():
    stop = threading.Event()
    other = threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)])
    one, many = Clocks(1), Clocks(2)
    other.start()
    before = one.cpu(), many.cpu()
    time.sleep(0.2)
    alone, process = one.cpu() - before[0], many.cpu() - before[1]
    stop.set()
    other.join()
    assert alone < 50 * MS, "this thread slept"
    assert process > alone + 20 * MS, "the other one worked"


def test_sleeping_is_a_voluntary_switch():
    clocks = Clocks(1)
    before = clocks.switches()
    time.sleep(0.001)
    after = clocks.switches()
    assert before is None or after[0] > before[0]


class Stepping(Clocks):
    """A CPU clock that moves in steps, on a wall clock that moves with every reading."""

    def __init__(self, step):
        self.now, self.step = 0, step

    def wall(self):
        self.now += 1000
        return self.now

    def cpu(self):
        self.now += 1000
        return self.now // self.step * self.step


def test_a_cpu_clock_in_large_steps_is_of_no_use():
    assert Stepping(1000).fine()
    assert Stepping(FINE_NS).fine()
    assert not Stepping(10 * MS).fine()
    assert not Stepping(10**18).fine(), "one that never moves"


class Half:
    """Stops where the knob says."""

    knob = "the knob"

    def observe(self, output, exit, ids):
        return {"seen": (output, exit, ids)}

    def step(self, state, seen, knob):
        return seen["x"] > knob, {**state, "steps": state.get("steps", 0) + 1}

    def grid(self, seen):
        return [1, 2]


def test_a_stopwatch_decides_as_its_rule_and_notes_when():
    clocks = FakeClocks()
    watch = Stopwatch(Half(), clocks)
    assert watch.knob == "the knob"
    assert watch.grid({}) == [1, 2]
    assert watch.observe("o", 1, "i") == {"seen": ("o", 1, "i")}
    watch.start()
    clocks.work(2, away=1)
    assert watch.step({}, {"x": 3}, 2) == (True, {"steps": 1})
    clocks.work(2)
    watch.step({}, {"x": 3}, 2)
    assert watch.stamps == [(3 * MS, 2 * MS), (5 * MS, 4 * MS)]
    watch.start()
    assert watch.stamps == []


def test_crowded_is_when_others_use_cores_that_threads_need(monkeypatch):
    monkeypatch.setattr("eebench.timing.clocks.cores", lambda: 4)
    clocks = Clocks(3)
    for others, crowded in ((0.2, False), (1.4, False), (1.6, True)):
        monkeypatch.setattr(clocks._neighbours, "cores", lambda others=others: others)
        assert clocks.crowded() is crowded
    assert clocks.others == [0.2, 1.4, 1.6]
