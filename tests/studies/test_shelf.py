"""What lies in a results folder, and what of it can go because it can be made again."""

import json
import os
import shutil
import time
from contextlib import suppress

import pytest

import eebench
from eebench.errors import UserError
from eebench.leases import Leases
from eebench.manifest import faults_of_cell
from eebench.record import read_record
from eebench.report import render
from eebench.runs.store import Store
from eebench.studies.cleaning import Wanted, find, remove
from eebench.studies.record import StudyRecord, StudyRun, write_study_record
from eebench.studies.shelf import look
from tests.studies.parts import part

PABEE, JEI = "pabee[blocks=3+6+9]", "jei_dnn[blocks=4+8]"
DAY = 24 * 3600


@pytest.fixture
def shelf(smoke, copied):
    """A finished run with a failure, one whose record is damaged, one that was not finished, and a study."""
    store = Store(copied, "begun")
    with suppress(KeyboardInterrupt), store.making("pabee-s0-123") as folder:
        (folder / "checkpoint").write_bytes(b"x" * 1000)
        raise KeyboardInterrupt
    broken = copied / "broken"
    (broken / "cells").mkdir(parents=True)
    (broken / "run.json").write_text("{")
    runs = [StudyRun(run=name, apart={}, spec={}) for name in (smoke.path.name, "begun")]
    write_study_record(copied, StudyRecord(name="mine", runs=runs))
    return copied


def old(path, seconds=2 * DAY):
    for one in [path, *path.rglob("*")]:
        os.utime(one, (time.time() - seconds,) * 2)


def test_a_shelf_says_how_far_every_run_is(smoke, shelf):
    found = {run.run: run for run in look(shelf).runs}
    run = found[smoke.path.name]
    assert (run.state, run.backbone, run.dataset, run.budget) == ("failed", "vit_micro", "digits", "smoke")
    assert run.methods == [PABEE, JEI, "failing", "shy"]
    assert (run.done, run.failed, run.skipped, run.unfinished) == (5, 1, 1, 0)
    assert run.bytes == sum(path.stat().st_size for path in smoke.path.rglob("*") if path.is_file())
    assert (found["begun"].state, found["begun"].unfinished) == ("unfinished", 1)
    assert found["broken"].state == "damaged"
    assert "is not readable JSON" in found["broken"].reason
    (study,) = look(shelf).studies
    assert (study.study, study.done, len(study.runs)) == ("mine", 1, 2)


def test_what_runs_share_counts_once(smoke, copied):
    alone = look(copied).bytes
    store = Store(copied, "sister")
    cell = read_record(smoke.path).cells[0].id
    assert store.cell(cell) is not None
    assert look(copied).bytes == alone
    sister = next(run for run in look(copied).runs if run.run == "sister")
    assert sister.bytes > 100_000


def test_ls_prints_a_table_and_json(shelf, smoke, typed):
    status, out, _ = typed(f"ls --results {shelf}")
    assert status == 0
    assert "5 done, 1 failed, 1 skipped" in out
    assert "study mine: 1 of 2 runs have a record" in out
    assert "damaged: " in out
    status, out, _ = typed(f"ls --json --results {shelf}")
    values = json.loads(out)
    assert {run["run"] for run in values["runs"]} == {smoke.path.name, "begun", "broken"}
    status, out, err = typed("ls --results nowhere")
    assert (status, out) == (2, "")
    assert err == "error: no results folder nowhere\n"


def test_stale_cells_and_leftovers_go_and_nothing_else(smoke, copied):
    run = copied / smoke.path.name
    named = read_record(run).cells[0].id
    stale = run / "cells" / "pabee-s0-0123456789ab"
    shutil.copytree(run / "cells" / named, stale)
    left = run / "cells" / ".pabee-s0-0123456789ab-x"
    left.mkdir()
    aside = run / ".set-aside" / named
    shutil.copytree(run / "cells" / named, aside)
    assert [thing.path for thing in find(copied, Wanted()).things] == [aside], "what is new may be being written"
    old(stale)
    old(left)
    found = find(copied, Wanted())
    assert {thing.path for thing in found.things} == {stale, left, aside}
    assert found.bytes == sum(f.stat().st_size for folder in (stale, aside) for f in folder.rglob("*") if f.is_file())
    before = set(copied.rglob("*")) - {path for t in found.things for path in [t.path, *t.path.rglob("*")]}
    remove(found)
    assert set(copied.rglob("*")) == before


def test_unfinished_work_goes_only_when_asked_and_never_while_it_is_made(shelf):
    folder = shelf / "begun" / "cells" / ".unfinished-pabee-s0-123"
    assert not find(shelf, Wanted()).things
    with Leases(shelf / ".leases").holding("pabee-s0-123"):
        assert not find(shelf, Wanted(unfinished=True)).things
    assert [thing.path for thing in find(shelf, Wanted(unfinished=True)).things] == [folder]


