"""From a finished run to a folder and back: the numbers on its card are the run's, its answers live inference's."""

import json

import numpy as np
import pandas as pd
import pytest

import eebench
from eebench.deploy import Runner
from eebench.errors import UserError
from eebench.runs.agreement import NEAR, agreement, compare_exported

LABEL = "pabee[blocks=3+6+9]"


@pytest.fixture(scope="module")
def exported(smoke, tmp_path_factory):
    """The smoke run's PABEE at half of the MACs."""
    out = tmp_path_factory.mktemp("exported") / "pabee"
    eebench.export(smoke.path, LABEL, out, target="macs_50")
    return out


def test_it_answers_as_live_inference_on_the_whole_test_split(smoke, exported):
    found = agreement(smoke.path, LABEL, Runner(exported))
    assert (found.samples, found.elsewhere, found.otherwise) == (64, 0, 0)
    assert found.agrees
    assert "64 test samples: all stop at the same exit with the same answer" in str(found)


def test_raw_samples_are_answered_as_the_loaded_model_answers_them(smoke, exported):
    images = list(np.random.default_rng(0).integers(0, 17, (6, 8, 8)))
    live = eebench.load(smoke.path, LABEL)(images, "macs_50")
    found = Runner(exported)(images)
    assert found.labels == live.labels
    assert found.block.tolist() == live.block.tolist()
    np.testing.assert_allclose(found.probabilities, live.probabilities.numpy(), atol=1e-5)


def test_the_card_has_the_runs_own_numbers(smoke, exported):
    points = smoke.tables["operating_points"]
    ((_, row),) = points[
        (points.method == LABEL) & (points.kind == "dynamic") & (points.target == "macs_50")
    ].iterrows()
    numbers = json.loads((exported / "deployment.json").read_text())["numbers"]
    for name in ("score", "drop", "drop_low", "drop_high", "speedup_macs", "speedup_macs_high", "mean_exit"):
        assert numbers[name] == pytest.approx(row[name])
    card = (exported / "README.md").read_text()
    assert f"| {row['speedup_macs']:.2f} | {row['speedup_macs_low']:.2f} to {row['speedup_macs_high']:.2f} |" in card
    assert f"| run | {smoke.path.name} |" in card


def test_a_model_that_answers_otherwise_is_found_out(smoke, exported):
    """Logits turned round, and a threshold elsewhere: what is counted is what differs."""
    deployed = eebench.load(smoke.path, LABEL)
    test = agreed_split(smoke)

    class Wrong(Runner):
        def decide(self, batch, knob=None, **how):
            logits, exits = super().decide(batch, knob, **how)
            return -logits, np.where(np.arange(len(exits)) == 0, (exits + 1) % 4, exits)

    found = compare_exported(deployed.model, deployed.rule, Wrong(exported), test, size=16)
    assert found.elsewhere == 4  # the first of every batch
    assert found.otherwise == 60
    assert found.near < 8
    assert not found.agrees
    assert f"60 are answered otherwise, {found.near} of them within {NEAR:g}" in str(found)


def agreed_split(smoke):
    from eebench.plugins.registry import Registry
    from eebench.runs.prepare import load_data

    return load_data(smoke.spec, Registry.installed([]))[0].test


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"target": "drop_1", "knob": 2.0}, "give one of them"),
        ({"target": "drop_7"}, "no operating point 'drop_7'"),
        ({"method": "pabee"}, "no finished method 'pabee'"),
        ({"method": "backbone", "knob": 1.0}, "backbone decides nothing"),
        ({"seed": 5}, "seeds [0], not 5"),
    ],
)
def test_what_is_not_there_is_one_line(smoke, tmp_path, how, words):
    with pytest.raises(UserError) as caught:
        eebench.export(smoke.path, out=tmp_path / "out", **{"method": LABEL, **how})
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_any_knob_is_scored_by_replay(smoke):
    """On the stored trace: where the knob is one of the curve's, its row."""
    from eebench.runs.exporting import _measured

    deployed = eebench.load(smoke.path, LABEL)
    found = _measured(smoke.path, deployed, 0, 2.0)
    curves = smoke.tables["curves"]
    mine = (curves.method == LABEL) & (curves.kind == "dynamic") & (curves.split == "test") & (curves.knob == 2)
    (row,) = curves[mine].to_dict("records")
    plain = curves[(curves.kind == "plain") & (curves.split == "test")].score.item()
    assert found["score"] == pytest.approx(row["score"])
    assert found["speedup_macs"] == pytest.approx(row["speedup_macs"])
    assert found["drop"] == pytest.approx(plain - row["score"])
    assert found["drop_low"] < found["drop"] < found["drop_high"]
    assert pd.notna(found["mean_exit"])
