"""The doctor finds what is damaged, lacking, cut short or old, says so and changes nothing."""

import json
import shutil
import sys

import pytest

from eebench import cli
from eebench.runs.doctor import examine
from tests.faults.damage import cut, flip, unverify

LABELS = ["backbone seed 0", "static[blocks=3] seed 0", "static[blocks=12] seed 0", "pabee[blocks=3+6+9] seed 0",
          "jei_dnn[blocks=4+8] seed 0"]  # fmt: skip


@pytest.fixture
def run(smoke, copied):
    return copied / smoke.path.name


@pytest.fixture
def eebench(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["eebench", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        assert said.err == "" or caught.value.code == 2
        return caught.value.code or 0, said.out + said.err

    return run


def test_a_finished_run_is_well(run, eebench):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    status, out = eebench("doctor", run)
    assert status == 0
    assert out.splitlines() == [
        "5 cells as they were written",
        "run.json and tables as they were written",
        "failed, and tried again by the same command: failing seed 0",
        "nothing to mend",
    ]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert eebench("doctor", run.name, "--results", run.parent) == (status, out)


def test_what_would_be_made_again(run, eebench):
    cells = {path.name.partition("-s0")[0]: path for path in (run / "cells").iterdir()}
    flip(cells["backbone"] / "weights.safetensors")
    shutil.rmtree(cells["static-blocks-3"])
    cut(run / "curves.csv")
    (run / "cells" / ".unfinished-sdn-s0-abc").mkdir()
    status, out = eebench("doctor", run)
    assert status == 1
    assert "damaged: backbone seed 0: weights.safetensors is not as it was written\n" in out
    assert "missing: static[blocks=3] seed 0: its folder is missing\n" in out
    assert "damaged: record: curves.csv is not as it was written\n" in out
    assert "cut short, and gone on with by the same command: sdn-s0-abc\n" in out
    last = "the same eebench run would make again: backbone seed 0, static[blocks=3] seed 0, record"
    assert out.splitlines()[-1] == last
    status, out = eebench("doctor", run, "--json")
    found = json.loads(out)
    assert (status, found["well"], found["record"]) == (1, False, "damaged")
    assert found["again"] == ["backbone seed 0", "static[blocks=3] seed 0", "record"]
    assert [cell["label"] for cell in found["cells"]] == LABELS


def test_a_published_record_and_an_older_one_are_well(run, eebench):
    for path in [*run.glob("cells/*/*.np?"), *run.glob("cells/*/*.safetensors")]:
        path.unlink()
    status, out = eebench("doctor", run)
    assert status == 0
    assert out.startswith("5 cells without weights and traces")
    unverify(run)
    for path in run.glob("cells/*/manifest.json"):
        path.unlink()
    status, out = eebench("doctor", run)
    assert status == 0
    assert out.startswith("5 cells without checksums")
    assert "unverified: record: an older eebench wrote no checksums" in out


def test_a_run_that_was_cut_short(run):
    (run / "run.json").unlink()
    health = examine(run)
    assert (health.record, health.well, health.again) == ("missing", False, ["record"])
    assert {cell.state for cell in health.cells} == {"whole"}


def test_no_run_is_one_line(tmp_path, eebench):
    status, out = eebench("doctor", tmp_path)
    assert (status, out) == (2, f"error: no run at {tmp_path} (neither run.json nor cells)\n")
