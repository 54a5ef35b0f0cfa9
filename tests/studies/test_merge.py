"""Runs made apart become one: computed anew from the traces, the clock of one machine, conflicts named."""

import shutil

import numpy as np
import pytest

import eebench
from eebench.errors import UserError
from eebench.exchange.scoring import RECOMPUTED
from eebench.manifest import faults_of_run, seal
from eebench.plugins.registry import Registry
from eebench.record import read_record
from eebench.report import render
from eebench.studies.merging import merge
from tests.studies.parts import part, rows

PABEE, JEI = "pabee[blocks=3+6+9]", "jei_dnn[blocks=4+8]"
CLOCK = ("speedup_cpu", "speedup_gpu", "withheld_")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("apart")


@pytest.fixture(scope="module")
def whole(smoke, folder):
    """The smoke run's two methods that finished."""
    return part(smoke.path, folder / "whole", methods=[PABEE, JEI])


@pytest.fixture(scope="module")
def one(whole, folder):
    return part(whole, folder / "one", methods=[PABEE])


@pytest.fixture(scope="module")
def other(whole, folder):
    return part(whole, folder / "other", methods=[JEI])


def test_methods_made_apart_give_the_tables_of_the_run_that_has_both(smoke, whole, one, other, tmp_path):
    out = merge([one, other], tmp_path / "joined")
    for name in RECOMPUTED:
        assert rows(out, name) == rows(smoke.path, name), name
    assert sorted(map(str, rows(out, "latency"))) == sorted(map(str, rows(whole, "latency")))
    assert rows(out, "training") == rows(whole, "training")
    assert not faults_of_run(out)
    assert render(out, tmp_path / "report")["report.html"].exists()
    record = read_record(out)
    assert record.spec == read_record(whole).spec
    assert record.spec_sha256 == read_record(whole).spec_sha256
    assert [cell.label for cell in record.cells] == [cell.label for cell in read_record(whole).cells]
    with np.load(out / "latency-s0.npz") as found, np.load(whole / "latency-s0.npz") as wanted:
        assert set(found.files) == set(wanted.files)


def test_seeds_made_apart_become_one_run(whole, tmp_path):
    second = part(whole, tmp_path / "second", seed=1)
    out = merge([second, whole], tmp_path / "joined")
    assert read_record(out).spec["seeds"] == [0, 1]
    for name in ("curves", "exits", "shares", "summary", "conformal", "reliability", "operating_points"):
        found = [row for row in rows(out, name) if row["seed"] == "1"]
        assert [row | {"seed": "0"} for row in found] == rows(whole, name), name
        assert [row for row in rows(out, name) if row["seed"] == "0"] == rows(whole, name), name
    assert {row["seeds"] for row in rows(out, "headlines")} == {"2"}
    apart, joint = (
        {(r["target"], r["method_a"], r["method_b"]): float(r["difference"]) for r in rows(run, "pairs")}
        for run in (merge([whole, part(whole, tmp_path / "third", seed=2)], tmp_path / "again"), out)
    )
    assert apart == joint
    assert (out / "latency-s0.npz").exists()
    assert (out / "latency-s1.npz").exists()
    assert len(read_record(out).timing) == 2 * len(read_record(whole).timing)


def test_the_clock_of_another_machine_is_withheld(whole, tmp_path):
    far = part(whole, tmp_path / "far", seed=1, cpu="Abacus 9000")
    out = merge([whole, far], tmp_path / "joined")
    points = rows(out, "operating_points")
    timed = [r for r in rows(whole, "operating_points") if r["speedup_cpu"] or r["withheld_cpu"]]
    assert timed
    ours = [r for r in points if r["seed"] == "0" and (r["speedup_cpu"] or r["withheld_cpu"])]
    assert ours == timed
    theirs = [r for r in points if r["seed"] == "1"]
    assert {r["speedup_cpu"] for r in theirs} == {""}
    assert [r["withheld_cpu"] for r in theirs if r["withheld_cpu"]] == ["timed on Abacus 9000"] * len(timed)
    assert {r["seed"] for r in rows(out, "latency")} == {"0"}
    assert not (out / "latency-s1.npz").exists()
    notes = read_record(out).notes
    assert any("was timed on another machine" in note and "far" in note for note in notes)


