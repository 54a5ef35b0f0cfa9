"""What README and the cards say about eebench's own run is what results/reference holds, to the digit."""

import json
from pathlib import Path

import pandas as pd
import pytest

from eebench.plugins.registry import Registry
from eebench.record import read_record
from eebench.studies.expand import entries_of
from eebench.studies.file import read_study
from tests import runtimes_text
from tests.reference_text import (
    ELSEWHERE,
    Reference,
    between,
    card_paragraph,
    elsewhere,
    others,
    readme_block,
)
from tests.search_text import PAGE, search_page

ROOT = Path(__file__).parents[1]
RECORDS = sorted(p for p in (ROOT / "results" / "reference").iterdir() if (p / "run.json").exists())
CARDS = sorted(p.parent.name for p in (ROOT / "methods").glob("*/README.md"))


@pytest.fixture(scope="module")
def ref():
    return Reference.load()


def test_the_readmes_table_is_the_record(ref):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert between(text) == readme_block(ref)
    assert ref.run["spec"]["seeds"] == [0, 1, 2]


def test_the_readmes_other_records_are_the_records():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert between(text, ELSEWHERE) == elsewhere(others())


@pytest.mark.parametrize("method", CARDS)
def test_a_card_says_what_the_record_says(ref, method):
    text = (ROOT / "methods" / method / "README.md").read_text(encoding="utf-8")
    assert between(text) == card_paragraph(ref, method)


@pytest.mark.parametrize("folder", RECORDS, ids=lambda folder: folder.name)
def test_a_reference_record_is_whole_and_its_report_is_its_own(folder):
    record = read_record(folder)
    assert {cell.status for cell in record.cells} <= {"done", "skipped"}
    assert not record.environment["git_dirty"]
    report = ROOT / "reports" / "reference" / folder.name
    points = pd.read_csv(folder / "operating_points.csv")
    shown = pd.read_csv(report / "tables" / "operating_points.csv")
    assert set(shown["run"]) == {record.run}
    assert points.equals(shown.drop(columns=["run", "backbone", "dataset"]))
    assert record.run in (report / "report.md").read_text(encoding="utf-8").replace("\\_", "_")


def test_every_reference_record_has_its_study_file():
    """``studies/`` says how each record is made again: every setting that the file gives is the record's."""
    registry = Registry.installed()
    made = {}
    for path in sorted((ROOT / "studies").glob("*.toml")):
        for entry in entries_of(read_study(path), registry):
            made[entry.spec.dataset, entry.spec.backbone] = entry.spec
    for folder in RECORDS:
        spec = json.loads((folder / "run.json").read_text(encoding="utf-8"))["spec"]
        ours = made[spec["dataset"], spec["backbone"]].model_dump(mode="json")
        differ = {key for key in spec if ours[key] != spec[key]} - {"methods", "targets", "plugins", "threads"}
        assert not differ, folder.name
        assert set(ours["methods"]) >= set(spec["methods"])


def test_the_page_of_the_search_is_the_record():
    assert PAGE.read_text(encoding="utf-8") == search_page()


@pytest.mark.parametrize("folder", RECORDS, ids=lambda folder: folder.name)
def test_no_exit_of_a_reference_is_at_chance(folder):
    exits = pd.read_csv(folder / "exits.csv")
    assert exits["live"].astype(str).str.lower().eq("true").all()


def test_the_benchmarks_figures_are_the_record():
    record = json.loads((ROOT / "results" / "reference" / "benchmarks-cpu.json").read_text())
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for result in record["results"]:
        assert f"| {result['case']} | {result['value']:.4g} {result['unit']} |" in text, result["case"]
    goals = [result["met"] for result in record["results"] if result["goal"] is not None]
    assert f"{sum(goals)} of {len(goals)} goals met." in text


def test_the_busy_table_is_its_record():
    record = json.loads((ROOT / "results" / "reference" / "benchmarks-busy-cpu.json").read_text())
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for result in record["results"]:
        assert f" {result['detail']['busy']:.2f}× ({100 * result['value']:.1f} %) |" in text, result["case"]
        assert f"| {result['detail']['quiet']:.2f}× |" in text, result["case"]
        assert result["met"] in (None, True)


def test_the_page_of_all_records_has_them_all_and_says_what_readme_repeats():
    page = ROOT / "reports" / "reference" / "all"
    runs = pd.read_csv(page / "tables" / "runs.csv").set_index("run")
    records = {record.run: record for record in map(read_record, RECORDS)}
    assert set(runs.index) == set(records)
    for name, record in records.items():
        assert runs.loc[name, "finished"] == record.finished, "made from this very record"
        assert runs.loc[name, "seeds"] == len(record.spec["seeds"])
    said = "over three tasks nobody ranks apart" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert said == ("nobody ranks apart" in (page / "report.md").read_text(encoding="utf-8"))


def test_the_tables_of_runtimes_and_serving_are_their_record():
    text = runtimes_text.PAGE.read_text(encoding="utf-8")
    assert between(text, runtimes_text.BEGIN) == runtimes_text.tables()
    results = json.loads(runtimes_text.RECORD.read_text(encoding="utf-8"))["results"]
    at = {result["case"]: result for result in results}
    for runtime, lost in (("eager", "1.2"), ("onnxruntime", "4.7")):
        value = at[f"vit_s, everybody stops at block 12 of 12, {runtime}"]["value"]
        assert f"{100 * (1 - value):.1f}" == lost
    assert at["vit_s, everybody stops at block 12 of 12, onnxruntime"]["detail"]["plain_over_eager"] == pytest.approx(
        2.09, abs=0.005
    )
    loaded = at["vit_ti, load 0.8: p50 simulated, off the real service's by"]
    assert f"{100 * loaded['value']:.0f}" == "22"
    assert f"{100 * (1 - loaded['detail']['service_over_alone']):.1f}" == "5.5"
