import re

import numpy as np
import pandas as pd
import pytest

from eebench.report import calibration, comparison, curves, details, first, paper, provenance
from eebench.report.frames import load
from eebench.report.scene import Scene
from eebench.report.singles import simple_table
from tests.report.fake_run import TARGETS, write_run

DRAWN = {"overview_macs", "overview_cpu", "methods_macs", "methods_cpu", "claimed", "cost_breakdown", "reliability",
         "exit_shares", "exit_scores", "exit_latency_cpu"}  # fmt: skip


def tables(blocks):
    for block in blocks:
        if block.kind == "table":
            yield block
        elif block.kind == "fold":
            yield from tables(block.blocks)


def figures(blocks):
    return [block for block in blocks if block.kind == "figure"]


def everything(scene):
    return [
        first.first_screen(scene, DRAWN), comparison.comparison(scene), curves.tradeoffs(scene, DRAWN),
        curves.claims(scene, DRAWN), details.exits(scene, DRAWN), details.knobs(scene), details.costs(scene, DRAWN),
        *calibration.calibration(scene, DRAWN), provenance.troubles(scene), provenance.provenance(scene),
        paper.paper_kit(scene, sorted(DRAWN), ["curves.csv"]), provenance.glossary(scene),
    ]  # fmt: skip


def cell(table, row, column):
    index = [c.name for c in table.columns].index(column)
    return next(r.cells[index] for r in table.rows if r.cells[0].text == row)


def test_every_row_is_as_wide_as_its_table_and_ids_are_unique(scene, large):
    for which in (scene, large):
        found = [table for section in everything(which) for table in tables(section.blocks)]
        assert len({table.id for table in found}) == len(found) > 20
        for table in found:
            assert table.rows, table.id
            assert {len(row.cells) for row in table.rows} == {len(table.columns)}, table.id


def test_every_figure_leads_to_its_table_and_its_csv(scene):
    found = everything(scene)
    ids = {table.id for section in found for table in tables(section.blocks)} | {section.id for section in found}
    shown = [figure for section in found for figure in figures(section.blocks)]
    assert len(shown) == len(DRAWN)
    assert {figure.table for figure in shown} <= ids
    assert next(f.table for f in shown if f.name == "methods_cpu") == "times-cpu"
    assert {f.csv for f in shown} <= {*scene.record.tables, "comparison"}
    assert all(re.search(r"\d", f.caption) for f in shown if not f.name.startswith("methods_"))


def test_the_times_behind_a_figure_are_milliseconds(scene):
    table = next(t for t in tables(curves.tradeoffs(scene, DRAWN).blocks) if t.id == "times-cpu")
    row = scene.points("dynamic", "pabee").set_index("target").loc["drop_1"]
    shown = next(r for r in table.rows if [c.text for c in r.cells[:2]] == ["PABEE", "at most 1 point lost"])
    assert shown.cells[2].sort == pytest.approx(row["cpu_mean_ms"])
    assert shown.cells[4].sort == pytest.approx(row["cpu_p95_ms"])


def test_comparison_rows(scene):
    table = comparison.target_table(scene, "drop_1")
    assert table.choice == "at most 1 point lost"
    assert [row.role for row in table.rows].count("bound") == 3
    assert table.rows[0].role == "plain"
    row = scene.points("dynamic", "pabee").set_index("target").loc["drop_1"]
    name = next(r.cells[0].text for r in table.rows if r.cells[0].text.startswith("PABEE"))
    change = cell(table, name, "Δ score, pt")
    assert change.text == f"−{100 * row['drop']:.1f} ± {100 * row['drop_std']:.1f}"
    interval = f"[−{100 * row['drop_high']:.1f}, −{100 * row['drop_low']:.1f}]".replace("−-", "+")
    assert change.small == (f"n.s. {interval}" if row["unsure_drop"] else interval)
    assert change.muted == row["unsure_drop"]
    assert change.sort == pytest.approx(-100 * row["drop"])
    gain = cell(table, name, "Over fixed depth, pt")
    assert f"{100 * row['over_fixed']:+.1f} ± {100 * row['over_fixed_std']:.1f}".replace("-", "−") in gain.text
    assert cell(table, name, "× MACs").sort == pytest.approx(row["speedup_macs"])
    assert cell(table, name, "MMACs").text == f"{1000 * row['gmacs']:.2f}"
    assert cell(table, name, "Seeds").text == "2 of 2"
    assert cell(table, "plain backbone", "Δ score, pt").text == "–"
    assert "~" not in "".join(c.text + c.small for r in table.rows for c in r.cells)


