"""How many threads, and that they wait quietly."""

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from eebench import machine


@pytest.fixture
def at(monkeypatch):
    """A machine of so many cores, so many of them allowed, under such a load."""

    def make(count, allowed, load):
        monkeypatch.setattr(machine.os, "cpu_count", lambda: count)
        monkeypatch.setattr(machine, "cores", lambda: allowed)
        monkeypatch.setattr(machine, "load", lambda: load)

    return make


@pytest.mark.parametrize(
    ("count", "allowed", "load", "most", "threads", "why"),
    [
        (8, 8, 0.1, 8, 8, ""),
        (8, 8, 0.1, 4, 4, ""),  # torch takes one a physical core
        (8, 8, 3.2, 8, 5, "others use this machine (load 3.2 on 8 cores)"),
        (8, 8, 30.0, 8, 1, "others use this machine (load 30.0 on 8 cores)"),
        (64, 4, 30.0, 32, 4, "this process may use 4 of 64 cores"),  # a container's quota
        (64, 4, 62.0, 32, 2, "others use this machine (load 62.0 on 64 cores)"),
        (2, 2, None, 2, 2, ""),  # a system without a load average
    ],
)
def test_threads_are_those_the_machine_has_free(at, count, allowed, load, most, threads, why):
    at(count, allowed, load)
    assert machine.free_threads(most) == (threads, why)


def test_a_machine_with_no_core_left_is_said_to_be_busy(at):
    at(2, 2, 3.0)
    assert "busy (load 3.0 on 2 cores)" in machine.oversubscribed(1)
    assert machine.free_threads(1) == (1, machine.oversubscribed(1))
    at(2, 2, 1.9)
    assert machine.oversubscribed(1) == ""
    assert machine.oversubscribed(2) != ""


def test_waiting_threads_sleep_unless_the_user_says_otherwise():
    environment = {}
    machine.wait_quietly(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
    assert machine.waits_quietly(environment)
    environment = {"OMP_WAIT_POLICY": "active"}
    machine.wait_quietly(environment)
    assert environment["OMP_WAIT_POLICY"] == "active"
    assert not machine.waits_quietly(environment)
    assert not machine.waits_quietly({})


def test_the_command_line_says_so_before_torch_is_there():
    code = (
        "import os, sys; sys.argv = ['eebench', '--help']\n"
        "import eebench.cli\n"
        "assert 'torch' not in sys.modules\n"
        "try: eebench.cli.main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules\n"
        "assert os.environ['OMP_WAIT_POLICY'] == 'PASSIVE'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": "/usr/bin"})
    assert done.returncode == 0, done.stderr


def test_neighbours_are_what_is_busy_and_not_oneself(monkeypatch):
    clock = SimpleNamespace(now=10.0, own=1.0, percent=0.0)
    fake = SimpleNamespace(cpu_percent=lambda interval: clock.percent, cpu_count=lambda: 4)
    monkeypatch.setitem(sys.modules, "psutil", fake)
    monkeypatch.setattr(
        machine, "time", SimpleNamespace(perf_counter=lambda: clock.now, process_time=lambda: clock.own)
    )
    neighbours = machine.Neighbours()
    clock.now, clock.own, clock.percent = 12.0, 2.0, 75.0  # three of four cores busy, half a one is ours
    assert neighbours.cores() == pytest.approx(2.5)
    clock.now, clock.own, clock.percent = 14.0, 4.0, 20.0  # rounding must not make them negative
    assert neighbours.cores() == 0


def test_the_real_machine_answers():
    neighbours = machine.Neighbours()
    time.sleep(0.05)
    assert 0 <= neighbours.cores() <= (machine.os.cpu_count() or 1) + 0.5
    assert machine.cores() >= 1
