"""Exact multiply-accumulates per exit of every method on tiny networks, against ``tests/golden/macs.csv``.

A number that changes is a change of what inference runs or of what is charged, and must be meant: write the new table
by ``python tests/identity.py`` (its first part) and say in the commit why.
"""

import csv
from pathlib import Path

import pytest

from tests.identity import COSTS, METHODS, cases

GOLDEN = Path(__file__).parents[1] / "golden" / "macs.csv"
MARKS = [pytest.param(label, marks=[pytest.mark.slow] if "[" in label else []) for label in METHODS]


@pytest.fixture(scope="module")
def golden():
    with GOLDEN.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COSTS
    return rows


@pytest.mark.parametrize("label", MARKS)
def test_macs_of_every_exit_are_those_on_record(golden, label):
    expected = [row for row in golden if row[0] == label]
    assert expected
    assert [[str(cell) for cell in row] for case in cases([label]) for row in case.costs()] == expected
