"""Predictions of others become a run: equal to eebench's own numbers, or refused in one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eebench
from eebench import data
from eebench.api import Task
from eebench.exchange.exporting import export_predictions
from eebench.exchange.importing import import_predictions
from eebench.exchange.scoring import RECOMPUTED
from eebench.measure import softmax
from eebench.plugins.registry import Registry
from eebench.record import read_record
from eebench.report import render
from eebench.runs.finished import task_of
from eebench.runs.imported import rule_of
from eebench.schema import TABLES
from tests.exchange import plain_exits
from tests.exchange.made import BLOCKS, CLASSES, MACS, answers_only, card_of, split_of, write

PABEE = "pabee[blocks=3+6+9]"
CLOCK = ("speedup_cpu", "speedup_gpu", "withheld")


def tables(run, method=None):
    """The tables that arrays fill, without what the clock said."""
    found = {}
    for name in RECOMPUTED:
        frame = pd.read_csv(run / f"{name}.csv")
        frame = frame.drop(columns=[column for column in frame if column.startswith(CLOCK)])
        found[name] = frame if method is None else frame[frame["method"] == method].reset_index(drop=True)
    return found


# --- our own models, out and in again ---------------------------------------------------------------------------------


def test_a_run_that_is_exported_and_imported_has_the_very_same_tables(smoke, plugin, tmp_path):
    folder = export_predictions(smoke.path, tmp_path / "out", registry=Registry.installed([plugin]))
    run = import_predictions(folder, results=tmp_path / "results", targets=read_record(smoke.path).spec["targets"])
    own, again = tables(smoke.path), tables(run)
    for name, frame in own.items():
        pd.testing.assert_frame_equal(frame, again[name], check_exact=True, obj=name)
    assert (pd.read_csv(run / "latency.csv").columns == list(TABLES["latency"])).all()
    assert "imported, cost as declared" in read_record(run).notes[0]
    assert read_record(run).data.split_sha256 == read_record(smoke.path).data.split_sha256


def plain_pytorch(smoke, folder: Path) -> Path:
    """What a script without eebench computes from the weights, with the costs written down by hand."""
    (cell,) = (c for c in read_record(smoke.path).cells if c.label == PABEE)
    loaded = data.load("digits").fewer(128, 64, 64)
    for name, split in (("val", loaded.val), ("test", loaded.test)):
        images = np.stack([np.asarray(image) for image in split.inputs]).astype(np.float32)
        np.savez(folder / f"{name}.npz", images=images, targets=split.targets)
    out = folder / "out"
    out.mkdir()
    weights = smoke.path / "cells" / cell.id / "weights.safetensors"
    script = [sys.executable, plain_exits.__file__, str(weights), str(folder), str(out)]
    subprocess.run(script, check=True, cwd=folder)
    exits = pd.read_csv(smoke.path / "exits.csv").query("method == @PABEE and split == 'test'")
    macs = {f"macs{part}": (1e9 * exits[f"gmacs{part}"]).tolist() for part in ("", "_backbone", "_heads", "_gates")}
    model = {"method": "stranger", "blocks": [3, 6, 9, 12], "rule": "confidence", **macs}
    backbone = {"name": "vit_micro", "depth": 12, "macs": 1e9 * read_record(smoke.path).backbone.gmacs}
    card = {"format": "eebench-predictions", "version": 1, "task": {"classes": 10}, "data": {"name": "digits"}}
    (out / "card.json").write_text(json.dumps(card | {"backbone": backbone, "models": [model]}))
    return out


def test_the_script_knows_nothing_of_eebench():
    assert "import eebench" not in Path(plain_exits.__file__).read_text()
    assert "from eebench" not in Path(plain_exits.__file__).read_text()


def test_logits_of_a_plain_pytorch_script_give_eebenchs_own_numbers_beside_its_run(smoke, plugin, tmp_path):
    out = plain_pytorch(smoke, tmp_path)
    run = import_predictions(
        out, results=tmp_path / "results", beside=smoke.path, registry=Registry.installed([plugin])
    )
    own, both = tables(smoke.path), tables(run)
    for name in ("curves", "exits"):  # the same exits, fixed depth and oracle, once run by eebench, once by the script
        mine = both[name][both[name]["method"] == "stranger"].reset_index(drop=True)
        theirs = own[name][own[name]["method"] == PABEE].reset_index(drop=True)
        if name == "curves":
            kinds = ["oracle", "fixed"]
            mine, theirs = (f[f["kind"].isin(kinds)].reset_index(drop=True) for f in (mine, theirs))
            costs = [c for c in mine if c.startswith(("gmacs", "speedup_macs"))]  # an exit alone was not declared
            mine, theirs = (f.drop(columns=costs) for f in (mine, theirs))
        drop = ["method", "params"] if name == "exits" else ["method", "knob_name"]
        theirs, mine = (f.drop(columns=drop) for f in (theirs, mine))
        pd.testing.assert_frame_equal(mine, theirs, check_exact=False, atol=2e-6, rtol=2e-5, obj=name)
    kept = both["curves"][both["curves"]["method"] == PABEE].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, own["curves"][own["curves"]["method"] == PABEE].reset_index(drop=True))
    assert {PABEE, "stranger", "jei_dnn[blocks=4+8]"} <= set(both["operating_points"]["method"])
    points = pd.read_csv(run / "operating_points.csv").query("method == @PABEE")
    before = pd.read_csv(smoke.path / "operating_points.csv").query("method == @PABEE")
    assert points["speedup_cpu"].tolist() == pytest.approx(before["speedup_cpu"].tolist(), nan_ok=True)
    written = render(run, tmp_path / "report")
    assert "Imported, cost as declared" in written["report.md"].read_text()
    assert "(imported)" in written["report.md"].read_text()


def test_a_rule_named_method_decides_as_the_installed_one_from_logits_alone(smoke, plugin, tmp_path):
    out = plain_pytorch(smoke, tmp_path)
    card = json.loads((out / "card.json").read_text())
    card["models"][0] |= {"method": "pabee", "rule": "method"}
    (out / "card.json").write_text(json.dumps(card))
    run = import_predictions(out, results=tmp_path / "results", targets=["drop_1"])
    mine = tables(run)["curves"].query("kind == 'dynamic' and split == 'test'").reset_index(drop=True)
    own = tables(smoke.path)["curves"].query("method == @PABEE and kind == 'dynamic' and split == 'test'")
    for column in ("knob", "score", "gmacs", "mean_exit", "ece", "nll", "brier"):
        assert mine[column].tolist() == pytest.approx(own[column].tolist(), abs=2e-6), column


# --- other people's ---------------------------------------------------------------------------------------------------


def by_hand(split, threshold):
    """Accuracy, mean block and mean MACs of stopping at the first exit whose largest probability is above."""
    p = softmax(split["logits"])
    right, blocks, macs = [], [], []
    for n in range(len(p)):
        stop = next((e for e in range(2) if p[n, e].max() > threshold), 2)
        right.append(p[n, stop].argmax() == split["targets"][n])
        blocks.append(BLOCKS[stop])
        macs.append(MACS[stop])
    return np.mean(right), np.mean(blocks), np.mean(macs)


def test_curves_are_what_a_loop_over_samples_says(tmp_path):
    run = import_predictions(write(tmp_path / "in"), results=tmp_path / "results")
    rows = pd.read_csv(run / "curves.csv").query("kind == 'dynamic' and split == 'test'")
    assert len(rows) > 20
    for row in rows.iloc[::7].itertuples():
        score, block, macs = by_hand(split_of(2), np.float32(row.knob))
        assert (row.score, row.mean_exit, 1e9 * row.gmacs) == pytest.approx((score, block, macs))
        assert row.speedup_macs == pytest.approx(6e6 / macs)
    assert rows["gmacs_backbone"].isna().all()
    plain = pd.read_csv(run / "curves.csv").query("kind == 'plain' and split == 'test'")
    assert plain["gmacs"].item() == pytest.approx(0.006)
    assert plain["score"].item() == pytest.approx(
        (split_of(2)["logits"][:, -1].argmax(1) == split_of(2)["targets"]).mean()
    )


def test_predictions_and_confidences_do_where_there_are_no_logits(tmp_path):
    whole = import_predictions(write(tmp_path / "a"), results=tmp_path / "results")
    splits = {name: answers_only(split_of(seed)) for name, seed in (("val", 1), ("test", 2))}
    run = import_predictions(write(tmp_path / "b", **splits), results=tmp_path / "results")
    columns = ["kind", "split", "knob", "score", "ece", "gmacs", "mean_exit"]
    first, second = (pd.read_csv(path / "curves.csv")[columns] for path in (whole, run))
    pd.testing.assert_frame_equal(first, second)
    assert pd.read_csv(run / "curves.csv")["nll"].isna().all()
    assert not len(pd.read_csv(run / "conformal.csv"))
    assert not pd.read_csv(run / "summary.csv")["name"].str.startswith("conditional_fall").any()
    assert render(run, tmp_path / "report")["report.html"].stat().st_size > 10_000


def test_costs_may_differ_from_sample_to_sample(tmp_path):
    rng = np.random.default_rng(0)
    splits, lengths = {}, {}
    for name, seed in (("val", 1), ("test", 2)):
        lengths[name] = rng.integers(1, 10, 60)
        splits[name] = split_of(seed) | {
            "macs": lengths[name][:, None] * np.array(MACS),
            "macs_plain": lengths[name] * 6e6,
        }
    card = card_of()
    del card["models"][0]["macs"]
    run = import_predictions(write(tmp_path / "in", card, **splits), results=tmp_path / "results")
    first = pd.read_csv(run / "curves.csv").query("kind == 'dynamic' and split == 'test'").sort_values("gmacs").iloc[0]
    assert 1e9 * first["gmacs"] == pytest.approx((lengths["test"] * MACS[0]).mean())
    assert first["speedup_macs"] == pytest.approx(3)


def test_scores_of_a_strangers_own_decide(tmp_path):
    card = card_of()
    card["models"][0]["rule"] = "scores"
    splits = {name: split_of(seed) for name, seed in (("val", 1), ("test", 2))}
    for split in splits.values():
        split["scores"] = np.where(split["targets"][:, None] == [0, 1], 7.0, -7.0)  # class 0 stops first, 1 second
    run = import_predictions(write(tmp_path / "in", card, **splits), results=tmp_path / "results")
    rows = pd.read_csv(run / "curves.csv").query("kind == 'dynamic' and split == 'test' and knob == -7")
    targets = splits["test"]["targets"]
    assert rows["mean_exit"].item() == pytest.approx(np.mean(np.array([2, 4, 6])[targets]))


def test_a_regression_needs_scores_and_predictions(tmp_path):
    card = card_of(task={"kind": "regression", "classes": 1, "metric": "pearson_spearman"})
    card["models"][0]["rule"] = "scores"
    splits = {}
    for name, seed in (("val", 1), ("test", 2)):
        rng = np.random.default_rng(seed)
        targets = rng.normal(size=80)
        said = targets[:, None] + rng.normal(size=(80, 3)) * [1.0, 0.5, 0.1]
        splits[name] = {"targets": targets, "predictions": said, "scores": rng.normal(size=(80, 2))}
    run = import_predictions(write(tmp_path / "in", card, **splits), results=tmp_path / "results")
    rows = pd.read_csv(run / "exits.csv").query("split == 'test' and method == 'mine'")
    assert rows["score"].is_monotonic_increasing
    assert rows["score"].iloc[-1] > 0.97


def test_a_guarantee_is_had_of_an_import_as_of_a_run(tmp_path):
    splits = {name: split_of(seed, samples=800) for name, seed in (("val", 1), ("test", 2))}
    run = import_predictions(write(tmp_path / "in", **splits), results=tmp_path / "results")
    found = eebench.tune(run, "mine", max_drop=0.05, delta=0.1)
    assert found.certified
    assert found.knob < 1
    assert found.drop < 0.05 + 0.02
    assert rule_of(read_record(run), "mine")[0].knob.name == "threshold"


def test_the_same_folder_twice_is_one_run_and_frames_come_as_from_any(tmp_path):
    folder = write(tmp_path / "in")
    first, second = (import_predictions(folder, results=tmp_path / "results") for _ in range(2))
    assert first == second
    assert [path.name for path in (tmp_path / "results").iterdir()] == [first.name]
    frames = eebench.read(first)
    assert frames["curves"].attrs["failed"] == {}
    assert {"curves", "operating_points", "headlines", "tiers", "reliability", "conformal"} <= set(frames)


def test_an_import_exported_again_is_the_same_import(tmp_path):
    splits = {name: answers_only(split_of(seed)) for name, seed in (("val", 1), ("test", 2))}
    run = import_predictions(write(tmp_path / "in", **splits), results=tmp_path / "results")
    again = import_predictions(export_predictions(run, tmp_path / "out"), results=tmp_path / "again")
    for name, frame in tables(run).items():
        pd.testing.assert_frame_equal(frame, tables(again)[name], check_exact=True, obj=name)


def test_a_task_of_the_card_is_the_runs(tmp_path):
    run = import_predictions(write(tmp_path / "in"), results=tmp_path / "results")
    assert task_of(read_record(run)) == Task("classification", CLASSES, "accuracy", ())
