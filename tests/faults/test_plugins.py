"""Methods that do to their process what they should not: each fails in its own cell, or is found before any work."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import eebench
from eebench.errors import UserError
from eebench.record import read_record
from eebench.runs.how import Execution

GOOD = "pabee[blocks=4+8]"

HEAD = '''
import ctypes, os, signal, sys, threading, time
import torch
from eebench.api import Method, Phase
from eebench.parts import LinearExit
from eebench.rules import Confidence


class Base(Method):
    """A linear exit."""

    def build(self, backbone, task):
        return {6: LinearExit(backbone.layouts[5], task.outputs)}

    def rule(self, task):
        return Confidence()

    def phases(self, task):
        return [Phase("only", self.loss)]

    def loss(self, step):
        self.harm()
        return sum(visit.output.logits.square().mean() for visit in step.visits)

    def harm(self):
        pass
'''

TRAINING = {  # what a loss does, and the reason the record gives; None: the cell stands
    "sys.exit(3)": "SystemExit: 3",
    "os._exit(0)": "its process ended: exit status 0",
    "ctypes.string_at(0)": "its process ended: SIGSEGV, a segmentation fault",
    "os.abort()": "its process ended: SIGABRT, an abort",
    "os.kill(os.getpid(), signal.SIGKILL)": "its process ended: SIGKILL: somebody killed it, or memory ran out",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "os.chdir('/')": None,
    "torch.set_num_threads(7)": None,
    "torch.set_default_dtype(torch.float64)": "",  # its own loss may fail of it, or not
    "os.close(1)": "",  # whatever opens a file next gets that descriptor: it may fail of it, or not
    "print('x' * 100000)": None,
    "threading.Thread(target=time.sleep, args=(3600,)).start()": None,
    "[time.sleep(1) for _ in iter(int, 1)]": "it took longer than --cell-timeout 40 s",
}


def written(folder: Path, methods: str) -> Path:
    (folder / "bad_ones.py").write_text(HEAD + methods)
    return folder / "bad_ones.py"


def run(folder: Path, count: int, methods: str, **options):
    names = [f"bad{i}" for i in range(count)]
    values = {"dataset": "digits", "budget": "smoke", "device": "cpu", "static": (), "latency_samples": 4, "threads": 1}
    with pytest.warns(RuntimeWarning, match="failed"):
        return eebench.run(
            results=folder / "results",
            plugins=[written(folder, methods)],
            methods=(*names, GOOD),
            **values,
            **options,
        )


@pytest.mark.faults
def test_whatever_a_loss_does_stays_in_its_cell(tmp_path):
    before = os.getcwd()
    methods = [
        f"\n\nclass Bad{i}(Base):\n    name = 'bad{i}'\n\n    def harm(self):\n        {harm}\n"
        for i, harm in enumerate(TRAINING)
    ]
    tables = run(tmp_path, len(TRAINING), "".join(methods), how=Execution(cell_timeout=40.0))
    assert os.getcwd() == before
    path = Path(tables["curves"].attrs["path"])
    cells = {cell.label: cell for cell in read_record(path).cells}
    assert cells[GOOD].status == "done"
    assert GOOD in set(tables["curves"]["method"])
    for i, (harm, reason) in enumerate(TRAINING.items()):
        found = cells[f"bad{i}"]
        if reason is None:
            assert found.status == "done", (harm, found.reason)
        elif reason:
            assert (found.status, found.reason) == ("failed", reason), harm
    (log,) = path.glob("logs/bad2-*.log")
    assert "Segmentation fault" in log.read_text()
    assert "in harm" in log.read_text()
    notes = "\n".join(read_record(path).notes)
    assert "bad6 seed 0: its code changed the working directory while it was made" in notes
    assert "bad7 seed 0: its code changed torch's number of threads while it was made" in notes
    left = {hidden.name for hidden in (path / "cells").glob(".*")}
    assert all(name.startswith(".unfinished-bad") for name in left), "what a killed cell had, to go on from"


RULES = {
    "os._exit(0)": "its process ended: exit status 0",
    "torch.set_num_threads(5)": (
        "while it answered, its code changed torch's number of threads: others would be timed so too"
    ),
}


@pytest.mark.faults
def test_whatever_a_rule_does_when_it_is_read_stays_in_its_cell(tmp_path):
    methods = [
        f"\n\nclass Rule{i}(Confidence):\n"
        f"    def grid(self, seen):\n        {harm}\n        return super().grid(seen)\n"
        f"\n\nclass Bad{i}(Base):\n    name = 'bad{i}'\n\n    def rule(self, task):\n        return Rule{i}()\n"
        for i, harm in enumerate(RULES)
    ]
    tables = run(tmp_path, len(RULES), "".join(methods))
    cells = {cell.label: cell for cell in read_record(Path(tables["curves"].attrs["path"])).cells}
    assert cells[GOOD].status == "done"
    for i, reason in enumerate(RULES.values()):
        assert (cells[f"bad{i}"].status, cells[f"bad{i}"].reason) == ("failed", reason)


BEHIND = {  # a stage, and what a rule does there
    "timed": ("not gc.isenabled()", "os._exit(4)"),
    "timed for ever": ("not gc.isenabled()", "[time.sleep(1) for _ in iter(int, 1)]"),
    "shifted": ("seen_in('traced')", "ctypes.string_at(0)"),
}
RULE = """

