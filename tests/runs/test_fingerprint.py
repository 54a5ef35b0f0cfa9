"""What makes a finished cell stale: the engine's own code, as far as a cell depends on it."""

import shutil
from pathlib import Path

import pytest

import eebench
from eebench.runs import fingerprint
from eebench.runs.fingerprint import ENGINE, engine_sha256, method_sha256

HOME = Path(eebench.__file__).parent


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package that may be edited, and the way to its fingerprint."""
    home = shutil.copytree(HOME, tmp_path / "eebench", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "__file__", str(home / "runs" / "fingerprint.py"))
    return home


def of(home):
    assert home.is_dir()
    return engine_sha256.__wrapped__()


def test_a_copy_elsewhere_is_the_same_engine(copy):
    assert of(copy) == engine_sha256()


@pytest.mark.parametrize(
    "file", ["engine/train.py", "engine/model.py", "backbones/text.py", "data/splits.py", "engine/macs.py"]
)
def test_code_that_makes_cells_counts(copy, file):
    (copy / file).write_text((copy / file).read_text() + "\nX = 1\n")
    assert of(copy) != engine_sha256()


@pytest.mark.parametrize("file", ["runs/score.py", "report/writer.py", "measure/statistics.py", "timing/paths.py"])
def test_code_that_every_run_runs_anew_does_not(copy, file):
    (copy / file).write_text((copy / file).read_text() + "\nX = 1\n")
    assert of(copy) == engine_sha256()


def test_every_part_exists():
    assert all((HOME / part).exists() for part in ENGINE)


TYPED = """
from eebench.api import Method
class Typed(Method):
    name = "typed"
    share = {share}
    def rule(self, task):
        return [knob * {factor} for knob in (1, 2)]
"""


def typed(**values):
    """A class as a prompt makes it: no file has its source."""
    names = {"__name__": "no_such_module"}
    exec(TYPED.format(**values), names)
    return names["Typed"]


def test_a_class_without_a_file_is_known_by_its_code():
    first = method_sha256(typed(share=0.5, factor=2))
    assert first == method_sha256(typed(share=0.5, factor=2))
    assert first != method_sha256(typed(share=0.6, factor=2))
    assert first != method_sha256(typed(share=0.5, factor=3))