def test_rows_are_in_the_order_of_the_race_and_baselines_under_their_method(large):
    for target in TARGETS:
        table, race = comparison.target_table(large, target), large.race(target)
        shown = [row for row in table.rows if row.role == "method"]
        expected = race.shown()
        assert [row.below for row in shown] == [not race.ranks(row) for row in expected]
        assert [row.below for row in shown] == sorted(row.below for row in shown)
        speeds = [r[race.speed] for r in expected if race.ranks(r)]
        if target == "drop_1":
            assert speeds == sorted(speeds, reverse=True)
        mother = None
        for row in table.rows:
            if row.role == "method":
                mother = row
            elif row.role == "baseline":
                assert mother is not None
                assert mother.below == row.below
                assert row.cells[0].text.startswith(("fixed depth", "random exits"))


def test_of_all_fixed_depths_the_best_is_a_row_of_its_own(large):
    best = large.race("drop_1").best("fixed")
    rows = comparison.target_table(large, "drop_1").rows
    own = [r for r in rows if r.role == "method" and r.cells[0].text.startswith("fixed depth of ")]
    assert [r.cells[0].text for r in own] == [f"fixed depth of {best['label']}"]


def test_knobs_say_which_way_they_go(scene):
    assert comparison.direction(scene, "pabee") == "higher: stops later"
    sweep = scene.record.tables["curves"]
    mine = sweep["method"] == "pabee"
    scene.record.tables["curves"] = sweep.assign(knob=np.where(mine, -sweep["knob"], sweep["knob"]))
    assert comparison.direction(scene, "pabee") == "higher: stops earlier"
    scene.record.tables["curves"] = sweep.assign(knob=np.where(mine & (sweep["seed"] == 0), -1, 1) * sweep["knob"])
    assert comparison.direction(scene, "pabee") == ""  # seeds disagree: nothing is said


def test_bars_are_shares_of_the_largest_speed_up(scene):
    table = comparison.target_table(scene, "drop_1")
    index = [c.name for c in table.columns].index("× CPU")
    bars = [(r.cells[index].bar, r.cells[index].sort) for r in table.rows if r.cells[index].bar is not None]
    largest = max(value for _, value in bars)
    assert largest > 1
    assert all(bar == pytest.approx(value / largest) for bar, value in bars)


def test_more_is_better_sorts_from_large_to_small_first(scene):
    columns = {c.name: c.first for c in comparison.target_table(scene, "drop_1").columns}
    assert all(columns[name] == "descending" for name in columns if name.startswith("×"))
    assert columns["Δ score, pt"] == "descending"
    assert columns["MMACs"] == columns["Mean exit"] == "ascending"


def test_what_was_withheld_says_why(tmp_path):
    scene = Scene(load(write_run(tmp_path / "run", 2, seeds=(0, 1, 2), withheld="a busy machine", troubles=False)))
    table = comparison.target_table(scene, "drop_1")
    shown = next(r for r in table.rows if r.cells[0].text.startswith("PABEE"))
    held = shown.cells[[c.name for c in table.columns].index("× CPU")]
    assert (held.text, held.small, held.muted) == ("withheld", "a busy machine", True)
    assert shown.below


def test_stars_are_on_the_front(large):
    for target in TARGETS:
        table = comparison.target_table(large, target)
        for name, mark in (("× MACs", "front_macs"), ("× CPU", "front_cpu"), ("× GPU", "front_gpu")):
            place = [column.name for column in table.columns].index(name)
            stars = sum("★" in row.cells[place].text for row in table.rows)
            rows = large.table[(large.table["target"] == target) & large.table[mark]]
            assert stars >= len(rows[rows["kind"] != "fixed"]) > 0


def test_tiers_and_pairs_are_shown(large):
    found = {table.id: table for table in tables(comparison.comparison(large).blocks)}
    assert sum(len(row.cells[1].text.split(", ")) for row in found["tiers"].rows) == 12
    pairs = large.record.table("pairs").query("target == 'drop_1'")
    assert len(found["pairs"].rows) == len(pairs) == 66
    for row in found["pairs"].rows:
        assert row.cells[2].muted == (row.cells[4].sort >= 0.05)
    tier = cell(comparison.target_table(large, "drop_1"), "BERxiT", "Tier")
    assert tier.sort == large.record.table("tiers").set_index(["target", "method"])["tier"][("drop_1", "berxit")]