import gc, traceback


def seen_in(name):
    return any(frame.name == name for frame in traceback.extract_stack())


class Rule{i}(Confidence):
    def observe(self, output, exit, ids):
        with open({pids!r}, "a") as file:
            file.write(str(os.getpid()) + " ")
        if {when}:
            {harm}
        return super().observe(output, exit, ids)

    def step(self, state, seen, knob):
        with open({pids!r}, "a") as file:
            file.write(str(os.getpid()) + " ")
        return super().step(state, seen, knob)


class Bad{i}(Base):
    name = 'bad{i}'

    def rule(self, task):
        return Rule{i}()
"""


@pytest.mark.faults
def test_whatever_a_rule_does_when_it_is_timed_or_shifted_costs_its_own_numbers(tmp_path):
    """Its own process ends, the others' numbers stand, and no rule is asked in the process that runs the show."""
    pids = tmp_path / "pids"
    methods = [RULE.format(i=i, when=when, harm=harm, pids=str(pids)) for i, (when, harm) in enumerate(BEHIND.values())]
    tables = run(tmp_path, len(BEHIND), "".join(methods), how=Execution(cell_timeout=40.0), shift=True)
    assert str(os.getpid()) not in pids.read_text().split()
    path = Path(tables["curves"].attrs["path"])
    record = read_record(path)
    cells = {cell.label: cell for cell in record.cells}
    assert (cells[GOOD].status, cells["bad2"].status) == ("done", "done")
    assert cells["bad0"].reason == "while it was timed: its process ended: exit status 4"
    assert cells["bad1"].reason == "while it was timed: it took longer than --cell-timeout 40 s"
    assert set(tables["latency"]["method"]) == {"backbone", "bad2", GOOD}
    assert set(tables["curves"]["method"]) == {"backbone", "bad2", GOOD}
    assert set(tables["shift"]["method"]) == {"backbone", "bad0", "bad1", GOOD}
    words = "no shift of bad2 seed 0: measuring it, its process ended: SIGSEGV, a segmentation fault"
    assert words in record.notes
    assert not list(path.glob(".timing*"))
    (log,) = path.glob("failed-shift-bad2-*.log")
    assert "Segmentation fault" in log.read_text()


@pytest.mark.faults
@pytest.mark.parametrize("harm", ["os._exit(0)", "ctypes.string_at(0)"])
def test_whatever_is_built_is_built_in_another_process_first(harm, tmp_path):
    path = written(
        tmp_path, f"\n\nclass Bad(Base):\n    name = 'bad0'\n\n    def phases(self, task):\n        {harm}\n"
    )
    with pytest.raises(UserError, match="building method 'bad0': this ended the process"):
        eebench.run(results=tmp_path / "r", plugins=[path], methods=("bad0", GOOD), dataset="digits", budget="smoke")
    assert not (tmp_path / "r").exists()


@pytest.mark.faults
def test_tables_are_those_of_a_run_in_this_process(tmp_path):
    values = {"dataset": "digits", "budget": "smoke", "device": "cpu", "static": (0.5,), "latency_samples": 4}
    values |= {"methods": (GOOD, "jei_dnn[blocks=4+8]"), "threads": 1, "seeds": (0, 1)}
    here = eebench.run(results=tmp_path / "here", how=Execution(in_process=True), **values)
    there = eebench.run(results=tmp_path / "there", **values)
    for name in ("curves", "exits", "shares", "reliability", "conformal", "summary", "headlines", "pairs"):
        pd.testing.assert_frame_equal(here[name], there[name])


@pytest.mark.faults
def test_a_script_without_a_main_guard(tmp_path):
    """As multiprocessing's spawn would not have it."""
    code = (
        f"import eebench\nt = eebench.run(methods=({GOOD!r},), dataset='digits', budget='smoke', static=(), "
        f"results={str(tmp_path / 'r')!r})\nprint(len(t['curves']))\n"
    )
    (tmp_path / "script.py").write_text(code)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
