"""The store: a cell is there whole or not at all, whatever happens; tables and JSON are what their readers expect."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from eebench.errors import UserError
from eebench.runs.store import Store, read_json, write_json, write_table
from eebench.schema import SCHEMA_VERSION, TABLES


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
    assert everything(tmp_path) == ["run", "run/cells", "run/cells/a-1", "run/cells/a-1/cell.json"]


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


def test_what_a_killed_run_left_is_swept_up_a_day_later(tmp_path):
    cells = Store(tmp_path, "run").path / "cells"
    old, fresh = cells / ".a-1-xyz", cells / ".b-2-xyz"
    for left in (old, fresh):
        left.mkdir()
        (left / "weights").write_text("half of the n")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    Store(tmp_path, "run")
    assert [left.name for left in cells.iterdir()] == [".b-2-xyz"]


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


def test_a_table_has_the_documented_columns_in_their_order(tmp_path):
    store = Store(tmp_path, "run")
    for name in TABLES:
        path = store.table(name, [])
        assert path == tmp_path / "run" / f"{name}.csv"
        assert path.read_text() == ",".join(TABLES[name]) + "\n"


def test_values_of_a_table(tmp_path):
    rows = [
        {"a": math.nan, "b": None, "c": 0.1 + 0.2, "d": True, "e": 'x,"y"\nz'},
        {"a": np.float32("nan"), "b": np.int64(7), "c": np.float64(1) / 3, "d": np.bool_(False)},
        {"c": 1e-12, "b": 12345678901, "e": ""},
    ]
    path = write_table(tmp_path / "t.csv", list("abcde"), rows)
    assert path.read_text() == ('a,b,c,d,e\n,,0.3,True,"x,""y""\nz"\n,7,0.333333333,False,\n,12345678901,1e-12,,\n')
    frame = pd.read_csv(path)
    assert frame["a"].isna().all()
    assert frame["c"][1] == pytest.approx(1 / 3, rel=1e-8)


def test_an_undocumented_column_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(KeyError, match=r"t.csv has no column b, c"):
        write_table(tmp_path / "t.csv", ["a"], [{"a": 1}, {"c": 1, "b": 2}])
    assert everything(tmp_path) == []


def test_a_table_that_fails_half_way_leaves_the_old_one(tmp_path):
    write_table(tmp_path / "t.csv", ["a"], [{"a": "old"}])

    def rows():
        yield {"a": "new"}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_table(tmp_path / "t.csv", ["a"], rows())
    assert (tmp_path / "t.csv").read_text() == "a\nold\n"
    assert everything(tmp_path) == ["t.csv"]


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_json_is_plain(tmp_path):
    values = {
        "nan": math.nan,
        "inf": [math.inf, -math.inf, np.float32("nan")],
        "numpy": (np.float64(0.5), np.int64(3), np.bool_(True)),
        7: {"deep": {"er": (math.nan, 1.5)}},
        "text": "ü",
        "none": None,
    }
    path = write_json(tmp_path / "v.json", values)

    def refuse(name):
        raise AssertionError(name)

    assert json.loads(path.read_text(), parse_constant=refuse) == {
        "nan": None,
        "inf": [None, None, None],
        "numpy": [0.5, 3, True],
        "7": {"deep": {"er": [None, 1.5]}},
        "text": "ü",
        "none": None,
    }


def test_json_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_json(tmp_path / "v.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "v.json", {"new": object()})
    assert read_json(tmp_path / "v.json") == {"old": 1}
    assert everything(tmp_path) == ["v.json"]


def test_the_record_carries_its_schema(tmp_path):
    Store(tmp_path, "run").record({"a": 1})
    assert read_json(tmp_path / "run" / "run.json") == {"schema_version": SCHEMA_VERSION, "a": 1}


@pytest.mark.parametrize(
    ("content", "words"), [(None, "does not exist"), (b"{", "not readable JSON"), (b"\xff\xfe", "not readable JSON")]
)
def test_json_that_cannot_be_read_is_one_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_json(tmp_path / "v.json")
    assert "\n" not in str(caught.value)