def test_static_models_and_training_costs_are_shown(large):
    labels = [row.cells[0].text for row in comparison.target_table(large, "macs_50").rows]
    assert "static model, 3 blocks" in [label.removesuffix(" †") for label in labels]
    static = next(r for r in comparison.target_table(large, "macs_50").rows if r.cells[0].text.startswith("static"))
    assert static.cells[1].text.startswith("blocks ")
    table = next(t for t in tables(details.costs(large, DRAWN).blocks) if t.id == "training-cost")
    assert cell(table, "static model, 3 blocks", "Training, s").text == "33"


def test_knob_tables_keep_what_validation_chose(scene):
    fold = next(b for b in details.knobs(scene).blocks if b.kind == "fold" and b.summary.startswith("PABEE"))
    marked = {
        (row.cells[1].text, title)
        for row in fold.blocks[0].rows
        if row.cells[0].small
        for title in row.cells[0].small.removeprefix("◆ ").split("; ")
    }
    titles = ("at most 1 point lost", *(f"at most {p} % of the MACs" for p in (75, 50, 25)))
    assert marked == {(str(seed), title) for seed in (0, 1) for title in titles}
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


def test_published_scores_are_all_in_one_unit(scene):
    for run_cell in scene.record.run["cells"]:
        if run_cell["method"] == "pabee":
            claims = run_cell["card"]["claims"]
            claims.append(claims[0] | {"score": 0.885, "baseline": 0.913})
    table = next(t for t in tables(curves.claims(scene, set()).blocks) if t.id == "published")
    index = [c.name for c in table.columns].index("score, ×100")
    assert {row.cells[index].text for row in table.rows} == {"93", "88.5"}
    assert next(r for r in table.rows if r.cells[index].text == "88.5").cells[index + 1].text == "91.3"


def test_one_share_is_not_shown_under_two_names(scene):
    summary = scene.record.tables["summary"]
    double = summary[summary["name"] == "overthinking_destructive"].assign(name="hindsight_improvability")
    scene.record.tables["summary"] = type(summary)(np.concatenate([summary, double]), columns=summary.columns).astype(
        {"value": float, "seed": int}
    )
    table = next(t for t in tables(comparison.comparison(scene).blocks) if t.id == "anytime")
    assert [c.name for c in table.columns] == ["Method", "destructive overthinking, %"]


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


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("arXiv 2006.04152", "https://arxiv.org/abs/2006.04152"),
        ("arXiv:2308.00255v2", "https://arxiv.org/abs/2308.00255"),
        ("doi 10.18653/v1/2021.eacl-main.8", "https://doi.org/10.18653/v1/2021.eacl-main.8"),
        ("https://arxiv.org/abs/2006.04152", "https://arxiv.org/abs/2006.04152"),
        ("javascript:alert(1)", ""),
        ("see https://a.b or so", ""),
        ('doi 10.1000/"><script>', ""),
    ],
)
def test_addresses(text, link):
    assert paper.address(text) == link


def test_papers_are_linked(scene):
    table = next(t for t in tables(paper.paper_kit(scene, [], []).blocks) if t.id == "papers")
    assert {row.cells[2].link for row in table.rows} == {"https://arxiv.org/abs/2006.04152"}
    assert simple_table("t", "c", ["a"], [[1]]).columns[0].numeric


def test_what_chance_adds_to_a_calibration_error_and_cross_fitted_numbers_stand_where_the_record_has_them(tmp_path):
    run = write_run(tmp_path / "run", 2, troubles=False)
    points = pd.read_csv(run / "operating_points.csv")
    mine = points["kind"] == "dynamic"
    values = {"ece_low": 0.011, "ece_high": 0.042, "ece_floor": 0.023, "crossfit_drop": 0.012}
    for name, value in (values | {"crossfit_speedup_macs": 2.5}).items():
        points[name] = points[name].astype(float).mask(mine, value)
    points.to_csv(run / "operating_points.csv", index=False)
    table = comparison.target_table(Scene(load(run)), "drop_1")
    names = [column.name for column in table.columns]
    row = next(row for row in table.rows if row.cells[0].text.startswith("PABEE"))
    cells = dict(zip(names, row.cells, strict=True))
    assert cells["ECE, %"].small == "[1.1, 4.2], chance 2.3"
    assert (cells["Cross-fitted Δ, pt"].text, cells["Cross-fitted × MACs"].text) == ("−1.2", "2.50×")
    plain = dict(zip(names, table.rows[0].cells, strict=True))
    assert plain["ECE, %"].small == ""
    assert plain["Cross-fitted × MACs"].text == "–"
