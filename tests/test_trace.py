"""Collecting a trace: every exit's facts against scikit-learn and scipy, and logits that go to disk as they come."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from eebench.data.base import Split, Task
from eebench.model import EarlyExitModel
from eebench.parts import LinearExit
from eebench.rules import Confidence, Entropy
from eebench.trace import Trace, collect
from tests.walk import CLASSES, inputs_for, tiny_vit

N, CPU = 21, torch.device("cpu")  # no whole number of batches of 8


def model(outputs=CLASSES):
    vit = tiny_vit(outputs=outputs)
    torch.manual_seed(0)
    return EarlyExitModel(vit, {b: LinearExit(vit.layouts[0], outputs, norm=True) for b in (1, 2, 3)})


def split():
    return Split(inputs_for(tiny_vit(), N), np.random.default_rng(0).integers(0, CLASSES, N))


@pytest.fixture
def collected(tmp_path):
    path = tmp_path / "logits-test.npy"
    trace = collect(model(), Confidence(), split(), Task(classes=CLASSES), device=CPU, batch_size=8, logits_file=path)
    trace.save(tmp_path, "test")
    return trace, Trace.load(tmp_path, "test")


def test_logits_on_disk_are_the_models(collected):
    with torch.inference_mode():
        visits = model().eval().trace(split().inputs)
    expected = np.stack([visit.logits.numpy() for visit in visits])
    for trace in collected:
        assert isinstance(trace.logits, np.memmap)
        assert trace.logits.dtype == np.float32
        assert not trace.logits.flags.writeable
        np.testing.assert_allclose(trace.logits, expected, rtol=1e-5, atol=1e-6)


def test_facts_follow_from_the_logits(collected):
    trace, loaded = collected
    log_p = log_softmax(np.asarray(trace.logits, dtype=np.float64), -1).transpose(1, 0, 2)  # (N, E, K)
    p, rows = np.exp(log_p), np.arange(N)
    np.testing.assert_array_equal(trace.prediction, p.argmax(-1))
    np.testing.assert_allclose(trace.confidence, p.max(-1), rtol=1e-5)
    np.testing.assert_allclose(trace.target_probability, p[rows, :, trace.targets], rtol=1e-5)
    np.testing.assert_allclose(trace.brier, np.square(p - np.eye(CLASSES)[trace.targets][:, None]).sum(-1), rtol=1e-4)
    for number in range(4):
        whole = log_loss(trace.targets, p[:, number], labels=range(CLASSES))
        assert trace.nll[:, number].mean() == pytest.approx(whole, rel=1e-5)
    np.testing.assert_allclose(trace.seen["score"], trace.confidence[:, :-1], rtol=1e-6)
    for name in ("prediction", "confidence", "target_probability", "nll", "brier", "targets", "ids"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(trace, name))
    np.testing.assert_array_equal(loaded.seen["score"], trace.seen["score"])
    assert loaded.seen["score"].flags.f_contiguous
    assert loaded.blocks == (1, 2, 3, 4)


def test_batches_do_not_matter():
    task = Task(classes=CLASSES)
    small, large = (collect(model(), Entropy(), split(), task, device=CPU, batch_size=size) for size in (1, 64))
    assert small.logits is None
    np.testing.assert_allclose(small.nll, large.nll, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(small.seen["score"], large.seen["score"], rtol=1e-4, atol=1e-6)


def test_regression_keeps_values_and_squared_errors():
    targets = np.linspace(-1, 1, N).astype(np.float32)
    rule = Entropy()
    rule.score = lambda output: output.logits[:, 0]
    data = Split(split().inputs, targets)
    trace = collect(model(1), rule, data, Task(kind="regression", classes=1), device=CPU, batch_size=8)
    np.testing.assert_allclose(trace.nll, (trace.prediction - targets[:, None]) ** 2, rtol=1e-5)
    assert trace.prediction.dtype == np.float32
    assert not trace.confidence.any()
