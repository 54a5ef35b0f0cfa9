"""How far a run is: the file, what is worked out from it, and the command."""

import json
import os
import time

import pytest

from eebench.cli import main
from eebench.errors import UserError
from eebench.runs.how import Execution
from eebench.runs.progress_file import PATIENCE, ProgressFile, Step, read_progress

JOBS = [("backbone", "backbone", 0), ("method", "pabee", 0), ("method", "sdn", 0), ("backbone", "backbone", 1)]


@pytest.fixture
def file(tmp_path):
    (tmp_path / "run").mkdir()
    steps = [Step(f"{label} seed {seed}", kind, label, seed) for kind, label, seed in JOBS]
    return ProgressFile(tmp_path / "run", steps, 2)


def test_what_was_written_is_read(file):
    file.began(JOBS[0], 7, "logs/a.log")
    file.ended(JOBS[0], reused=False, reason=None)
    file.began(JOBS[1], 8, "logs/b.log")
    file.ended(JOBS[2], reused=False, reason="ValueError: no")
    found = read_progress(file.path.parent)
    assert found == file.progress
    assert [step.state for step in found.steps] == ["done", "running", "failed", "waiting"]
    assert (found.steps[1].pid, found.steps[1].log) == (8, "logs/b.log")
    assert found.steps[0].seconds >= 0
    file.close()
    assert [step.state for step in read_progress(file.path.parent).steps] == ["done", "waiting", "failed", "waiting"]


def test_what_remains_is_told_from_jobs_alike(file):
    now = 1000.0
    assert file.progress.remaining(now) is None, "nothing has been made yet"
    done, running, *_ = file.progress.steps
    done.state, done.started, done.ended = "done", 900.0, 930.0  # 30 s
    assert file.progress.remaining(now) == (30 + 30 + 30) / 2  # a backbone as the backbone, methods as all there is
    running.state, running.started = "running", 990.0
    assert file.progress.remaining(now) == (20 + 30 + 30) / 2
    running.state, running.started, running.ended = "done", 900.0, 980.0  # a method of 80 s: sdn as the methods
    assert file.progress.remaining(now) == (80 + 30) / 2
    running.reused = True  # found, not made: it says nothing
    assert file.progress.remaining(now) == (30 + 30) / 2


def test_a_run_is_gone_with_its_process_here_and_with_its_signs_of_life_elsewhere(file):
    now = time.time()
    assert not file.progress.gone(now)
    file.progress.pid = 2**22 + 1  # beyond what the system gives
    assert file.progress.gone(now)
    file.progress.host = "elsewhere"
    assert not file.progress.gone(file.progress.beat + PATIENCE - 1)
    assert file.progress.gone(file.progress.beat + PATIENCE + 1)
    file.progress.stage = "reading"  # it writes nothing while it times
    assert not file.progress.gone(file.progress.beat + 10 * PATIENCE)


def said(line, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["eebench", *line.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def test_the_command(file, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    file.began(JOBS[0], 7, "logs/a.log")
    file.ended(JOBS[0], reused=False, reason=None)
    file.began(JOBS[1], os.getpid(), "logs/b.log")
    file.ended(JOBS[2], reused=False, reason="ValueError: no [/bold]")
    status, out, err = said("status run --results .", monkeypatch, capsys)
    assert (status, err) == (0, "")
    first, second, third = out.splitlines()
    assert first.startswith("4 cells: 1 done, 1 running, 1 failed, 1 waiting; about 0 s to go")
    assert second == f"running: pabee seed 0, process {os.getpid()} on {os.uname().nodename}, log logs/b.log"
    assert third == "failed: sdn seed 0: ValueError: no [/bold]"
    status, out, _ = said("status run --json", monkeypatch, capsys)
    assert json.loads(out)["done"] == 1
    assert [step["state"] for step in json.loads(out)["steps"]] == ["done", "running", "failed", "waiting"]
    file.close()
    status, out, _ = said("status run --watch", monkeypatch, capsys)
    assert out.splitlines()[0].endswith("the run has ended")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("status nowhere", "no run at nowhere"),
        ("status empty", "does not say how far it is"),
        ("status bad", "is damaged"),
        ("status run --watch --json", "contradict"),
    ],
)
def test_what_cannot_be_told_is_one_line(line, words, file, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "progress.json").write_text('{"steps": [{"what": 1}]}')
    status, out, err = said(line, monkeypatch, capsys)
    assert (status, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"executor": "cloud"}, "'cloud' is none"),
        ({"executor": "local[workers=0]"}, "is none"),
        ({"executor": "local[workers=two]"}, "is none"),
        ({"executor": "local[workers=2]", "in_process": True}, "leave --in-process out"),
        ({"cell_timeout": 0.0}, "no number of seconds"),
        ({"cell_timeout": float("nan")}, "no number of seconds"),
        ({"cell_timeout": 3.0, "in_process": True}, "leave --in-process out"),
    ],
)
def test_how_work_is_done_is_checked_when_it_is_asked_for(values, words):
    with pytest.raises(UserError, match=words.replace("[", r"\[")):
        Execution(**values)


def test_workers():
    assert Execution().workers == 1
    assert Execution(executor="local[workers=3]").workers == 3
    assert Execution(in_process=True).workers == 0
