"""What README and the cards say about eebench's own runs is what results/reference holds, to the digit."""

import json
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from eebench.report.derive import compare
from eebench.report.frames import load
from eebench.report.text import Writer, number

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "results" / "reference" / "digits-quick"


@cache
def digits():
    """The record, its comparison at one point of loss by (kind, method), the means of its summary, and its writer."""
    record = load(DIGITS)
    table = compare(record)
    table = table[table["target"] == "drop_1"].set_index(["kind", "method"])
    summary = record.optional["summary"].groupby(["method", "name"])["value"].mean()
    return record, table, summary, Writer(record)


def spread(row, name, write):
    return f"{write(row[name])} ± {write(row[f'{name}_std'])}"


def readme_rows():
    """README's results table: by MAC speed-up, means and standard deviations over the record's seeds."""
    record, table, _, write = digits()
    rows = table.xs("dynamic").sort_values("speedup_macs", ascending=False)
    lines = []
    for method, row in rows.iterrows():
        cells = [
            record.labels[method],
            spread(row, "score", write.score),
            f"{write.change(row['drop'])} ± {write.score(row['drop_std'])}",
            *(f"{number(row[name])} ± {number(row[f'{name}_std'])}" for name in ("speedup_layers", "speedup_macs")),
            f"{number(row['speedup_cpu'])} ± {number(row['speedup_cpu_std'])}",
            f"{write.gain(row['over_fixed'])} ± {write.score(row['over_fixed_std'])}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def card_sentence(method):
    """What a method's card says about the reference run."""
    record, table, summary, write = digits()
    row, plain = table.loc[("dynamic", method)], table.loc[("plain", "backbone")]
    seeds = ", ".join(map(str, record.seeds))
    tested = record.run["data"]["n_test"]
    return (
        f"`results/reference/digits-quick` (digits, `vit_micro`, budget quick, seeds {seeds}, {tested} test samples;"
        " mean ± standard deviation over seeds): at the knob chosen on validation data for one point of loss, accuracy"
        f" {spread(row, 'score', write.score)} % (plain backbone {spread(plain, 'score', write.score)} %) with"
        f" {spread(row, 'speedup_macs', number)} times fewer MACs, {spread(row, 'speedup_layers', number)} by layers,"
        f" {spread(row, 'speedup_cpu', number)} on the CPU; {write.gain(row['over_fixed'])} ±"
        f" {write.score(row['over_fixed_std'])} points over a fixed depth at the same MACs. Mean over the curve:"
        f" {write.gain(summary[method, 'gain_over_random'])} points over random exits,"
        f" {write.gain(summary[method, 'gain_over_fixed_depth'])} over fixed depth."
    )


def test_the_readmes_table_is_the_record():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\n".join(readme_rows()) in text
    record, table, _, write = digits()
    assert record.seeds == [0, 1, 2]
    plain = table.loc[("plain", "backbone")]
    assert f"Plain backbone: {spread(plain, 'score', write.score)} %, {write.gmacs(plain['gmacs'])} GMACs." in text


@pytest.mark.parametrize("method", sorted(p.parent.name for p in (ROOT / "methods").glob("*/README.md")))
def test_a_card_says_what_the_record_says(method):
    text = (ROOT / "methods" / method / "README.md").read_text(encoding="utf-8")
    assert card_sentence(method) in " ".join(text.split())


@pytest.mark.parametrize("folder", sorted(p for p in (ROOT / "results" / "reference").iterdir() if p.is_dir()))
def test_a_reference_record_is_whole_and_its_report_is_its_own(folder):
    record = load(folder)
    assert {cell["status"] for cell in record.run["cells"]} <= {"done", "skipped"}
    assert not record.run["environment"]["git_dirty"]
    report = ROOT / "reports" / "reference" / folder.name
    shown = pd.read_csv(report / "tables" / "comparison.csv")
    fresh = compare(record)
    assert shown["score"].to_numpy() == pytest.approx(fresh["score"].to_numpy())
    assert record.run["run"] in (report / "report.md").read_text(encoding="utf-8").replace("\\_", "_")


def test_the_benchmarks_figures_are_the_record():
    record = json.loads((ROOT / "results" / "reference" / "benchmarks-cpu.json").read_text())
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for result in record["results"]:
        assert f"| {result['case']} | {result['value']:.4g} {result['unit']} |" in text, result["case"]
    goals = [result["met"] for result in record["results"] if result["goal"] is not None]
    assert f"{sum(goals)} of {len(goals)} goals met." in text