def test_a_failed_cell_gives_way_to_the_same_cell_finished(smoke, whole, plugin, tmp_path):
    registry = Registry.installed([plugin])
    again = part(smoke.path, tmp_path / "again", methods=["failing"])
    out = merge([whole, again], tmp_path / "joined", registry)
    states = {cell.label: cell.status for cell in read_record(out).cells}
    assert states[PABEE] == "done"
    assert states["failing"] == "failed"
    assert not [row for row in rows(out, "curves") if row["method"] == "failing"]


# --- what cannot be joined -------------------------------------------------------------------------------------------


def conflict(words, runs, out, registry=None):
    with pytest.raises(UserError) as caught:
        merge(runs, out, registry)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def data(run, **changed):
    return {"data": read_record(run).data.model_copy(update=changed)}


def test_conflicts_are_named(whole, one, tmp_path):
    def apart(name, **how):
        return part(whole, tmp_path / name, seed=1, **how)

    out = tmp_path / "out" / "joined"
    cases = {
        "protocol 2 and 99": apart("a", edit={"protocol_version": 99}),
        "level 0.9 and 0.8": apart("b", spec={"level": 0.8}),
        "another split": apart("c", edit=data(whole, split_sha256="0" * 64)),
        "other data": apart("d", edit=data(whole, content_sha256="0" * 64)),
        "eebench 0.1.0 and 7": apart("e", edit={"environment": read_record(whole).environment | {"eebench": "7"}}),
        f"none of them has {JEI} seed 1": part(one, tmp_path / "f", seed=1),
    }
    for words, run in cases.items():
        words = words.replace("protocol 2", f"protocol {read_record(whole).protocol_version}")
        conflict(words, [whole, run], out)
    conflict("merge joins two runs or more", [whole], out)
    conflict("a run is named twice", [whole, whole.parent / "." / "whole"], out)
    conflict("does not exist", [whole, tmp_path / "nowhere"], out)
    assert not out.parent.exists()


def test_one_cell_with_two_results_is_a_conflict(whole, one, other, tmp_path):
    bent = part(other, tmp_path / "bent")
    cell = next((bent / "cells").glob("backbone-*"))
    with np.load(cell / "trace-test.npz") as file:
        arrays = {name: file[name] for name in file.files}
    arrays["prediction"] = (arrays["prediction"] + 1) % 10
    np.savez_compressed(cell / "trace-test.npz", **arrays)
    seal(cell, cell=cell.name)
    again = part(bent, tmp_path / "again")  # whose record names the manifest as it is now
    conflict("backbone seed 0 is another model in", [one, again], tmp_path / "out")


def test_damaged_runs_and_cells_without_traces_are_refused(one, other, tmp_path):
    edited = part(other, tmp_path / "edited")
    table = edited / "curves.csv"
    table.write_text(table.read_text().replace("0.", "1.", 1))
    conflict("curves.csv is not as it was written", [one, edited], tmp_path / "out")
    bare = part(other, tmp_path / "bare")
    for path in (bare / "cells").glob("jei_dnn*/*"):
        if path.suffix in (".npz", ".npy", ".safetensors"):
            path.unlink()
    conflict("has no trace-val.npz", [one, bare], tmp_path / "out")


def test_a_folder_that_is_there_is_left_alone(one, other, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is there already"):
        merge([one, other], tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_seeds_trained_apart_equal_the_run_that_trained_both(tmp_path):
    """For real: one seed here, one in another folder, against both in one run."""
    how = {"methods": (PABEE, JEI), "dataset": "digits", "budget": "smoke", "device": "cpu", "latency_samples": 8}
    how |= {"static": (0.25, 1.0), "threads": 1, "latency_seconds": 0.0}
    for name, seeds in {"a": (0,), "b": (1,), "both": (0, 1)}.items():
        eebench.run(seeds=seeds, results=tmp_path / name, **how)
    a, b, both = (next((tmp_path / name).iterdir()) for name in ("a", "b", "both"))
    shutil.move(b, tmp_path / "elsewhere")
    out = merge([a, tmp_path / "elsewhere"], tmp_path / "joined")
    for name in RECOMPUTED:
        for found, wanted in zip(rows(out, name), rows(both, name), strict=True):
            for column, value in wanted.items():
                if column.startswith(CLOCK):
                    continue
                try:
                    assert float(found[column]) == pytest.approx(float(value), rel=1e-4), (name, column)
                except ValueError:
                    assert found[column] == value, (name, column)
