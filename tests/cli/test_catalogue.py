"""The catalogue of bad input: one line that says what is wrong, exit status 2, nothing begun, nothing left behind."""

import functools
import os
import shlex
import sys

import pytest

from eebench.cli import main
from eebench.runs.store import Store
from tests.cli.catalogue import BAD, LONG
from tests.cli.mishaps import write_mishaps


@pytest.fixture(scope="module")
def mishaps(smoke, tmp_path_factory):
    """A folder with what bad input needs."""
    folder = tmp_path_factory.mktemp("mishaps")
    write_mishaps(folder)
    (folder / "foreign" / smoke.path.name).mkdir(parents=True)
    (folder / "foreign" / smoke.path.name / "thesis.tex").write_text("mine")
    return folder


@pytest.fixture(scope="module", autouse=True)
def images():
    """The default data set's images are read once, not by each of twenty lines that get as far."""
    from eebench.data.kinds import mnist5k

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist5k, "read_mnist5k", functools.cache(mnist5k.read_mnist5k))
        yield


@pytest.fixture(scope="module")
def before(mishaps):
    return listing(mishaps)


def listing(folder):
    """Every file and folder below, whatever is in a name; Python's own caches are nobody's doing."""
    found = (os.path.join(here, name) for here, folders, files in os.walk(folder) for name in [*folders, *files])
    return sorted(name for name in found if "__pycache__" not in name)


def test_it_is_large_enough_to_be_called_a_catalogue():
    assert len(BAD) >= 250


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line_and_status_2(line, mishaps, before, smoke, monkeypatch, capsys):
    def begun(*args, **kwargs):
        raise AssertionError("work began")

    monkeypatch.chdir(mishaps)
    monkeypatch.setattr(Store, "__init__", begun)
    words = [word.replace("{long}", LONG).replace("{run}", str(smoke.path)) for word in shlex.split(line)]
    monkeypatch.setattr(sys, "argv", ["eebench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.endswith("\n")
    assert said.err.count("\n") == 1
    assert BAD[line] in said.err
    assert said.err[:-1].isprintable()
    assert listing(mishaps) == before


def test_results_within_a_run_are_called_by_its_name(smoke, monkeypatch, tmp_path):
    from eebench.cli.input import run_directory

    monkeypatch.chdir(smoke.path / "cells")
    assert run_directory(type(smoke.path)(".."), tmp_path).name == smoke.path.name


def test_signs_that_a_terminal_obeys_are_shown_and_not_obeyed(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["eebench", "report", "\x1b[2J\x1b]0;owned\x07run"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "error: no run at \\x1b[2J\\x1b]0;owned\\x07run (no run.json)\n"