def test_without_weights_a_run_can_be_read_and_merged_and_its_cells_are_made_again(smoke, copied, tmp_path):
    run = copied / smoke.path.name
    found = find(copied, Wanted(weights="all"))
    assert len(found.things) == 5
    assert all(thing.path.name == "weights.safetensors" for thing in found.things)
    assert remove(found) == sum(thing.bytes for thing in found.things)
    record = read_record(run)
    done = [cell for cell in record.cells if cell.status == "done"]
    assert not any(faults_of_cell(run / "cells" / cell.id, cell.id) for cell in done)
    assert len(eebench.read(run)["curves"])
    assert render(run, tmp_path / "report")["report.html"].exists()
    a, b = (part(run, tmp_path / name, methods=[label]) for name, label in (("a", PABEE), ("b", JEI)))
    assert eebench.merge([a, b], tmp_path / "joined").exists()
    said = []
    store = Store(copied, run.name, say=said.append)
    assert all(store.cell(cell.id) is None for cell in done), "whoever needs them has them made again"
    assert "it has no weights" in said[0]


def test_losing_weights_are_those_the_answer_does_not_name(smoke, copied):
    kept = {"backbone"}  # under smoke nothing is ranked, so only what methods start from is kept
    found = find(copied, Wanted(weights="losing"))
    record = read_record(copied / smoke.path.name)
    labels = {cell.label for cell in record.cells if cell.status == "done"}
    by_id = {cell.id: cell.label for cell in record.cells}
    assert {by_id[thing.path.parent.name] for thing in found.things} == labels - kept


def test_a_file_that_stands_elsewhere_too_frees_nothing(smoke, copied):
    store = Store(copied, "sister")
    cell = next(cell.id for cell in read_record(smoke.path).cells if cell.label == PABEE)
    assert store.cell(cell) is not None
    weights = copied / smoke.path.name / "cells" / cell / "weights.safetensors"
    found = find(copied, Wanted(weights="all"), [copied / smoke.path.name])
    shared = next(thing for thing in found.things if thing.path == weights)
    assert found.bytes == sum(thing.bytes for thing in found.things) - shared.bytes


def test_clean_asks_first(smoke, copied, typed, monkeypatch):
    files = set(copied.rglob("*"))
    monkeypatch.setattr("typer.confirm", lambda question: False)
    status, out, err = typed(f"clean --weights all --results {copied}")
    assert (status, err) == (0, "nothing was removed\n")
    assert "weights of backbone seed 0" in out
    status, out, _ = typed(f"clean --weights all --json --results {copied}")
    values = json.loads(out)
    assert (len(values["things"]), values["removed"]) == (5, False)
    assert set(copied.rglob("*")) == files
    status, out, _ = typed(f"clean --weights all --yes --json --results {copied}")
    assert json.loads(out)["removed"] is True
    assert not list(copied.rglob("weights.safetensors"))
    status, out, _ = typed(f"clean --results {copied}")
    assert (status, out) == (0, "nothing to remove\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("clean --weights some", "'some' is not one of none, losing, all"),
        ("clean --results nowhere", "no results folder nowhere"),
        ("clean nosuch --results .", "no run at nosuch"),
        ("merge a b", "merge takes two runs or more"),
        ("merge a b c", "no run at a"),
    ],
)
def test_bad_commands_are_one_line(line, words, typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = typed(line)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


# --- eebench.open ----------------------------------------------------------------------------------------------------


def test_open_gives_the_same_columns_for_one_run_and_for_many(smoke, shelf, tmp_path):
    one = eebench.open(smoke.path)
    own = eebench.read(smoke.path)
    assert one.keys() == own.keys()
    assert list(one["curves"].columns) == ["run", "backbone", "dataset", *own["curves"].columns]
    assert one["curves"].drop(columns=["run", "backbone", "dataset"]).equals(own["curves"])
    second = part(smoke.path, tmp_path / "second", methods=[PABEE], seed=1)
    both = eebench.open(smoke.path, second)
    assert len(both["curves"]) == len(own["curves"]) + len(eebench.read(second)["curves"])
    assert both["curves"]["run"].unique().tolist() == [smoke.path.name, "second"]
    assert both["curves"].attrs["paths"] == [str(smoke.path), str(second)]
    study = eebench.open(shelf / "mine")
    assert study["curves"]["run"].unique().tolist() == [smoke.path.name]
    assert study["curves"].attrs["unfinished"] == ["begun"]


def test_open_refuses_what_is_no_run(smoke, tmp_path):
    for paths, words in {
        (tmp_path,): "neither a run",
        (): "name a run or a study",
        (smoke.path, smoke.path): "a run is named twice",
    }.items():
        with pytest.raises(UserError, match=words):
            eebench.open(*paths)
