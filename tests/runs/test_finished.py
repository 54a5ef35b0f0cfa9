"""A finished run from Python: what was measured is what is loaded."""

import pytest
import torch
from sklearn.datasets import load_digits

import eebench
from eebench.data import load as load_data
from eebench.engine.trace import Trace
from eebench.errors import UserError

METHOD = "pabee[blocks=3+6+9]"


def test_tables_are_read_and_failures_told(smoke):
    tables = eebench.read(str(smoke.path))
    assert set(tables) == set(smoke.tables)
    assert tables["curves"].equals(smoke.tables["curves"])
    assert tables["curves"].attrs == {"path": str(smoke.path), "failed": {"failing": smoke.reason}}
    with pytest.raises(UserError, match="does not exist"):
        eebench.read(smoke.path / "nowhere")


def test_a_loaded_method_answers_raw_samples_as_it_was_scored(smoke):
    deployed = eebench.load(smoke.path, METHOD)
    points = smoke.tables["operating_points"].query("method == @METHOD and kind == 'dynamic'")
    assert deployed.knobs == dict(zip(points["target"], points["knob"], strict=True))
    assert len(repr(deployed)) < 200
    raw = load_digits().images  # 0 to 16
    split = load_data("digits").test
    prepared = deployed.preprocessing.apply(list(raw))
    lookup = {tensor.numpy().tobytes(): i for i, tensor in enumerate(prepared)}
    rows = [lookup[image.numpy().tobytes()] for image in list(split.inputs)[:40]]
    answer = deployed(raw[rows], "macs_50")
    inside = deployed(list(split.inputs)[:40], deployed.knobs["macs_50"], prepared=True)
    assert answer.labels == inside.labels == [str(int(label)) for label in answer.probabilities.argmax(1)]
    assert torch.equal(answer.block, inside.block)
    assert set(answer.block.tolist()) <= {3, 6, 9, 12}
    assert answer.probabilities.sum(1).numpy() == pytest.approx(1)
    (cell,) = (smoke.path / "cells").glob("pabee*")
    assert Trace.load(cell, "test").blocks == deployed.model.blocks


def test_the_plain_backbone_and_static_models_are_loaded_too(smoke):
    raw = load_digits().images[:5]
    for label, blocks in (("backbone", 12), ("static[blocks=3]", 3), ("static[blocks=12]", 12)):
        deployed = eebench.load(smoke.path, label)
        answer = deployed(raw)
        assert answer.block.tolist() == [blocks] * 5
        assert answer.logits.shape == (5, 10)


@pytest.mark.parametrize(
    ("samples", "knob", "words"),
    [([], 0.5, "no samples"), (None, "drop_9", "no operating point 'drop_9'; there are"), ("raw", 0.5, "'raw'")],
)
def test_what_cannot_be_answered_is_one_line(smoke, samples, knob, words):
    deployed = eebench.load(smoke.path, METHOD)
    with pytest.raises(UserError, match=words):
        deployed(load_digits().images[:2] if samples is None else samples, knob)


def test_what_is_not_there_is_one_line(smoke, copied):
    with pytest.raises(UserError, match="no finished method 'pabe'"):
        eebench.load(smoke.path, "pabe")
    run = copied / smoke.path.name
    (cell,) = run.glob("cells/pabee*")
    (cell / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights\.safetensors is missing; run the benchmark here again"):
        eebench.load(run, METHOD)
    for name in ("*.npz", "*.npy"):  # what a published copy of a record leaves out besides
        for bulk in cell.glob(name):
            bulk.unlink()
    with pytest.raises(UserError, match="are not in"):
        eebench.load(run, METHOD)
