"""The first screen of whole records, word for word: it must be the answer one would give a colleague."""

import json
from pathlib import Path

import pytest

from eebench.report import render
from eebench.report.first import setting
from eebench.report.frames import load
from eebench.report.scene import Scene
from tests.report.fake_run import write_run

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "mnist5k-quick"


def test_texts_where_a_fixed_depth_is_faster_than_every_rule(texts):
    scene = Scene(load(texts))
    assert scene.title == "Early exit on minilm, questions"
    assert scene.answer.kind == "simple"
    assert scene.answer.sentence == (
        "No exit rule pays here. Instead, cut the backbone at block 11 (PALBERT's exit there): 1.07× as fast as the"
        " plain backbone on this CPU (Example, 2 threads), for −1.7 points of accuracy, seeds disagree [−2.9, −0.5]."
    )
    assert scene.answer.trust.startswith(
        "The best rule, PABEE at threshold 0.9289 to 1.01, gives only 0.66× with at most 1 point lost. 3 seeds × 400"
        " test samples, knobs chosen on 319 others. Tied with it in speed: BranchyNet cut at block 11"
    )


def test_a_smoke_run_at_chance_level(chance):
    scene = Scene(load(chance))
    assert scene.answer.kind == "unknown"
    assert scene.answer.sentence == (
        "Cannot tell: the budget smoke trains too little to rank anything. It shows that everything runs; --budget"
        " quick gives a first answer."
    )
    assert "One seed, 400 test samples, knobs chosen on 319 others" in scene.answer.trust
    assert "Not ranked, because samples stop at exits that never learnt: PABEE," in scene.answer.trust


def test_the_reference_record_names_one_way_its_gain_and_its_cost():
    scene = Scene(load(REFERENCE))
    assert scene.answer.kind in ("rule", "simple")
    assert "× as fast as the plain backbone on this CPU" in scene.answer.sentence
    assert "points of accuracy" in scene.answer.sentence
    assert "3 seeds × 900 test samples" in scene.answer.trust


@pytest.mark.parametrize("which", ["texts", "chance"])
def test_no_folder_is_in_a_title_or_on_the_first_screen(which, request, tmp_path, monkeypatch):
    monkeypatch.setattr("eebench.report.writer._plots", lambda scene: {})
    run = request.getfixturevalue(which)
    files = render(run, tmp_path / "report")
    page, text = files["report.html"].read_text(), files["report.md"].read_text()
    first = page[page.index("<title>") : page.index("<h2>Comparison")]
    assert "/home/" not in first
    assert str(run) not in page + text
    assert "/home/" not in setting(Scene(load(run)))
    assert "/home/" not in "\n".join(text.splitlines()[:30])


def test_an_unfinished_run_says_so_and_ranks_nobody_for_good(tmp_path):
    run = write_run(tmp_path / "run", 3, seeds=(0,), troubles=False)
    record = json.loads((run / "run.json").read_text())
    others = [{"label": name, "method": name, "seed": 1} for name in ("backbone", "pabee")]
    record["spec"]["seeds"] = [0, 1]
    record["cells"] += [cell | {"status": "missing", "reason": "not made yet"} for cell in others]
    (run / "run.json").write_text(json.dumps(record))
    scene = Scene(load(run))
    whole = Scene(load(write_run(tmp_path / "whole", 3, seeds=(0,), troubles=False)))
    assert scene.title == "Early exit on vit_micro, digits (unfinished)"
    assert scene.answer.kind == "unknown"
    assert scene.answer.sentence == f"Unfinished, 4 of 6 cells are made. So far: {whole.answer.sentence}"
    assert scene.record.seeds == [0]
    assert "One seed" in scene.answer.trust
    assert (whole.record.unfinished, scene.record.unfinished) == ("", "4 of 6 cells are made")
