"""Messages between processes: arrays in files stay there, and what a bar says is not said too often."""

import socket
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from eebench.runs.hand import ending
from eebench.runs.talk import Channel, Progressed, RemoteReporter, Said


@pytest.fixture
def line():
    ours, theirs = socket.socketpair()
    ends = Channel(Connection(ours.detach())), Channel(Connection(theirs.detach()))
    yield ends
    for end in ends:
        end.connection.close()


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_in_a_file_is_not_sent_but_mapped_again(line, tmp_path, order):
    ours, theirs = line
    np.save(tmp_path / "a.npy", np.asarray(np.arange(6.0).reshape(2, 3), order=order))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    view = mapped[1]
    ours.send({"whole": mapped, "view": view, "plain": np.arange(3)})
    found = theirs.receive()
    np.testing.assert_array_equal(found["whole"], mapped)
    np.testing.assert_array_equal(found["view"], [3, 4, 5])
    np.testing.assert_array_equal(found["plain"], [0, 1, 2])
    assert Path(found["whole"].filename) == Path(mapped.filename)
    assert found["whole"].flags.c_contiguous == mapped.flags.c_contiguous


def test_a_large_array_in_a_file_takes_no_room_on_the_line(line, tmp_path):
    ours, theirs = line
    np.save(tmp_path / "a.npy", np.zeros(4 << 20))
    ours.send(np.load(tmp_path / "a.npy", mmap_mode="r"))  # 32 MB would fill the socket and block for ever
    assert theirs.receive().shape == (4 << 20,)


def test_what_is_reported_arrives_and_a_bar_is_not_chatty(line, capsys):
    ours, theirs = line
    reporter = RemoteReporter(ours)
    with reporter.task("training") as update:
        for step in range(1000):
            update(step, 1000, loss=0.5)
    found = []
    while theirs.connection.poll():
        found.append(theirs.receive())
    assert (found[0].bar, found[0].name, found[0].total) == (0, "training", None)
    assert isinstance(found[-2], Progressed)
    assert found[-2].total == -1
    assert isinstance(found[-1], Said)
    assert found[-1].text.startswith("training: ")
    assert len(found) < 100
    assert capsys.readouterr().out.strip().endswith(found[-1].text), "it is in the task's log as well"


def test_nobody_hearing_is_no_error(line):
    ours, theirs = line
    theirs.connection.close()
    RemoteReporter(ours).say("hello")


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (3, "exit status 3"), (-11, "SIGSEGV, a segmentation fault"), (-15, "SIGTERM")],
)
def test_an_ending_in_words(status, words):
    assert ending(status) == words
