"""The store: a cell is there whole or not at all, whatever happens; tables and JSON are what their readers expect."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from eebench.errors import UserError
from eebench.leases import InUseError, LeaseLostError
from eebench.manifest import DamagedError
from eebench.record import read_record
from eebench.runs.store import Store
from eebench.schema import TABLES
from tests.faults.damage import flip


def fill(store, cell_id, text="one"):
    with store.writing(cell_id) as folder:
        (folder / "weights").write_text(text)
        (folder / "cell.json").write_text("{}")
    return store.path / "cells" / cell_id


def fail(store, cell_id, mishap):
    with store.writing(cell_id) as folder:
        (folder / "weights").write_text("half of the n")
        (folder / "cell.json").write_text("{}")
        raise mishap


@pytest.fixture
def record(smoke):
    """A record of a run without cells."""
    return read_record(smoke.path).model_copy(update={"cells": []})


def everything(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


# --- cells -----------------------------------------------------------------------------------------------------------


def test_a_cell_appears_when_it_is_whole(tmp_path):
    store = Store(tmp_path, "run")
    assert store.cell("a-1") is None
    with store.writing("a-1") as folder:
        (folder / "cell.json").write_text("{}")
        assert store.cell("a-1") is None
    assert store.cell("a-1") == tmp_path / "run" / "cells" / "a-1"
    assert everything(tmp_path) == [
        "run", "run/cells", "run/cells/a-1", "run/cells/a-1/cell.json", "run/cells/a-1/manifest.json"
    ]  # fmt: skip


@pytest.mark.parametrize("mishap", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_mishap_leaves_nothing(tmp_path, mishap):
    store = Store(tmp_path, "run")
    with pytest.raises(mishap):
        fail(store, "a-1", mishap)
    assert everything(tmp_path) == ["run", "run/cells"]


def test_a_mishap_leaves_the_cell_that_was_there(tmp_path):
    store = Store(tmp_path, "run")
    cell = fill(store, "a-1", "old")
    with pytest.raises(RuntimeError):
        fail(store, "a-1", RuntimeError)
    assert (cell / "weights").read_text() == "old"


def test_a_cell_is_replaced_whole(tmp_path):
    store = Store(tmp_path, "run")
    cell = fill(store, "a-1", "old")
    (cell / "extra").write_text("of the old one")
    fill(store, "a-1", "new")
    assert (cell / "weights").read_text() == "new"
    assert not (cell / "extra").exists()


def test_killed_while_writing_is_as_if_never_begun(tmp_path):
    code = (
        "import os, sys, signal; from pathlib import Path; from eebench.runs.store import Store\n"
        "with Store(Path(sys.argv[1]), 'run').writing('a-1') as folder:\n"
        "    (folder / 'cell.json').write_text('{}')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    store = Store(tmp_path, "run")
    assert store.cell("a-1") is None
    assert Store(tmp_path, "other").cell("a-1") is None
    fill(store, "a-1", "new")
    assert (store.cell("a-1") / "weights").read_text() == "new"


def test_what_a_killed_run_left_is_swept_up_and_what_lives_is_not(tmp_path):
    store = Store(tmp_path, "run")
    cells = store.path / "cells"
    for left in (cells / ".a-1-xyz", cells / ".b-2-xyz", store.path / ".record-xyz"):
        left.mkdir()
        (left / "weights").write_text("half of the n")
    (store.path / ".spec.json.0123").touch()
    with store.leases.holding("b-2"), store.recording():
        Store(tmp_path, "run")
        assert [left.name for left in cells.iterdir()] == [".b-2-xyz"]
        assert {".record-xyz", ".spec.json.0123"} <= {left.name for left in store.path.iterdir()}
    Store(tmp_path, "run")
    assert everything(tmp_path) == ["run", "run/cells"]


# --- cells in the making ---------------------------------------------------------------------------------------------


def begin(store, cell_id, mishap=None, text="half"):
    with store.making(cell_id) as folder:
        before = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        (folder / "weights").write_text(text)
        if mishap is not None:
            raise mishap
        (folder / "cell.json").write_text("{}")
    return before


@pytest.mark.parametrize("mishap", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_cell_in_the_making_survives_a_mishap_and_is_found_again(tmp_path, mishap):
    store = Store(tmp_path, "run")
    with pytest.raises(mishap):
        begin(store, "a-1", mishap)
    assert store.cell("a-1") is None
    assert begin(Store(tmp_path, "run"), "a-1") == ["weights"]
    assert everything(tmp_path / "run" / "cells") == ["a-1", "a-1/cell.json", "a-1/manifest.json", "a-1/weights"]


def test_an_empty_one_does_not(tmp_path):
    store = Store(tmp_path, "run")
    with pytest.raises(RuntimeError), store.making("a-1"):
        raise RuntimeError
    assert everything(tmp_path) == ["run", "run/cells"]


def test_killed_while_making_it_is_found_again(tmp_path):
    code = (
        "import os, sys, signal; from pathlib import Path; from eebench.runs.store import Store\n"
        "with Store(Path(sys.argv[1]), 'run').making('a-1') as folder:\n"
        "    (folder / 'weights').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert begin(Store(tmp_path, "run"), "a-1") == ["weights"]


def test_a_cell_is_made_once_whoever_asks_for_it_meanwhile(tmp_path):
    first, second, sister = Store(tmp_path, "run"), Store(tmp_path, "run"), Store(tmp_path, "sister")
    with first.making("a-1") as folder:
        (folder / "weights").write_text("first")
        for other in (second, sister):
            with pytest.raises(InUseError, match="a-1 is in use by process"):
                begin(other, "a-1")
            with pytest.raises(InUseError):
                fill(other, "a-1")
            other.abandon("a-1")
        assert (folder / "weights").read_text() == "first"
        (folder / "cell.json").write_text("{}")
    for other in (first, second, sister):
        assert (other.cell("a-1") / "weights").read_text() == "first"
    with pytest.raises(InUseError):  # whoever saw no cell before it was there looks again
        begin(second, "a-1")


@pytest.fixture
def slow_and_quick(tmp_path, monkeypatch):
    """Two processes of different machines; the second takes everything over, as if the first had slept for long."""
    monkeypatch.setattr("eebench.leases.leases.runs", lambda owner: None)
    slow, quick = Store(tmp_path, "run"), Store(tmp_path, "run")
    quick.leases.patience = -1.0
    return slow, quick


def test_who_slept_and_lost_its_cell_publishes_nothing_and_spoils_nothing(tmp_path, slow_and_quick):
    slow, quick = slow_and_quick
    with pytest.raises(LeaseLostError), slow.making("a-1") as folder:  # noqa: PT012 - the end of the block raises
        (folder / "weights").write_text("so far")
        (folder / ".weights").write_text("half of the n")
        (folder / "checkpoints").mkdir()
        with quick.making("a-1") as taken:
            assert everything(taken) == ["checkpoints", "weights"]
            assert not folder.exists()
            folder.mkdir()
            (folder / "weights").write_text("written by whoever woke up")
            (taken / "cell.json").write_text("{}")
        (folder / "cell.json").write_text("{}")
    assert (quick.cell("a-1") / "weights").read_text() == "so far"
    assert everything(tmp_path / "run" / "cells") == [
        "a-1", "a-1/cell.json", "a-1/checkpoints", "a-1/manifest.json", "a-1/weights"
    ]  # fmt: skip


def test_what_goes_wrong_because_the_cell_is_anothers_is_not_the_methods_fault(tmp_path, slow_and_quick):
    slow, quick = slow_and_quick
    with pytest.raises(LeaseLostError), slow.making("a-1") as folder:  # noqa: PT012
        (folder / "weights").write_text("so far")
        begin(quick, "a-1")
        raise FileNotFoundError(folder / "weights")
    assert sorted(path.name for path in (tmp_path / "run" / "cells").iterdir()) == ["a-1"]


def test_no_cell_of_a_run_is_begun_while_it_is_read_and_timed(tmp_path):
    reader, maker, sister = Store(tmp_path, "run"), Store(tmp_path, "run"), Store(tmp_path, "sister")
    with reader.recording():
        with pytest.raises(InUseError, match="record-run is in use"):
            begin(maker, "a-1")
        with pytest.raises(InUseError), maker.recording():
            pass
        fill(sister, "b-2")
        assert reader.cell("b-2") is not None, "whoever reads may fetch what it needs"
    begin(maker, "a-1")


def test_a_record_is_not_published_by_who_slept(tmp_path, record, slow_and_quick):
    slow, quick = slow_and_quick
    rows = {name: [] for name in TABLES}
    with slow.recording():
        quick.publish(rows, {}, record)
        before = (tmp_path / "run" / "run.json").stat().st_ino
        with pytest.raises(UserError, match="another one took over"):
            slow.publish(rows, {}, record)
    assert (tmp_path / "run" / "run.json").stat().st_ino == before
    with slow.recording(), pytest.raises(UserError, match="is writing this record"):
        Store(tmp_path, "run").publish(rows, {}, record)


def test_a_sister_run_takes_over_what_nobody_works_on(tmp_path):
    with pytest.raises(RuntimeError):
        begin(Store(tmp_path, "first"), "a-1", RuntimeError)
    assert begin(Store(tmp_path, "second"), "a-1") == ["weights"]
    assert everything(tmp_path / "first") == ["cells"]


def test_afresh_nothing_is_gone_on_with(tmp_path):
    store = Store(tmp_path, "run")
    with pytest.raises(RuntimeError):
        begin(store, "a-1", RuntimeError)
    with store.making("a-1", fresh=True) as folder:
        assert list(folder.iterdir()) == []
        (folder / "cell.json").write_text("{}")
    assert everything(store.cell("a-1")) == ["cell.json", "manifest.json"]


@pytest.mark.parametrize("at", [200, 900, -10])
def test_an_array_that_changes_while_its_cell_is_made_is_found_and_made_again(tmp_path, at):
    """By the checksum that numpy writes with it: a manifest made afterwards would swear to the damage."""
    said = []
    store = Store(tmp_path, "run", say=said.append)

    def make():
        with store.making("a-1") as folder:
            np.savez_compressed(folder / "trace-val.npz", prediction=np.arange(1000))
            np.savez(folder / "costs-val.npz", total=np.arange(1000.0))
            flip(folder / "trace-val.npz", at)

    with pytest.raises(DamagedError, match=r"^trace-val\.npz was changed while its cell was made"):
        make()
    left = store.path / "cells" / ".unfinished-a-1"
    assert sorted(path.name for path in left.iterdir()) == ["costs-val.npz"]
    flip(left / "costs-val.npz", 500)  # and killed before anybody looked
    with store.making("a-1") as folder:
        assert list(folder.iterdir()) == []
        np.savez(folder / "costs-val.npz", total=np.arange(1000.0))
    (line,) = said
    assert line.startswith(f"to be made again: {left}")
    assert line.endswith("costs-val.npz: it is not as it was computed")
    assert store.cell("a-1") is not None


def test_an_unfinished_cell_is_swept_up_after_two_weeks(tmp_path):
    store = Store(tmp_path, "run")
    with pytest.raises(RuntimeError):
        begin(store, "a-1", RuntimeError)
    (left,) = (store.path / "cells").iterdir()
    for days, there in ((2, True), (15, False)):
        os.utime(left, (time.time() - days * 24 * 3600,) * 2)
        Store(tmp_path, "run")
        assert left.exists() == there


def test_a_cell_of_a_sister_run_is_linked(tmp_path):
    first, second = Store(tmp_path, "first"), Store(tmp_path, "second")
    there = fill(first, "a-1")
    here = second.cell("a-1")
    assert here == tmp_path / "second" / "cells" / "a-1"
    assert everything(here) == everything(there)
    assert os.path.samefile(here / "weights", there / "weights")
    first.forget("a-1")
    assert (here / "weights").read_text() == "one"
    assert first.cell("a-1") is not None  # found again, now at the sister's


def test_redoing_a_linked_cell_does_not_change_the_sisters(tmp_path):
    first, second = Store(tmp_path, "first"), Store(tmp_path, "second")
    there, here = fill(first, "a-1", "old"), second.cell("a-1")
    fill(second, "a-1", "new")
    assert (here / "weights").read_text() == "new"
    assert (there / "weights").read_text() == "old"


def test_cells_are_copied_where_links_do_not_work(tmp_path, monkeypatch):
    def no_links(source, target):
        raise OSError

    monkeypatch.setattr(os, "link", no_links)
    there = fill(Store(tmp_path, "first"), "a-1")
    here = Store(tmp_path, "second").cell("a-1")
    assert (here / "weights").read_text() == "one"
    assert not os.path.samefile(here / "weights", there / "weights")


def test_forget(tmp_path):
    store = Store(tmp_path, "run")
    fill(store, "a-1")
    store.forget("a-1")
    store.forget("never-there")
    assert store.cell("a-1") is None


def test_an_output_directory_that_is_a_file(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        Store(file, "run")
    with pytest.raises(UserError, match="cannot be written to"):
        Store(file / "below", "run")
    assert file.read_text() == "mine"


def test_an_output_directory_that_is_not_writable(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # root may write anywhere, so permissions would not tell
    with pytest.raises(UserError, match=r"cannot be written to: Permission denied"):
        Store(tmp_path, "run")


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_has_the_documented_columns_in_their_order(tmp_path, record):
    Store(tmp_path, "run").publish({name: [] for name in TABLES}, {}, record)
    for name in TABLES:
        assert (tmp_path / "run" / f"{name}.csv").read_text() == ",".join(TABLES[name]) + "\n"
