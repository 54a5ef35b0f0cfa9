"""Rendered once, looked at by many tests."""

from pathlib import Path

import pytest

from eebench.report import render
from tests.report.fake_run import write_run


@pytest.fixture(scope="session")
def three(tmp_path_factory) -> Path:
    """Three methods, two seeds, no GPU, a failed and a skipped cell."""
    return write_run(tmp_path_factory.mktemp("runs") / "three", 3, seeds=(0, 1))


@pytest.fixture(scope="session")
def twelve(tmp_path_factory) -> Path:
    """Twelve methods, one seed, with a GPU."""
    return write_run(tmp_path_factory.mktemp("runs") / "twelve", 12, seeds=(0,), gpu=True)


@pytest.fixture(scope="session")
def report(three, tmp_path_factory) -> dict[str, Path]:
    """Files of the three methods' report."""
    return render(three, tmp_path_factory.mktemp("reports") / "three")


@pytest.fixture(scope="session")
def large_report(twelve, tmp_path_factory) -> dict[str, Path]:
    """Files of the twelve methods' report."""
    return render(twelve, tmp_path_factory.mktemp("reports") / "twelve")
