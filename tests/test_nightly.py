"""What the nightly comparison finds, and what it lets pass."""

import pandas as pd
import pytest

from tests.nightly import KEYS, REFERENCE, differences


@pytest.fixture
def tables():
    found = {name: pd.read_csv(REFERENCE / f"{name}.csv") for name in KEYS}
    return {name: table[table["seed"] == 0].drop(columns="seed") for name, table in found.items()}


def changed(tables, name, column, change, rows=slice(None)):
    table = tables[name].copy()
    table.iloc[rows, table.columns.get_loc(column)] = change(table[column].iloc[rows])
    return tables | {name: table}


@pytest.mark.parametrize("same", [True, False])
def test_the_same_tables_do_not_differ_but_for_time(tables, same):
    slower = changed(tables, "training", "seconds", lambda s: s * 3)
    assert differences(tables, slower, same=same) == []


def test_one_digit_is_found_on_the_same_machine(tables):
    other = changed(tables, "operating_points", "score", lambda s: s + 1e-6, slice(1))
    assert [line.partition(":")[0] for line in differences(tables, other, same=True)] == ["operating_points.score"]
    assert differences(tables, other, same=False) == []


def test_another_machine_may_differ_in_scores_but_not_in_costs(tables):
    assert differences(tables, changed(tables, "exits", "score", lambda s: s - 0.1), same=False)
    assert differences(tables, changed(tables, "exits", "gmacs", lambda s: s * 1.0001, slice(1)), same=False)


def test_a_missing_row_is_found(tables):
    short = tables | {"exits": tables["exits"].iloc[1:]}
    assert differences(tables, short, same=False)[0].startswith("exits: rows differ")
