"""A disk that is full, read-only or gone: one line, status 1, everything before intact, the same command goes on."""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
import pytest

from eebench.errors import StorageError
from eebench.files import storage_trouble
from eebench.manifest import faults_of_run
from eebench.runs.store import Store
from tests.faults.damage import again, untimed


@contextmanager
def small(folder, size):
    """A file system of so many bytes in a folder; skips where it cannot be had."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("file systems can be mounted by root alone")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told_with_its_path_and_what_is_needed(tmp_path, number):
    (tmp_path / "cells" / "a").mkdir(parents=True)
    (tmp_path / "cells" / "a" / "weights").write_bytes(bytes(2_500_000))
    line = storage_trouble(OSError(number, "told by the system"), tmp_path)
    assert line.startswith(f"no space left in {tmp_path}: ")
    assert line.endswith(" MB are free, the largest cell so far takes 2.5 MB")
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError("1024 requested and 0 written"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_libraries_that_tell_it_in_words_are_understood(tmp_path, error):
    assert storage_trouble(error, tmp_path).startswith("no space left")
    outer = ValueError("a phase failed")
    outer.__cause__ = error
    assert storage_trouble(outer, tmp_path).startswith("no space left")


def test_what_is_not_the_disks_fault_is_not_blamed_on_it(tmp_path):
    for error in (ValueError("x"), FileNotFoundError(2, "no such file"), OSError("odd"), ZeroDivisionError()):
        assert storage_trouble(error, tmp_path) is None
    assert storage_trouble(FileNotFoundError(2, "gone"), tmp_path / "no").endswith("and was there when this began")
    assert "Read-only" in storage_trouble(OSError(errno.EROFS, "x"), tmp_path)


def test_a_disk_full_from_the_start(tmp_path):
    with small(tmp_path / "disk", 131072) as disk:
        (disk / "others").write_bytes(bytes(110000))
        with pytest.raises(StorageError, match="no space left in"):
            Store(disk, "run")


def test_a_disk_that_fills_while_cells_are_made_and_the_same_command_goes_on(smoke, plugin, tmp_path):
    """Room for the backbone and not for all of the rest: nobody's method is blamed, nothing before is lost."""
    with small(tmp_path / "disk", "6m") as disk:
        with pytest.raises(StorageError, match=r"no space left in .*: .* MB are free, the largest cell so far takes"):
            again(smoke.spec, plugin, disk)
        (run,) = disk.iterdir()
        before = {path.name: path.stat().st_ino for path in (run / "cells").glob("[!.]*")}
        assert before
        assert not list(run.glob("*.csv"))
        assert not list(run.glob("failed-*"))
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        outcome, lines = again(smoke.spec, plugin, disk)
        assert [cell["label"] for cell in outcome.failed] == ["failing"]
        assert sum(line.endswith(": reused") for line in lines) >= len(before)
        assert {name: (run / "cells" / name).stat().st_ino for name in before} == before
        here, there = untimed(run), untimed(smoke.path)
        for name, frame in there.items():
            pd.testing.assert_frame_equal(frame, here[name], obj=name)


def test_a_disk_that_fills_while_the_record_is_written_leaves_the_old_one(smoke, plugin, tmp_path):
    with small(tmp_path / "disk", "60m") as disk:
        shutil.copytree(smoke.results, disk, dirs_exist_ok=True)
        (run,) = disk.iterdir()
        with pytest.MonkeyPatch.context() as patch:
            publish = Store.publish

            def full(store, *args):
                free = shutil.disk_usage(disk).free
                (disk / "others").write_bytes(bytes(free - 40_000))
                return publish(store, *args)

            patch.setattr(Store, "publish", full)
            with pytest.raises(OSError, match="No space left"):
                again(smoke.spec, plugin, disk)
        assert faults_of_run(run) == []
        assert not list(run.glob(".record-*"))
        os.unlink(disk / "others")
        again(smoke.spec, plugin, disk)
        assert faults_of_run(run) == []


def command(*words, cwd):
    code = "from eebench.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=cwd,
    )


def test_the_command_on_a_full_and_on_a_read_only_disk(tmp_path):
    line = "run -m pabee[blocks=6] -d digits --budget smoke --no-static --latency-samples 4 --results disk/results"
    with small(tmp_path / "disk", "2m"):
        done = command(*line.split(), cwd=tmp_path)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: no space left in ")
        assert "/disk/results/digits-" in last
        assert last.endswith("; what is done is kept, the same command goes on from there")
        assert "Traceback" not in done.stderr
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        done = command(*line.split(), cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr == "error: --results: disk/results cannot be written to\n"
        assert "Traceback" not in done.stderr
