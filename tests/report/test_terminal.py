import io
import math

import pytest
from rich.console import Console

from eebench.errors import UserError
from eebench.report import comparison_table, print_comparison


def printed(run, width, **options):
    console = Console(file=io.StringIO(), width=width)
    print_comparison(run, console, **options)
    return console.file.getvalue()


def test_rows_are_plain_dictionaries(three):
    rows = comparison_table(three)
    assert [row["kind"] for row in rows].count("dynamic") == 3
    assert {row["target"] for row in rows} == {"drop_1"}
    assert rows[0]["kind"] == "plain"
    assert rows[0]["drop"] == 0
    assert rows[0]["speedup_gpu"] is None
    assert not any(isinstance(value, float) and math.isnan(value) for row in rows for value in row.values())
    assert {row["target"] for row in comparison_table(three, "macs_50")} == {"macs_50"}


def test_unknown_target(three):
    with pytest.raises(UserError, match=r"unknown target macs50; did you mean 'macs_50'"):
        comparison_table(three, "macs50")


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_console(three, twelve, width):
    for run in (three, twelve):
        text = printed(run, width)
        assert max(len(line) for line in text.splitlines()) <= width
        rows = [line for line in text.splitlines() if "×" in line and "." in line]
        assert len({line.rstrip()[-5:].count(".") for line in rows[1:]}) == 1  # the last column is whole
        assert "…" not in text or "LGViT [pos" in text


def test_baselines_failures_and_marks_are_in_it(three, twelve):
    text = printed(three, 100)
    for words in (
        "PABEE †",
        "fixed depth",
        "random exits",
        "oracle (bound)",
        "★",
        "loss became NaN",
        "± std over seeds",
    ):
        assert words in text
    assert "×GPU" not in text
    assert "×GPU" in printed(twelve, 100)
    assert "one seed" in printed(twelve, 100)
    assert "at no more than 50 %" in printed(twelve, 100, target="macs_50")
