"""What a run ran on, as it is recorded."""

import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import eebench
from eebench.runs import environment
from eebench.runs.environment import OPTIONAL, computing, describe, hold_memory, versions


def test_versions_are_the_installed_ones():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["eebench"] == version("eebench")
    assert found["torch"] == version("torch")


def test_a_missing_optional_package_is_none(monkeypatch):
    monkeypatch.setattr(environment, "OPTIONAL", (*OPTIONAL, "no-such-distribution"))
    assert versions()["no-such-distribution"] is None


def test_describe():
    found = describe("cpu")
    assert found["threads"] == torch.get_num_threads()
    assert found["cores"] == os.cpu_count()
    assert found["waiting_threads"] in ("sleep", "spin")
    assert found["gpu"] is None
    assert found["cpu"]
    assert json.dumps(found)


def test_the_commit_is_recorded():
    root = Path(eebench.__file__).parents[1]
    if not (root / ".git").exists():
        pytest.skip("eebench is not installed from a checkout")
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert describe()["git_sha"] == head.stdout.strip()
    assert describe()["git_dirty"] in (True, False)


def test_without_a_checkout_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(
        environment, "__file__", str(tmp_path / "site-packages" / "eebench" / "runs" / "environment.py")
    )
    assert environment._git() == {"git_sha": None, "git_dirty": None}


def test_memory_is_held_only_where_glibc_is(monkeypatch):
    monkeypatch.setattr(environment, "_held", False)
    monkeypatch.setattr(environment.sys, "platform", "darwin")
    assert not hold_memory()
    assert describe()["malloc"] == "default"


def test_what_trains_on_texts_gives_memory_back(monkeypatch):
    monkeypatch.setattr(environment, "_held", False)
    asked = []
    monkeypatch.setattr(environment.ctypes, "CDLL", lambda name: asked.append(name))
    assert not hold_memory("text")
    assert describe()["malloc"] == "default"
    assert asked == []


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_threads_are_as_asked_for_and_given_back(threads):
    with computing(threads + 1) as remarks:
        assert torch.get_num_threads() == threads + 1
        assert all(remark.startswith(f"{threads + 1} threads: the machine is busy") for remark in remarks)
    assert torch.get_num_threads() == threads


def test_a_run_that_goes_on_computes_with_the_threads_it_began_with(threads, tmp_path, monkeypatch):
    memory = tmp_path / "threads.json"
    monkeypatch.setattr(environment.machine, "free_threads", lambda most: (most + 2, "others use this machine"))
    with computing(None, memory) as remarks:
        assert torch.get_num_threads() == threads + 2
        assert remarks == [f"{threads + 2} threads: others use this machine"]
    monkeypatch.setattr(environment.machine, "free_threads", lambda most: (1, "now there are more of them"))
    with computing(None, memory) as remarks:
        assert torch.get_num_threads() == threads + 2
        assert remarks == [f"{threads + 2} threads: as this run began with"]
    with computing(None) as remarks:
        assert remarks == ["1 thread: now there are more of them"]
