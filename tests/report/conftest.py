"""Rendered once, looked at by many tests."""

from pathlib import Path

import pytest

from eebench.report import render
from eebench.report.frames import load
from eebench.report.scene import Scene
from tests.report.fake_run import write_run


@pytest.fixture(scope="session")
def three(tmp_path_factory) -> Path:
    """Three methods, two seeds, no GPU, a failed and a skipped cell."""
    return write_run(tmp_path_factory.mktemp("runs") / "three", 3, seeds=(0, 1))


@pytest.fixture(scope="session")
def twelve(tmp_path_factory) -> Path:
    """Twelve methods, three seeds, a GPU, static models, exits that never learnt."""
    path = tmp_path_factory.mktemp("runs") / "twelve"
    return write_run(path, 12, seeds=(0, 1, 2), gpu=True, statics=(3, 6), dead=2, samples="images")


@pytest.fixture(scope="session")
def texts(tmp_path_factory) -> Path:
    """Texts on which every rule is slower than a fixed depth of its own model."""
    path = tmp_path_factory.mktemp("runs") / "texts"
    return write_run(path, 4, seeds=(0, 1, 2), text=True, slow=1.6, samples="texts", troubles=False)


@pytest.fixture(scope="session")
def chance(tmp_path_factory) -> Path:
    """A smoke run in which nobody learnt anything."""
    path = tmp_path_factory.mktemp("runs") / "chance"
    return write_run(path, 3, chance=True, budget="smoke", samples="images", troubles=False)


@pytest.fixture
def scene(three) -> Scene:
    """The three methods' scene, free to be changed."""
    return Scene(load(three))


@pytest.fixture(scope="session")
def large(twelve) -> Scene:
    """The twelve methods' scene, to be left as it is."""
    return Scene(load(twelve))


@pytest.fixture(scope="session")
def report(three, tmp_path_factory) -> dict[str, Path]:
    """Files of the three methods' report."""
    return render(three, tmp_path_factory.mktemp("reports") / "three")


@pytest.fixture(scope="session")
def large_report(twelve, tmp_path_factory) -> dict[str, Path]:
    """Files of the twelve methods' report, without the figures for paper: they take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eebench.report.writer.PAPER", ())
        return render(twelve, tmp_path_factory.mktemp("reports") / "twelve")
