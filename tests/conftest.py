"""What every test runs under, and the one finished run that tests of runs, tables and the command line share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, here and in the processes that tests start

import json
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

PLUGIN = '''
from eebench.api import Method, Phase
from eebench.parts import LinearExit
from eebench.rules import Confidence


class Failing(Method):
    """A linear exit whose loss raises."""

    name = "failing"

    def build(self, backbone, task):
        return {6: LinearExit(backbone.layouts[5], task.outputs)}

    def rule(self, task):
        return Confidence()

    def phases(self, task):
        return [Phase("only", self.loss)]

    def loss(self, step):
        raise ArithmeticError("this loss\\nalways raises")


class Shy(Failing):
    """Makes no sense on images."""

    name = "shy"
    needs = {"text"}
'''


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """What eebench keeps between runs goes where pytest cleans up, not into the home of whoever runs the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def typed(monkeypatch, capsys):
    """Type a command, ``eebench`` left out: exit status, standard output, standard error."""
    from eebench.cli import main

    def run(line):
        monkeypatch.setattr(sys, "argv", ["eebench", *shlex.split(line)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return caught.value.code or 0, said.out, said.err

    return run


@pytest.fixture(scope="session")
def plugin(tmp_path_factory) -> Path:
    """A plugin file with two methods: ``failing`` raises while it trains, ``shy`` runs on no images."""
    path = tmp_path_factory.mktemp("plugin") / "odd_ones.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, plugin) -> SimpleNamespace:
    """A finished run of two methods, one that fails and one that skips: ``spec``, ``tables``, ``path``, ``results``."""
    import eebench

    results = tmp_path_factory.mktemp("results")
    methods = ("pabee[blocks=3+6+9]", "jei_dnn[blocks=4+8]", "failing", "shy")
    values = {"methods": methods, "budget": "smoke", "device": "cpu", "latency_samples": 8, "static": (0.25, 1.0)}
    values["dataset"] = "digits"
    spec = eebench.make_spec(targets=("drop_1", "macs_75", "macs_50", "macs_25"), **values)
    with pytest.warns(RuntimeWarning, match="failing seed 0 failed: ArithmeticError"):
        tables = eebench.run(spec, results=results, plugins=[plugin])
    path = Path(tables["curves"].attrs["path"])
    spec = eebench.make_spec(**json.loads((path / "run.json").read_text())["spec"])  # as it was filled in
    reason = "ArithmeticError: this loss always raises"
    return SimpleNamespace(spec=spec, tables=tables, path=path, results=results, reason=reason)


@pytest.fixture
def copied(smoke, tmp_path) -> Path:
    """The results folder of the smoke run once more, to run in again."""
    shutil.copytree(smoke.results, tmp_path / "results")
    return tmp_path / "results"
