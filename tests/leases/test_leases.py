"""Leases: at any time one owner, whatever races, stalls and deaths there are; races are played move by move."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from eebench.leases import Clock, InUseError, LeaseLostError, Leases
from eebench.leases import leases as leases_module
from eebench.leases import owner as owner_module


class Hands(Clock):
    """A clock that somebody moves."""

    def __init__(self):
        self.time = 1000.0

    def touch(self, path):
        os.utime(path, (self.time, self.time))

    def age(self, path):
        return self.time - path.stat().st_mtime


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def pair(tmp_path, clock):
    """Two who see one folder, and nothing of each other's machine."""
    return [Leases(tmp_path / "leases", clock=clock, patience=100, beat=1e6) for _ in range(2)]


@pytest.fixture(autouse=True)
def elsewhere(request, monkeypatch):
    """Processes of other machines: only signs of life tell, unless a test asks for real ones."""
    if "real" not in request.keywords:
        monkeypatch.setattr(leases_module, "runs", lambda owner: None)


def names(leases):
    return sorted(path.name for path in leases.folder.iterdir())


def test_one_of_two_has_it_until_it_lets_go(pair):
    first, second = pair
    lease = first.take("cell", run="digits")
    assert second.take("cell") is None
    assert second.holder("cell") == lease.owner
    assert str(lease.owner) == f"process {os.getpid()} on {os.uname().nodename}"
    assert second.live() == {"cell": lease.owner}
    assert lease.owner.about == {"run": "digits"}
    assert second.take("another") is not None
    with pytest.raises(InUseError, match="cell is in use by process"), second.holding("cell"):
        pass
    lease.release()
    assert second.holder("cell") is None
    with second.holding("cell"):
        assert first.take("cell") is None


def test_nothing_is_left_when_nothing_is_held(pair):
    first, second = pair
    leases = [first.take("a"), second.take("b")]
    for lease in leases:
        lease.release()
    assert not first.folder.exists()
    assert first.live() == {}


def test_who_shows_signs_of_life_keeps_it_and_who_shows_none_loses_it(pair, clock):
    first, second = pair
    lease = first.take("cell")
    clock.time += 90
    first.pulse()
    clock.time += 90
    assert second.take("cell") is None
    lease.renew()
    clock.time += 90
    assert second.take("cell") is None
    clock.time += 20
    taken = second.take("cell")
    assert taken is not None
    assert second.holder("cell") == taken.owner
    with pytest.raises(LeaseLostError):
        lease.renew()
    lease.release()
    assert second.holder("cell") == taken.owner, "whoever lost it cannot let it go"
    taken.renew()


def test_who_slept_and_wakes_up_learns_that_it_lost(pair, clock):
    first, second = pair
    told = []
    first.lost = lambda: told.append("lost")
    lease, other = first.take("cell"), first.take("other")
    clock.time += 101
    second.take("cell")
    first.pulse()
    first.pulse()
    assert told == ["lost"]
    assert lease.lost
    assert not lease.intact()
    assert other.intact()


def test_who_wakes_up_when_all_is_over_has_lost_all_the_same(pair, clock):
    first, second = pair
    lease = first.take("cell")
    clock.time += 101
    second.take("cell").release()
    assert second.holder("cell") is None
    with pytest.raises(LeaseLostError):
        lease.renew()
    assert not first.folder.exists()


def test_a_dead_owner_has_one_successor_of_many_who_look_at_the_same_moment(pair, clock, tmp_path):
    first, _ = pair
    first.take("cell")
    clock.time += 101
    lot = [Leases(first.folder, clock=clock, patience=100, beat=1e6) for _ in range(8)]
    together = threading.Barrier(len(lot))
    got = []

    def take(leases):
        together.wait()
        got.append(leases.take("cell"))

    threads = [threading.Thread(target=take, args=(each,)) for each in lot]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (lease for lease in got if lease is not None)
    assert names(first) == [winner.path.name]
    assert winner.number == 2


def paused(monkeypatch, leases, meanwhile):
    """Others move between a process's look at the leases and its own move."""
    real = leases._create

    def create(path, owner):
        monkeypatch.setattr(leases, "_create", real)
        meanwhile()
        return real(path, owner)

    monkeypatch.setattr(leases, "_create", create)


def test_two_see_no_lease_and_one_of_them_gets_it(pair, monkeypatch):
    first, second = pair
    paused(monkeypatch, first, lambda: second.take("cell"))
    assert first.take("cell") is None
    assert second.holder("cell") is not None


def test_who_acts_on_an_owner_long_dead_and_succeeded_gives_way(pair, clock, monkeypatch):
    """The slow one saw 1 dead; meanwhile 2 took over, ended, and 1 is a new owner's, who lives."""
    slow, quick = pair
    slow.take("cell")
    clock.time += 101
    held = []

    def meanwhile():
        quick.take("cell").release()
        held.append(quick.take("cell"))

    paused(monkeypatch, slow, meanwhile)
    assert slow.take("cell") is None
    assert held[0].number == 1
    held[0].renew()
    assert names(quick) == ["cell.2"]


