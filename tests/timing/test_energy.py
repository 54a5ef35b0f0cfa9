"""Energy over a window, on a meter and a clock worked out by hand."""

import sys

import pytest

from eebench.errors import UserError
from eebench.timing.energy import NvmlMeter, measure_energy


class Machine:
    """50 W idle, 150 W working; each piece of work takes 2 s and is 8 samples."""

    def __init__(self):
        self.now = self.used = 0.0

    def joules(self):
        return self.used

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.used += 50 * seconds

    def work(self):
        self.now += 2
        self.used += 150 * 2
        return 8


def test_idle_power_is_taken_off():
    machine = Machine()
    found = measure_energy(machine.work, machine, seconds=9, idle_seconds=3, clock=machine.clock, sleep=machine.sleep)
    # 9 s need five pieces of work: 10 s, 1500 J, 40 samples; idle would have used 500 J
    assert found.samples == 40
    assert found.seconds == 10
    assert found.idle_watts == 50
    assert found.gross_joules_per_sample == 1500 / 40
    assert found.joules_per_sample == 1000 / 40


def test_no_sample_is_an_error():
    machine = Machine()

    def nothing():
        machine.now += 5
        return 0

    with pytest.raises(ValueError, match="no sample"):
        measure_energy(nothing, machine, clock=machine.clock, sleep=machine.sleep)


def test_a_missing_library_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(UserError, match="nvidia-ml-py"):
        NvmlMeter()


def test_no_driver_is_said_in_one_line():
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with pytest.raises(UserError, match="cannot be read"):
            NvmlMeter()
    else:
        assert NvmlMeter().joules() > 0
