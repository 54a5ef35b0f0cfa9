"""Damage to a finished run is found, named in one line and mended by the same command; the tables are as they were."""

import json
import shutil

import pandas as pd
import pytest

import eebench
from eebench.errors import UserError
from eebench.manifest import DamagedError
from eebench.report import read_answer, render
from tests.faults.damage import again, all_right, cut, empty, exchange, flip, untimed

PABEE, JEI = "pabee[blocks=3+6+9]", "jei_dnn[blocks=4+8]"


@pytest.fixture
def run(smoke, copied):
    return copied / smoke.path.name


def cell(run, name):
    (found,) = (run / "cells").glob(f"{name}-*")
    return found


def test_cut_flipped_exchanged_and_lost_cells_are_made_again_and_nothing_else_is(smoke, plugin, run):
    before, weights = untimed(run), (cell(run, "backbone") / "weights.safetensors").read_bytes()
    flip(cell(run, "backbone") / "weights.safetensors", -5)  # same size, loads well, other scores
    empty(cell(run, "pabee") / "trace-val.npz")  # what a power cut leaves
    exchange(*(cell(run, "jei_dnn") / f"trace-{split}.npz" for split in ("val", "test")))
    (cell(run, "static-blocks-3") / "logits-test.npy").unlink()
    shutil.rmtree(cell(run, "static-blocks-12"))
    (run / "cells" / cell(smoke.path, "static-blocks-12").name).write_text("no folder")
    outcome, lines = again(smoke.spec, plugin, run.parent)
    aside = [line for line in lines if line.startswith("set aside, to be made again: ")]
    assert len(aside) == 5
    for name, words in {
        "backbone": "weights.safetensors is not as it was written",
        "pabee": "trace-val.npz has 0 of ",
        "jei_dnn": "trace-test.npz ",
        "static-blocks-3": "logits-test.npy is missing",
        "static-blocks-12": "manifest.json is missing",
    }.items():
        assert [f"/{name}-" in line and words in line for line in aside].count(True) == 1
    assert {c["label"]: c["status"] for c in outcome.cells if c["status"] == "failed"} == {"failing": "failed"}
    after = untimed(run)
    assert before.keys() == after.keys()
    for name, frame in before.items():
        pd.testing.assert_frame_equal(frame, after[name], obj=name)
    assert (cell(run, "backbone") / "weights.safetensors").read_bytes() == weights
    assert len(list((run / ".set-aside").iterdir())) == 5
    lines = again(smoke.spec, plugin, run.parent)[1]
    assert not [line for line in lines if "set aside, to" in line]
    assert sum(line.endswith(": reused") for line in lines) == 5


def test_without_repair_it_is_refused_and_left_as_it_is(smoke, plugin, run):
    cut(cell(run, "pabee") / "weights.safetensors")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    with pytest.raises(DamagedError, match=r"pabee-.*weights\.safetensors has .* bytes; without --no-repair it is set"):
        again(smoke.spec, plugin, run.parent, repair=False)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before


def test_a_forged_cell_of_a_sister_run_is_not_taken_over(smoke, plugin, run, tmp_path):
    sister = run.parent / "sister"
    (sister / "cells").mkdir(parents=True)
    good = cell(run, "jei_dnn")
    forged = sister / "cells" / good.name
    shutil.move(good, forged)
    all_right(forged / "trace-test.npz")
    _, lines = again(smoke.spec, plugin, run.parent)
    (line,) = [line for line in lines if line.startswith("not taken over: ")]
    assert f"{forged}: trace-test.npz " in line
    assert not any(line.startswith(f"{JEI} seed 0: reused") for line in lines)
    curves = pd.read_csv(run / "curves.csv")
    pd.testing.assert_series_equal(curves["score"], smoke.tables["curves"]["score"])


def test_a_trace_its_own_weights_do_not_make_is_found_live(smoke, plugin, run):
    """Trace and manifest edited alike: the weights are run again, and answer otherwise."""
    from eebench.manifest import seal

    forged = cell(run, "pabee")
    all_right(forged / "trace-test.npz")
    seal(forged, cell=forged.name)
    outcome, _ = again(smoke.spec, plugin, run.parent)
    (failed,) = [c for c in outcome.cells if c["status"] == "failed" and c["label"] == PABEE]
    assert "answered otherwise than in the replay" in failed["reason"]


def test_tables_edited_by_hand_are_refused_by_whoever_reads_them(smoke, run, tmp_path):
    path = run / "operating_points.csv"
    path.write_text(path.read_text().replace("0.", "0.9", 1))
    words = r"operating_points\.csv is not as it was written; run the benchmark here again"
    for read in (
        lambda: eebench.read(run),
        lambda: eebench.load(run, PABEE),
        lambda: eebench.tune(run, PABEE, max_drop=0.5),
        lambda: read_answer(run),
        lambda: render(run, tmp_path / "report"),
    ):
        with pytest.raises(UserError, match=words):
            read()
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("spoil", [flip, cut, empty])
def test_a_record_that_was_edited_is_refused(run, spoil):
    spoil(run / "run.json")
    with pytest.raises(UserError, match=r"run\.json"):
        eebench.read(run)
    with pytest.raises(UserError, match=r"run\.json"):
        read_answer(run)


def test_a_cell_damaged_afterwards_is_refused_by_load_and_tune_and_the_report_goes_on(run, tmp_path):
    flip(cell(run, "pabee") / "weights.safetensors", -1)
    for read in (lambda: eebench.load(run, PABEE), lambda: eebench.tune(run, PABEE, max_drop=0.5)):
        with pytest.raises(DamagedError, match=r"weights\.safetensors is not as it was written"):
            read()
    assert eebench.load(run, JEI).label == JEI
    assert len(eebench.read(run)) > 10


def test_a_cell_that_was_made_anew_since_is_not_the_records(smoke, plugin, run):
    from eebench.manifest import seal

    made = cell(run, "pabee")
    facts = json.loads((made / "cell.json").read_text())
    (made / "cell.json").write_text(json.dumps(facts | {"seconds": 1.0}))
    seal(made, cell=made.name)
    with pytest.raises(DamagedError, match="another cell than the one the record was made from"):
        eebench.load(run, PABEE)
