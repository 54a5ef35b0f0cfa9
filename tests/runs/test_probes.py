"""``--shift`` and ``--slowdown`` on a finished run: its cells reused, rows that add up, traces gone on with."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import eebench
from eebench.api import Task
from eebench.data.base import Data, Split
from eebench.data.corruptions import KINDS
from eebench.errors import UserError
from eebench.record import read_record
from eebench.runs import probes
from eebench.runs.doctor import examine
from eebench.runs.inputs import refuse
from eebench.runs.shift import CLEAN, SEVERITIES, _held, shifts
from eebench.schema import TABLES
from eebench.studies.cleaning import Wanted, find
from eebench.studies.merging import merge
from eebench.targets import Target
from tests.faults.damage import again, cut, flip
from tests.studies.parts import part
from tests.studies.parts import rows as rows_of

LABELS = ["pabee[blocks=3+6+9]", "jei_dnn[blocks=4+8]"]


@pytest.fixture(scope="module")
def probed(smoke, tmp_path_factory):
    """The smoke run once more, without its odd methods, both probes asked for; no cell is made again."""
    results = tmp_path_factory.mktemp("probed") / "results"
    shutil.copytree(smoke.results, results)
    spec = smoke.spec.model_copy(update={"methods": tuple(LABELS), "shift": True, "slowdown": True})
    tables = eebench.run(spec, results=results)
    path = Path(tables["shift"].attrs["path"])
    return SimpleNamespace(tables=tables, path=path, results=results, spec=spec)


def test_no_cell_is_made_for_a_probe(probed):
    assert set(probed.tables["training"]["reused"]) == {True}
    for name in ("shift", "slowdown"):
        assert list(probed.tables[name].columns) == list(TABLES[name])


def test_rows_of_every_kind_under_every_corruption(probed):
    rows = probed.tables["shift"]
    assert set(rows["corruption"].fillna(CLEAN)) == {CLEAN, *KINDS}
    points = probed.tables["operating_points"]
    for label in LABELS:
        mine = rows[rows["method"] == label]
        targets = set(points[(points["method"] == label) & (points["kind"] == "dynamic")]["target"])
        assert set(mine["kind"]) == {"dynamic"}
        assert set(mine["target"]) == targets
        assert len(mine) == len(targets) * (1 + len(KINDS) * len(SEVERITIES))
    assert set(rows[rows["method"] == "static"]["kind"]) == {"static"}
    assert len(rows[rows["kind"] == "plain"]) == 1 + len(KINDS) * len(SEVERITIES)


def test_without_a_corruption_rows_are_the_operating_points(probed):
    rows = probed.tables["shift"]
    clean = rows[rows["severity"] == 0]
    assert (clean["score_drift"] == 0).all()
    assert (clean["gmacs_drift"] == 0).all()
    points = probed.tables["operating_points"].set_index(["method", "kind", "target"])
    for row in clean[clean["kind"] != "plain"].itertuples():
        known = points.loc[(row.method, row.kind, row.target)]
        for name in ("knob", "score", "gmacs", "mean_exit", "speedup_macs", "drop"):
            assert getattr(row, name) == pytest.approx(known[name]), name
    general = probed.tables["conformal"].query("sets == 'general' and alpha == 0.1").set_index(["method", "target"])
    for row in clean[clean["kind"] != "static"].itertuples():
        assert row.coverage == pytest.approx(general.loc[(row.method, row.target), "coverage"])


def test_rows_add_up(probed):
    rows = probed.tables["shift"]
    plain = rows[rows["kind"] == "plain"].set_index(["corruption", "severity"])
    assert (rows[rows["kind"] == "plain"]["speedup_macs"] == 1).all()
    others = rows[rows["kind"] != "plain"]
    key = pd.MultiIndex.from_frame(others[["corruption", "severity"]])
    base = plain.loc[key]
    np.testing.assert_allclose(others["drop"], base["score"].to_numpy() - others["score"], atol=1e-8)
    np.testing.assert_allclose(others["speedup_macs"], base["gmacs"].to_numpy() / others["gmacs"], rtol=1e-6)
    assert (others["drop_low"] <= others["drop"] + 1e-9).all()
    assert (others["drop"] <= others["drop_high"] + 1e-9).all()
    assert set(others["held"]) == {True, False}
    assert rows["coverage"].between(0, 1).all()
    dynamic = others[others["kind"] == "dynamic"]
    assert dynamic["dead_share"].between(0, 1).all()
    assert others[others["kind"] == "static"]["gmacs_drift"].abs().max() < 1e-9, "nobody decides"
    assert plain["score"].nunique() > 3, "corruptions do something"


def test_attacked_and_as_they_are(probed):
    rows = probed.tables["slowdown"]
    assert set(rows["method"]) == set(LABELS)
    assert set(rows["samples"]) == {64}
    assert set(rows["steps"]) == {30}
    np.testing.assert_allclose(rows["radius"], 8 / 255, rtol=1e-6)
    points = probed.tables["operating_points"].query("kind == 'dynamic'").set_index(["method", "target"])
    known = points.loc[pd.MultiIndex.from_frame(rows[["method", "target"]])]
    for name in ("score", "gmacs", "mean_exit", "speedup_macs"):  # all 64 test samples are attacked
        np.testing.assert_allclose(rows[name], known[name], rtol=1e-6)
    for which in ("", "_attacked", "_noise"):
        assert rows[f"efficacy{which}"].between(0, 1).all()
    assert rows["later"].between(0, 1).all()
    first = rows[rows["mean_exit"] == 3]  # PABEE with patience 0: nothing can make it go on
    assert len(first)
    for name in ("mean_exit", "gmacs", "efficacy"):
        assert (first[f"{name}_attacked"] == first[name]).all()
    costs = probed.tables["exits"].query("split == 'test'").set_index("method").loc[LABELS[0], "gmacs"].to_numpy()
    assert first["efficacy"].to_numpy() == pytest.approx(1 - costs[0] / costs[-1] / 2)


def test_traces_are_gone_on_with_and_damaged_ones_are_named_and_made_again(probed, monkeypatch, tmp_path):
    run = shutil.copytree(probed.results, tmp_path / "results") / probed.path.name
    made = []
    collect = probes.collect
    monkeypatch.setattr(probes, "collect", lambda *a, **k: made.append(a) or collect(*a, **k))
    kept = sorted((run / "shift").glob("pabee*/*"))
    lost, shortened, flipped, exchanged, other = kept[:5]
    shutil.rmtree(lost)
    cut(shortened / f"trace-{shortened.name}.npz")
    flip(flipped / "costs.npz", 200)
    shutil.rmtree(exchanged)
    shutil.copytree(other, exchanged)
    (attack,) = sorted((run / "slowdown").glob("jei*/r*"))
    (attack / "manifest.json").unlink()
    health = examine(run)
    assert [(trace.id.rpartition("/")[2], trace.state) for trace in health.traces if trace.state != "whole"] == [
        *((unit.name, "missing" if unit == lost else "damaged") for unit in kept[:4]),
        (attack.name, "damaged"),
    ]
    assert health.again == [*(f"{LABELS[0]} seed 0, shift {unit.name}" for unit in kept[:4]), health.again[4], "record"]
    assert health.again[4] == f"{LABELS[1]} seed 0, slowdown {attack.name}"
    with pytest.raises(UserError, match=f"{shortened.name}: .* bytes; without --no-repair it is set aside"):
        again(probed.spec, None, tmp_path / "results", repair=False)
    assert not made, "refused before any work"
    _, lines = again(probed.spec, None, tmp_path / "results")
    assert len(made) == 5
    for unit in (shortened, flipped, exchanged, attack):
        assert any(line.startswith("set aside, to be made again: ") and unit.name in line for line in lines)
    found = eebench.read(run)
    pd.testing.assert_frame_equal(found["shift"], probed.tables["shift"])
    pd.testing.assert_frame_equal(found["slowdown"], probed.tables["slowdown"])
    assert not list((run / "shift").rglob(".*"))
    assert examine(run).well
    assert len(examine(run).set_aside) == 4


def test_a_published_copy_without_traces_is_as_it_was_written(probed, tmp_path):
    run = shutil.copytree(probed.path, tmp_path / "run")
    shutil.rmtree(run / "shift")
    health = examine(run)
    assert health.well
    assert {trace.id.partition("/")[0] for trace in health.traces} == {"slowdown"}


def test_one_whose_rule_fails_beyond_the_test_split_takes_nothing_along(probed, tmp_path, monkeypatch):
    shutil.copytree(probed.results, tmp_path / "results")
    point = probes.Subject.point

    def fail(self, *found):
        if self.scored.label == LABELS[0]:
            raise ArithmeticError("no such luck")
        return point(self, *found)

    monkeypatch.setattr(probes.Subject, "point", fail)
    _, lines = again(probed.spec, None, tmp_path / "results")
    found = eebench.read(tmp_path / "results" / probed.path.name)
    words = f"no shift of {LABELS[0]} seed 0: measuring it, ArithmeticError: no such luck"
    assert words in lines
    assert words in read_record(tmp_path / "results" / probed.path.name).notes
    for name in ("shift", "slowdown"):
        others = probed.tables[name].query("method != @LABELS[0]").reset_index(drop=True)
        pd.testing.assert_frame_equal(found[name], others)
    assert set(LABELS) <= set(found["latency"]["method"])


def test_runs_made_apart_join_what_was_probed(probed, tmp_path):
    apart = [part(probed.path, tmp_path / label[:3], methods=[label]) for label in LABELS]
    joined = merge(apart, tmp_path / "joined")
    for name in ("shift", "slowdown"):
        assert sorted(map(str, rows_of(joined, name))) == sorted(map(str, rows_of(probed.path, name)))


def test_traces_of_models_that_are_gone_can_go(probed, tmp_path):
    run = tmp_path / "results" / probed.path.name
    shutil.copytree(probed.path, run)
    gone = run / "shift" / "pabee-s0-0123456789ab-0123456789ab"
    gone.mkdir()
    for folder in (run / "shift").iterdir():
        os.utime(folder, (0, 0))
    found = find(tmp_path / "results", Wanted())
    assert [thing.path for thing in found.things if thing.path.parent.name in ("shift", "slowdown")] == [gone]


# --- what cannot be done ---------------------------------------------------------------------------------------------


def spec_of(**asked):
    return eebench.make_spec(**asked)


def texts(values):
    split = Split(values, np.arange(len(values)) % 2)
    return Data("words", "text", Task(classes=2), split, split, split)


def test_slowdown_of_texts_is_refused():
    with pytest.raises(UserError, match="--slowdown adds noise to images; texts have no pixels"):
        refuse(spec_of(slowdown=True), texts(["one", "two"]))
    refuse(spec_of(shift=True), texts(["one", "two"]))
    refuse(spec_of(shift=True), texts([("one", "two"), ("three", "four")]))
    refuse(spec_of(), texts([torch.ones(3)] * 2))


def test_texts_that_are_no_strings_are_refused():
    with pytest.raises(UserError, match="--shift: the texts of data set 'words' are no strings"):
        refuse(spec_of(shift=True), texts([torch.ones(3)] * 2))


@pytest.mark.parametrize("asked", ["shift", "slowdown"])
def test_images_of_unknown_making_are_refused(asked):
    split = Split([torch.zeros(1, 4, 4)] * 4, np.arange(4) % 2)
    data = Data("mine", "vision", Task(classes=2), split, split, split)
    with pytest.raises(UserError, match=f"--{asked}: data set 'mine' does not say how its images were prepared"):
        refuse(spec_of(**{asked: True}), data)


def test_numbers_have_no_probabilities():
    split = Split([torch.zeros(1, 4, 4)] * 4, np.arange(4, dtype=np.float32))
    data = Data("mine", "vision", Task("regression", 1, "pearson_spearman"), split, split, split)
    with pytest.raises(UserError, match="--slowdown attacks the classes' probabilities; this task has none"):
        refuse(spec_of(slowdown=True), data)


def test_typos_are_what_a_text_is_shifted_by():
    found = shifts(texts(["some longer words are here"] * 4))
    assert [(s.corruption, s.severity) for s in found[:3]] == [("typo_swap", 1), ("typo_swap", 3), ("typo_swap", 5)]
    assert len(found) == 12
    assert found[-1].split().inputs != ["some longer words are here"] * 4


@pytest.mark.parametrize(
    ("target", "drop", "share", "held"),
    [
        ("drop_1", 0.01, 0.9, True),
        ("drop_1", 0.011, 0.1, False),
        ("macs_50", 0.9, 0.5, True),
        ("macs_50", 0.0, 0.51, False),
        ("ms_2", 0.0, 0.1, None),
    ],
)
def test_a_promise_is_held_or_not(target, drop, share, held):
    assert _held(Target.parse(target), drop, share) is held
