import io
import math

import pytest
from rich.console import Console

from eebench.errors import UserError
from eebench.report import comparison_table, print_comparison, read_answer
from eebench.report.frames import load
from eebench.report.scene import Scene


def printed(run, width, *, terminal=True, **options):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
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
    for call in (lambda: comparison_table(three, "macs50"), lambda: printed(three, 80, target="macs50")):
        with pytest.raises(UserError, match=r"unknown target macs50; did you mean 'macs_50'"):
            call()


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_the_table_fits_the_console_and_uses_it(three, twelve, width):
    for run in (three, twelve):
        text = printed(run, width)
        assert max(len(line) for line in text.splitlines()) <= width
        rows = [line for line in text.splitlines() if "×" in line and "." in line]
        assert rows
        assert ("…" not in text) or width < 120
    head = next(line for line in printed(twelve, width).splitlines() if line.startswith("method"))
    assert ("knob" in head) == (width >= 160)
    assert ("95 %" in head) == (width >= 160)
    assert "Δ pt" in head


def test_twelve_rows_in_the_pages_order_and_the_answer_last(twelve):
    text = printed(twelve, 160)
    lines = text.splitlines()
    scene = Scene(load(twelve))
    expected = ["plain backbone", *(row["label"] for row in scene.race("drop_1").shown()[:11])]
    start = next(i for i, line in enumerate(lines) if line.startswith("method")) + 1
    shown = lines[start : start + 12]
    assert all(label in line for label, line in zip(expected, shown, strict=True))
    assert "4 more rows, baselines and bounds: in the report" in lines[start + 12]
    unbroken = printed(twelve, 80, terminal=False).splitlines()
    assert unbroken[-2:] == [scene.answer.sentence, scene.answer.trust]  # a pipe gets whole sentences
    assert " ".join(text.split()).endswith(" ".join(scene.answer.trust.split()))


def test_failures_and_marks_are_in_it(three, twelve):
    text = printed(three, 100)
    for words in ("loss became NaN", "± std over seeds", "n.s.", "PABEE"):
        assert words in text
    assert "~" not in text
    assert "×GPU" not in text
    assert "×GPU" in printed(twelve, 100)
    assert "at no more than 50 %" in printed(twelve, 200, target="macs_50")


def test_a_withheld_speed_up_says_so(tmp_path):
    from tests.report.fake_run import write_run

    run = write_run(tmp_path / "run", 2, seeds=(0, 1), withheld="a busy machine", troubles=False)
    assert any("PABEE" in line and "withheld" in line for line in printed(run, 120).splitlines())


def test_the_answer_as_plain_values(three):
    import json

    found = Scene(load(three)).answer
    told = read_answer(three)
    assert (told["kind"], told["sentence"], told["trust"]) == (found.kind, found.sentence, found.trust)
    assert json.loads(json.dumps(told)) == told
