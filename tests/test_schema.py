"""The documented tables: every column means something, and the columns that belong together are together."""

import pytest

from eebench.schema import KINDS, TABLES
from eebench.targets import SHARES


@pytest.mark.parametrize("name", TABLES)
def test_every_column_says_what_it_means(name):
    for column, meaning in TABLES[name].items():
        assert column == column.lower().strip()
        assert len(meaning) > 4, f"{name}.{column}"
        assert "\n" not in meaning


@pytest.mark.parametrize("name", TABLES)
def test_every_row_says_whose_it_is(name):
    if name in ("headlines", "pairs", "tiers"):  # over seeds, and pairs of methods
        assert next(iter(TABLES[name])) == "target"
    else:
        assert list(TABLES[name])[:2] == ["method", "seed"]


def test_costs_and_the_two_speedups_without_a_clock_are_in_every_scored_table():
    for name in ("curves", "operating_points"):
        assert {"gmacs", "gmacs_backbone", "gmacs_heads", "gmacs_gates"} <= set(TABLES[name])
        assert {"speedup_layers", "speedup_macs"} <= set(TABLES[name])
    assert {"speedup_cpu", "speedup_gpu"} <= set(TABLES["operating_points"])


def test_kinds_and_targets_are_explained_where_they_are_used():
    assert all(kind in TABLES["curves"]["kind"] for kind in KINDS)
    assert all(target in TABLES["operating_points"]["target"] for target in SHARES)
