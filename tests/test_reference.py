"""What README and the cards say about eebench's own run is what results/reference holds, to the digit."""

import json
from pathlib import Path

import pandas as pd
import pytest

from eebench.record import read_record
from tests.reference_text import REFERENCE, Reference, between, card_paragraph, readme_block
from tests.search_text import PAGE, search_page

ROOT = Path(__file__).parents[1]
CARDS = sorted(p.parent.name for p in (ROOT / "methods").glob("*/README.md"))


@pytest.fixture(scope="module")
def ref():
    return Reference.load()


def test_the_readmes_table_is_the_record(ref):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert between(text) == readme_block(ref)
    assert ref.run["spec"]["seeds"] == [0, 1, 2]


@pytest.mark.parametrize("method", CARDS)
def test_a_card_says_what_the_record_says(ref, method):
    text = (ROOT / "methods" / method / "README.md").read_text(encoding="utf-8")
    assert between(text) == card_paragraph(ref, method)


@pytest.mark.parametrize(
    "folder", sorted(p for p in (ROOT / "results" / "reference").iterdir() if (p / "run.json").exists())
)
def test_a_reference_record_is_whole_and_its_report_is_its_own(folder):
    record = read_record(folder)
    assert {cell.status for cell in record.cells} <= {"done", "skipped"}
    assert not record.environment["git_dirty"]
    report = ROOT / "reports" / "reference" / folder.name
    points = pd.read_csv(folder / "operating_points.csv")
    assert points.equals(pd.read_csv(report / "tables" / "operating_points.csv"))
    assert record.run in (report / "report.md").read_text(encoding="utf-8").replace("\\_", "_")


def test_the_page_of_the_search_is_the_record():
    assert PAGE.read_text(encoding="utf-8") == search_page()


def test_no_exit_of_the_reference_is_at_chance():
    exits = pd.read_csv(REFERENCE / "exits.csv")
    assert exits["live"].astype(str).str.lower().eq("true").all()


def test_the_benchmarks_figures_are_the_record():
    record = json.loads((ROOT / "results" / "reference" / "benchmarks-cpu.json").read_text())
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for result in record["results"]:
        assert f"| {result['case']} | {result['value']:.4g} {result['unit']} |" in text, result["case"]
    goals = [result["met"] for result in record["results"] if result["goal"] is not None]
    assert f"{sum(goals)} of {len(goals)} goals met." in text
