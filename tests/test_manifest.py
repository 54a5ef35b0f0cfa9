"""Manifests: whatever happens to a file of a cell or a record is found, and nothing is found where nothing happened."""

import hashlib
import json
import os
import shutil
import warnings

import pytest

from eebench import manifest
from eebench.manifest import (
    MANIFEST,
    DamagedError,
    UnverifiedWarning,
    check_cell,
    check_run,
    faults_of_cell,
    faults_of_run,
    seal,
    sha256,
)


@pytest.fixture
def cell(tmp_path):
    """A sealed cell with files of the kinds that cells have."""
    folder = tmp_path / "pabee-s0-abc"
    folder.mkdir()
    (folder / "cell.json").write_text('{"seconds": 1}')
    (folder / "weights.safetensors").write_bytes(bytes(range(256)) * 8)
    (folder / "trace-val.npz").write_bytes(b"val" * 100)
    (folder / "trace-test.npz").write_bytes(b"tst" * 100)
    (folder / "logits-val.npy").write_bytes(b"logits" * 50)
    for path in folder.iterdir():
        os.utime(path, (10**9, 10**9))
    seal(folder, cell=folder.name)
    return folder


def faults(cell):
    return faults_of_cell(cell, cell.name)


def flip(path, at=0):
    """One bit of one byte, size and name as they were."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_manifest_has_every_file_with_its_own_checksum(cell):
    listed = json.loads((cell / MANIFEST).read_text())
    assert listed["cell"] == cell.name
    assert listed["files"] == {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in cell.iterdir()
        if path.name != MANIFEST
    }
    assert faults(cell) == []


@pytest.mark.parametrize(
    "name", ["cell.json", "weights.safetensors", "trace-val.npz", "trace-test.npz", "logits-val.npy"]
)
@pytest.mark.parametrize("what", ["first", "last", "cut", "empty", "gone", "longer"])
def test_whatever_happens_to_any_file_is_found(cell, name, what):
    path = cell / name
    whole = path.read_bytes()
    if what in ("first", "last"):
        flip(path, 0 if what == "first" else -1)
        words = "is not as it was written"
    elif what == "gone":
        path.unlink()
        words = "is missing"
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "longer": whole + b"x"}[what])
        words = f"of {len(whole)} bytes"
    (fault,) = faults(cell)
    assert fault.startswith(name)
    assert words in fault


def test_every_bit_of_a_small_file_counts(cell):
    path = cell / "cell.json"
    whole = path.read_bytes()
    for at in range(len(whole)):
        flip(path, at)
        os.utime(path, ns=(at + 1, at + 1))  # a file system's clock may be coarser than this loop
        assert faults(cell) == ["cell.json is not as it was written"]
        path.write_bytes(whole)
        os.utime(path, ns=(10**9 + at, 10**9 + at))
        assert faults(cell) == []


def test_exchanged_traces_are_found(cell):
    val, test = cell / "trace-val.npz", cell / "trace-test.npz"
    contents = val.read_bytes(), test.read_bytes()
    val.write_bytes(contents[1])
    test.write_bytes(contents[0])
    assert len(faults(cell)) == 2


def test_a_file_nobody_wrote_is_foreign_if_it_would_be_read(cell):
    (cell / "logits-test.npy").write_bytes(b"every prediction right")
    assert faults(cell) == ["logits-test.npy is not the cell's own"]
    (cell / "logits-test.npy").unlink()
    (cell / "notes.txt").write_text("mine")
    (cell / ".lock").write_text("")
    assert faults(cell) == []


def test_another_cell_under_this_name_is_found(cell):
    other = cell.with_name("sdn-s0-def")
    shutil.copytree(cell, other)
    assert faults(other) == [f"manifest.json is that of another cell, {cell.name}"]


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"[]", b'{"files": 5}', b'{"files": {"a": {}}}', b'{"files": {"../a": {"sha256": ""}}}',
     b'{"files": {"/etc/passwd": {"sha256": ""}}}', b"\xff\xfe\x00"],
)  # fmt: skip
def test_a_manifest_that_is_none_vouches_for_nothing(cell, content):
    (cell / MANIFEST).unlink()
    if content is not None:
        (cell / MANIFEST).write_bytes(content)
    assert faults(cell) == [f"{MANIFEST} is {'missing' if content is None else 'damaged'}"]


def test_a_file_and_its_manifest_edited_alike_are_found_by_the_record(cell):
    before = sha256(cell / MANIFEST)
    checksums = {f"cells/{cell.name}/{MANIFEST}": before}
    check_cell(cell, cell.name, checksums)
    flip(cell / "weights.safetensors")
    seal(cell, cell=cell.name)
    assert faults(cell) == []
    with pytest.raises(DamagedError, match="another cell than the one the record was made from"):
        check_cell(cell, cell.name, checksums)
    check_cell(cell, cell.name, {})  # an older record says nothing of its cells


def test_a_published_copy_lacks_weights_and_traces_and_is_otherwise_checked(cell):
    for bulk in [*cell.glob("*.np?"), cell / "weights.safetensors"]:
        bulk.unlink()
    assert manifest.is_record_only(cell)
    assert faults(cell) == []
    flip(cell / "cell.json")
    assert faults(cell) == ["cell.json is not as it was written"]


def test_a_file_is_read_once_a_process(cell, monkeypatch):
    read = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: read.append(file.name) or digest(file, name))
    assert faults(cell) == faults(cell) == []
    assert read == []  # sealed by this very process
    flip(cell / "cell.json")
    assert faults(cell) == faults(cell) != []
    assert {os.path.basename(name) for name in read} == {"cell.json"}
    os.utime(cell / "cell.json", (2 * 10**9 - 10**9, 10**9 + 5))
    read.clear()
    assert faults(cell) == faults(cell) != []
    assert [os.path.basename(name) for name in read] == ["cell.json"]


# --- records ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(smoke, copied):
    """A copy of a finished run."""
    return copied / smoke.path.name


def test_a_finished_run_is_as_it_was_written(run):
    assert faults_of_run(run) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_run(run)


def test_every_file_of_a_record_counts(run):
    names = [path.name for path in run.iterdir() if path.suffix in (".csv", ".npz")] + ["run.json"]
    assert len(names) > 15
    for name in names:
        path = run / name
        whole = path.read_bytes()
        flip(path, len(whole) // 2)
        with pytest.raises(DamagedError, match=f"{name} is not as it was written; run the benchmark here again"):
            check_run(run)
        path.unlink()
        with pytest.raises(DamagedError, match=f"{name} is missing" if name != "run.json" else "missing"):
            check_run(run)
        path.write_bytes(whole)
    assert faults_of_run(run) == []


def test_a_folder_beside_the_tables_is_whole_or_not_there(tmp_path):
    """A text run's encoder: its tables are read without it, but never beside a part of it."""
    (tmp_path / "encoder").mkdir()
    files = [tmp_path / "encoder" / name for name in ("config.json", "vocab.txt")]
    for path in files:
        path.write_text(path.name)
    checksums = {path.relative_to(tmp_path).as_posix(): sha256(path) for path in files}
    (tmp_path / "run.json").write_text(json.dumps({"checksums": checksums}))
    seal(tmp_path, ["run.json"], run="r")
    assert faults_of_run(tmp_path) == []
    files[0].unlink()
    assert faults_of_run(tmp_path) == ["encoder/config.json is missing"]
    files[1].unlink()
    files[1].parent.rmdir()
    assert faults_of_run(tmp_path) == []


def test_a_table_from_elsewhere_and_a_missing_manifest_are_found(run):
    (run / "older.csv").write_text("method\n")
    assert faults_of_run(run) == ["older.csv is not the run's own"]
    (run / "older.csv").unlink()
    (run / MANIFEST).unlink()
    assert faults_of_run(run) == ["manifest.json is missing"]


def test_an_older_record_is_unverified_in_one_line(run):
    values = json.loads((run / "run.json").read_text())
    del values["checksums"]
    (run / "run.json").write_text(json.dumps(values))
    (run / MANIFEST).unlink()
    with pytest.warns(UnverifiedWarning, match="unverified, an older eebench wrote no checksums") as caught:
        check_run(run)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
