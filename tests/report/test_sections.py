import re

import pytest

from eebench.report import calibration, curves, details, provenance, sections
from eebench.report.derive import compare
from eebench.report.frames import load
from eebench.report.pareto import Scene
from eebench.report.text import Writer
from eebench.schema import TARGETS


@pytest.fixture(scope="module")
def scene(three):
    record = load(three)
    return Scene(record, compare(record), Writer(record))


def tables(blocks):
    for block in blocks:
        if block.kind == "table":
            yield block
        elif block.kind == "fold":
            yield from tables(block.blocks)


def everything(scene):
    drawn = {"claimed", "cost_breakdown", "reliability", "exit_shares", "exit_scores", "exit_latency_cpu"}
    return [
        sections.verdict(scene), sections.comparison(scene), curves.tradeoffs(scene, {"pareto_macs", "pareto_cpu"}),
        curves.claims(scene, drawn), details.exits(scene, drawn), details.knobs(scene), details.costs(scene, drawn),
        *calibration.calibration(scene, drawn), provenance.troubles(scene), provenance.provenance(scene),
        provenance.glossary(), provenance.citations(scene),
    ]  # fmt: skip


def test_every_row_is_as_wide_as_its_table_and_ids_are_unique(scene):
    found = [table for section in everything(scene) for table in tables(section.blocks)]
    assert len({table.id for table in found}) == len(found) > 20
    for table in found:
        assert table.rows, table.id
        assert {len(row.cells) for row in table.rows} == {len(table.columns)}, table.id


def test_every_figure_leads_to_a_table(scene):
    found = everything(scene)
    ids = {table.id for section in found for table in tables(section.blocks)} | {section.id for section in found}
    figures = [block for section in found for block in section.blocks if block.kind == "figure"]
    assert len(figures) == 10
    assert {figure.table for figure in figures} <= ids
    assert all(re.search(r"\d", figure.caption) for figure in figures if not figure.name.endswith("_methods"))


def cell(table, row, column):
    index = [c.name for c in table.columns].index(column)
    return next(r.cells[index] for r in table.rows if r.cells[0].text == row)


def test_comparison_rows(scene):
    table = sections.comparison_rows(scene, "drop_1")
    assert [row.role for row in table.rows].count("bound") == 3
    assert table.rows[0].role == "plain"
    row = scene.points("dynamic", "pabee").set_index("target").loc["drop_1"]
    assert cell(table, "PABEE †", "Δ score, pt").text == f"−{100 * row['drop']:.1f} ± {100 * row['drop_std']:.1f}"
    assert (
        cell(table, "PABEE †", "Δ score, pt").small == f"[−{100 * row['drop_high']:.1f}, −{100 * row['drop_low']:.1f}]"
    )
    gain = cell(table, "PABEE †", "Over fixed depth, pt")
    assert f"{100 * row['over_fixed']:+.1f} ± {100 * row['over_fixed_std']:.1f}".replace("-", "−") in gain.text
    assert gain.small.startswith("[")
    assert cell(table, "fixed depth, PALBERT", "Over fixed depth, pt").text == "–"
    assert cell(table, "PABEE †", "× MACs").text == f"{row['speedup_macs']:.2f}×"
    assert cell(table, "PABEE †", "Seeds").text == "2 of 2"
    assert cell(table, "PALBERT", "Seeds").text == "1 of 2"
    assert cell(table, "plain backbone", "Δ score, pt").text == "–"
    assert cell(table, "fixed depth, PALBERT", "Knob").text == "block 11"
    assert cell(table, "random exits, PALBERT †", "× CPU").text == "–"
    assert cell(table, "oracle, PALBERT", "Knob").text == "–"


def test_a_table_a_target(scene):
    section = sections.comparison(scene)
    assert [table.id for table in section.blocks if table.kind == "table" and table.choice] == [
        f"comparison-{target}" for target in TARGETS
    ]


def test_stars_are_on_the_front(scene):
    for target in TARGETS:
        table = sections.comparison_rows(scene, target)
        rows = scene.table[scene.table["target"] == target]
        place = [column.name for column in table.columns].index("GMACs")
        stars = ["★" in row.cells[place].text for row in table.rows]
        assert stars == list(rows["front_macs"])
        assert any(stars)


def test_knob_tables_keep_what_validation_chose(scene):
    fold = next(b for b in details.knobs(scene).blocks if b.kind == "fold" and b.summary.startswith("PABEE"))
    marked = {
        (row.cells[1].text, name)
        for row in fold.blocks[0].rows
        for name in re.findall(r"drop_1|macs_\d\d", row.cells[0].text)
    }
    assert marked == {(str(seed), target) for seed in (0, 1) for target in TARGETS}
    knobs = [row.cells[0].sort for row in fold.blocks[0].rows if row.cells[1].text == "0"]
    assert knobs == sorted(knobs)
    assert len(knobs) < 36 == scene.record.test("dynamic").query("method == 'pabee' and seed == 0").shape[0]


def test_long_sweeps_are_thinned_but_keep_their_ends(scene):
    sweep = scene.record.test("dynamic").query("method == 'pabee' and seed == 0")
    thin = details._thin(sweep, {(0, sweep["knob"].iloc[7]): ["macs_50"]}, 5)
    assert {sweep["knob"].min(), sweep["knob"].max(), sweep["knob"].iloc[7]} <= set(thin["knob"])
    assert len(thin) <= 8


def test_scenarios_compare_with_the_plain_backbone_of_the_same_batch(scene):
    table = next(t for t in tables(curves.claims(scene, set()).blocks) if t.id == "scenarios")
    latency = scene.record.latency
    plain = latency.query("method == 'backbone' and batch_size == 8")["mean_ms"].mean()
    for name in ("batch", "wait"):
        rows = latency.query("method == 'pabee' and scenario == @name and path == 'drop_1'")
        shown = next(r for r in table.rows if r.cells[0].text == "PABEE" and r.cells[2].text == name)
        assert shown.cells[5].text == f"{plain / rows['mean_ms'].mean():.2f}×"


def test_provenance_has_what_it_takes(scene):
    run = scene.record.run
    terms = dict(next(b for b in provenance.provenance(scene).blocks if b.kind == "terms").items)
    assert terms["spec sha256"] == run["spec_sha256"]
    assert terms["split sha256"] == run["data"]["split_sha256"]
    assert terms["git"] == f"{run['environment']['git_sha']}, with uncommitted changes"
    assert terms["operators not counted"] == "aten::softmax 12, aten::gelu 12"
    assert "torch 2.9.0" in terms["versions"]
    assert terms["seeds"] == "0, 1"
    assert provenance.provenance(scene).blocks[0].text.startswith("eebench run --methods")


def test_links_are_made_from_arxiv_numbers_and_addresses_only(scene):
    table = next(t for t in tables(provenance.citations(scene).blocks) if t.id == "papers")
    links = {row.cells[0].text: row.cells[2].link for row in table.rows}
    assert set(links.values()) == {"https://arxiv.org/abs/2006.04152"}
    bad = sections.simple_table("t", "c", ["Link"], [["javascript:alert(1)"], ["see https://a.b or so"]])
    assert [row.cells[0].link for row in provenance._linked(bad).rows] == ["", ""]