def test_a_number_skipped_by_the_slow_is_no_second_owner(pair, clock, monkeypatch):
    """The slow one saw 1 dead and creates 2, which was there and is gone: 3 holds it."""
    slow, quick = pair
    slow.take("cell")
    clock.time += 101

    def meanwhile():
        quick.take("cell").renew()

    paused(monkeypatch, slow, meanwhile)
    assert slow.take("cell") is None
    assert names(quick) == ["cell.3"]


def test_files_of_several_dead_owners_are_no_obstacle(pair, clock):
    first, second = pair
    one = first.take("cell").path.read_bytes()
    clock.time += 101
    second.take("cell")
    (first.folder / "cell.1").write_bytes(one)  # 2 was killed before it had removed it
    clock.time += 101
    assert first.take("cell").number == 3
    assert names(first) == ["cell.3"]


def test_a_lease_that_is_being_written_is_held(pair, clock):
    first, _ = pair
    first.folder.mkdir()
    (first.folder / "cell.1").touch()
    clock.touch(first.folder / "cell.1")
    assert first.take("cell") is None
    clock.time += 101
    assert first.take("cell") is not None


def test_the_answer_to_a_link_may_be_lost(pair, monkeypatch):
    """As NFS has it: done, then asked again, and there is one already."""
    real = os.link

    def link(own, path):
        real(own, path)
        raise FileExistsError

    monkeypatch.setattr(os, "link", link)
    assert pair[0].take("cell") is not None
    assert pair[1].take("cell") is None


def test_a_file_system_without_links(pair, clock, monkeypatch):
    def link(own, path):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", link)
    first, second = pair
    lease = first.take("cell")
    assert second.take("cell") is None
    assert second.holder("cell") == lease.owner
    clock.time += 101
    assert second.take("cell") is not None
    with pytest.raises(LeaseLostError):
        lease.renew()


def test_names_that_end_in_numbers_are_not_taken_for_one_another(pair):
    first, second = pair
    assert first.take("cell.1") is not None
    assert second.take("cell") is not None
    assert set(second.live()) == {"cell", "cell.1"}


def test_sweeping_removes_the_dead_alone(pair, clock):
    first, second = pair
    first.take("dead")
    (first.folder / ".new-0123").touch()
    clock.touch(first.folder / ".new-0123")
    clock.time += 101
    second.take("alive")
    first.sweep()
    assert names(first) == ["alive.1"]


# --- the real file system and real processes -------------------------------------------------------------------------


def test_age_is_told_by_the_file_systems_own_clock(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.touch()
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a machine whose clock is wrong
    assert 0 <= Clock().age(path) < 5
    os.utime(path, (path.stat().st_mtime - 50,) * 2)
    assert 50 <= Clock().age(path) < 55
    assert list(tmp_path.iterdir()) == [path]


CODE = """
import sys, time
from pathlib import Path
from eebench.leases import Leases
lease = Leases(Path(sys.argv[1]), beat=0.05).take("cell")
print("mine" if lease else "not mine", flush=True)
time.sleep(60)
"""


def other(folder):
    process = subprocess.Popen([sys.executable, "-c", CODE, str(folder)], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


@pytest.fixture
def real(monkeypatch):
    monkeypatch.setattr(leases_module, "runs", owner_module.runs)


def test_a_killed_process_of_this_machine_is_succeeded_at_once(tmp_path, real):
    leases = Leases(tmp_path / "leases")
    process, said = other(leases.folder)
    try:
        assert said == "mine"
        assert leases.take("cell") is None
        assert leases.holder("cell").pid == process.pid
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not buried
        assert leases.holder("cell") is None
        lease = leases.take("cell")
        assert lease is not None
    finally:
        process.kill()
        process.wait()
    assert other_loses(leases.folder)
    lease.release()


def other_loses(folder):
    process, said = other(folder)
    process.kill()
    process.wait()
    return said == "not mine"


def test_a_number_that_is_another_process_by_now_is_no_owner(tmp_path, real):
    leases = Leases(tmp_path / "leases")
    lease = leases.take("cell")
    lives = replace(lease.owner, started=lease.owner.started - 100)
    lease.path.write_text(json.dumps(vars(lives)))
    assert leases.holder("cell") is None


def test_a_stopped_process_loses_it_and_learns_so(tmp_path, real):
    leases = Leases(tmp_path / "leases", patience=0.5)
    process, said = other(leases.folder)
    try:
        assert said == "mine"
        time.sleep(0.8)
        assert leases.take("cell") is None, "it shows signs of life"
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.8)
        lease = leases.take("cell")
        assert lease is not None
        process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        lease.renew()
    finally:
        process.kill()
        process.wait()
