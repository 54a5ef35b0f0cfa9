"""What cannot be imported is refused in one line, and nothing is written."""

import json

import numpy as np
import pytest

from eebench.errors import UserError
from eebench.exchange.exporting import export_predictions
from eebench.exchange.importing import import_predictions
from eebench.plugins.registry import Registry
from tests.exchange.made import CLASSES, answers_only, card_of, logits_of, split_of, write

PABEE = "pabee[blocks=3+6+9]"


def model_with(**changes):
    card = card_of()
    card["models"][0] |= changes
    return card


def arrays_with(**changes):
    return {"test": {**split_of(2), **changes}}


def nan_logits():
    logits = split_of(2)["logits"].copy()
    logits[3, 1, 2] = np.nan
    return logits


BAD = {
    "another version": (card_of(version=2), {}, "has version 2; this eebench reads version 1"),
    "another format": (card_of(format="x"), {}, 'it must say "format": "eebench-predictions"'),
    "an unknown key": (card_of(colour=1), {}, "colour: Extra inputs are not permitted"),
    "no method": (card_of(models=[{"method": "backbone", "blocks": [6], "macs": [6e6]}]), {}, "no early-exit method"),
    "twice": (card_of(models=card_of()["models"] * 2), {}, "mine seed 0 is there twice"),
    "blocks descend": (model_with(blocks=[4, 2, 6]), {}, "blocks must ascend"),
    "not the last block": (model_with(blocks=[2, 4, 5]), {}, "its last exit is behind block 5 of 6"),
    "one cost too few": (model_with(macs=[1e6, 2e6]), {}, "macs has 2 numbers for 3 exits"),
    "costs fall": (model_with(macs=[2e6, 1e6, 6e6]), {}, "'macs' fall from the exit behind block 2 to"),
    "no cost": (model_with(macs=None), {}, "no 'macs', neither here nor in the card"),
    "a cost of nothing": (model_with(macs=[0, 1e6, 6e6]), {}, "'macs' must be above 0"),
    "a cost twice": (card_of(), arrays_with(macs=np.ones((60, 3))), "'macs' is both here and in the card"),
    "parts do not add up": (
        model_with(macs_backbone=[1e6] * 3, macs_heads=[0] * 3, macs_gates=[0] * 3), {}, "do not add up to 'macs'"),
    "outside the folder": (model_with(folder="../elsewhere"), {}, "must lie inside the folder of the card"),
    "no such rule": (model_with(rule="confidense"), {}, "no rule 'confidense'; did you mean 'confidence'?"),
    "no such method": (model_with(rule="method"), {}, "unknown method 'mine'"),
    "signals missing": (
        model_with(rule="method", method="jei_dnn"), {}, "add what it looks at as arrays 'seen_<name>'"),
    "NaN": (card_of(), arrays_with(logits=nan_logits()), "'logits' holds 1 values that are no finite numbers"),
    "classes do not fit": (
        card_of(), arrays_with(logits=logits_of(split_of(2)["targets"], 5, classes=4)), "it must be 60x3x3"),
    "a class too many": (card_of(), arrays_with(targets=np.full(60, 3)), "names class 3; the card has 3 classes"),
    "one sample less": (card_of(), arrays_with(targets=split_of(2)["targets"][:-1]), "it must be 59x3x3"),
    "an exit less": (card_of(), arrays_with(logits=split_of(2)["logits"][:, :2]), "is 60x2x3, it must be 60x3x3"),
    "an id twice": (card_of(), arrays_with(ids=np.zeros(60, dtype=int)), "'ids' names a sample twice"),
    "no answers": (card_of(), {"test": {"targets": split_of(2)["targets"]}}, "neither 'logits' nor both"),
    "an unknown array": (card_of(), arrays_with(logit=1), "'logit', which the format does not know; did you mean"),
    "answers against logits": (
        card_of(), arrays_with(predictions=(split_of(2)["logits"].argmax(-1) + 1) % CLASSES), "are not the largest"),
    "confidences against logits": (
        card_of(), arrays_with(confidences=np.full((60, 3), 0.5)), "'confidences' are not what the 'logits' say"),
    "a confidence of 2": (
        card_of(), {"test": {**answers_only(split_of(2)), "confidences": np.full((60, 3), 2.0)}}, "must lie in [0, 1]"),
    "the test set twice": (card_of(), {"val": split_of(2)}, "val.npz and test.npz hold the same samples"),
    "metric of a regression": (
        card_of(task={"classes": 3, "metric": "pearson_spearman"}), {}, "does not score classification"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(case, tmp_path):
    card, splits, said = BAD[case]
    folder = write(tmp_path / "in", card, **splits)
    with pytest.raises(UserError) as caught:
        import_predictions(folder, results=tmp_path / "results")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_files_that_are_no_arrays_are_refused(tmp_path):
    folder = write(tmp_path / "in")
    (folder / "test.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match="is no npz of plain arrays"):
        import_predictions(folder, results=tmp_path / "results")
    np.savez(folder / "test.npz", targets=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="is no npz of plain arrays"):
        import_predictions(folder, results=tmp_path / "results")
    (folder / "test.npz").unlink()
    with pytest.raises(UserError, match=r"there is no .*test\.npz"):
        import_predictions(folder, results=tmp_path / "results")
    with pytest.raises(UserError, match="holds no card"):
        import_predictions(tmp_path, results=tmp_path / "results")
    with pytest.raises(UserError, match="there is no folder"):
        import_predictions(tmp_path / "nowhere", results=tmp_path / "results")


def test_only_what_is_about_the_same_samples_and_network_goes_beside_a_run(smoke, plugin, tmp_path):
    registry = Registry.installed([plugin])
    for changes, said in (
        ({}, "classes is 10 in the run, 3 in the card"),
        ({"task": {"classes": 10}}, "the run's backbone has 12 blocks"),
    ):
        folder = write(tmp_path / said[:7], card_of(**changes), val=split_of(1), test=split_of(2))
        if changes:
            card = card_of(**changes)
            for name, seed in (("val", 1), ("test", 2)):
                targets = np.random.default_rng(seed).integers(0, 10, 60)
                np.savez(folder / f"{name}.npz", targets=targets, logits=logits_of(targets, seed, classes=10))
            (folder / "card.json").write_text(json.dumps(card))
        with pytest.raises(UserError, match=said):
            import_predictions(folder, results=tmp_path / "results", beside=smoke.path, registry=registry)
    out = export_predictions(smoke.path, tmp_path / "own", methods=[PABEE], registry=registry)
    with pytest.raises(UserError, match="has a 'backbone' already"):
        import_predictions(out, results=tmp_path / "results", beside=smoke.path, registry=registry)
    assert not (tmp_path / "results").exists()


def test_export_writes_over_nothing_and_knows_what_the_run_has(smoke, plugin, tmp_path):
    registry = Registry.installed([plugin])
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        export_predictions(smoke.path, tmp_path / "file", registry=registry)
    with pytest.raises(UserError, match="is not empty"):
        export_predictions(smoke.path, tmp_path, registry=registry)
    with pytest.raises(UserError, match=r"no finished method 'pabee'; known: jei_dnn"):
        export_predictions(smoke.path, tmp_path / "out", methods=["pabee"], registry=registry)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
