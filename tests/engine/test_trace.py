"""A trace against direct computation: what every exit said about every sample, at any batch size, saved and read."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import log_loss

from eebench.api import ExitRule, Knob, Task
from eebench.engine.model import assemble
from eebench.engine.trace import Trace, collect
from eebench.plugins.registry import Registry
from eebench.rules import Confidence
from eebench.testing import tiny_backbone, tiny_data

CPU = torch.device("cpu")
TASK = Task(classes=4)


def made(text="pabee", kind="vit", task=TASK):
    torch.manual_seed(0)
    backbone = tiny_backbone(kind, task.outputs, 4)
    (chosen,) = Registry.installed().choose(text)
    model = assemble(chosen.method, backbone, task).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return model, chosen.rule(task), tiny_data(kind, task, 21)


def direct(model, split):
    with torch.inference_mode():
        visits = model.trace(model.backbone.prepare(list(split.inputs)))
        return torch.stack([visit.logits for visit in visits], 1).double().numpy(), visits


def test_an_exit_of_another_width_is_named():
    model, rule, data = made()
    with pytest.raises(
        ValueError, match=r"the exit behind block 1 answers \(8, 4\) for 8 samples, it must be \(8, 5\)"
    ):
        collect(model, rule, data.test, Task(classes=5), device=CPU, batch_size=8)


def test_columns_are_what_the_exits_said():
    model, rule, data = made()
    found = collect(model, rule, data.test, TASK, device=CPU, batch_size=8)
    logits, visits = direct(model, data.test)
    p, targets = softmax(logits, -1), data.test.targets
    assert found.blocks == model.blocks
    assert found.ids.tolist() == list(range(21))
    assert found.targets.tolist() == targets.tolist()
    np.testing.assert_array_equal(found.prediction, logits.argmax(-1))
    np.testing.assert_allclose(found.confidence, p.max(-1), rtol=1e-4)
    np.testing.assert_allclose(found.target_probability, p[np.arange(21), :, targets], rtol=1e-3)
    np.testing.assert_allclose(found.brier, ((p - np.eye(4)[targets][:, None]) ** 2).sum(-1), rtol=1e-3)
    for e in range(len(model.blocks)):
        assert found.nll[:, e].mean() == pytest.approx(log_loss(targets, p[:, e], labels=range(4)), rel=1e-4)
    np.testing.assert_array_equal(found.correct, found.prediction == targets[:, None])
    ids = torch.arange(21)
    for position, visit in enumerate(visits[:-1]):
        for name, values in rule.observe(visit.output, position, ids).items():
            np.testing.assert_allclose(found.seen[name][:, position], values.numpy(), rtol=1e-4)
    assert all(values.shape[:2] == (21, len(model.blocks) - 1) for values in found.seen.values())


@pytest.mark.parametrize(
    ("text", "kind"), [("palbert", "vit"), ("pondernet", "text"), ("ztw", "deit"), ("sdn", "swin")]
)
def test_batches_do_not_show(text, kind, tmp_path):
    model, rule, data = made(text, kind)
    traces = [
        collect(model, rule, data.test, TASK, device=CPU, batch_size=size, logits_file=tmp_path / f"{size}.npy")
        for size in (1, 5, 64)
    ]
    for other in traces[:-1]:
        np.testing.assert_array_equal(other.prediction, traces[-1].prediction)
        np.testing.assert_allclose(other.logits, traces[-1].logits, rtol=1e-3, atol=1e-4)
        for name, values in other.seen.items():
            np.testing.assert_allclose(values, traces[-1].seen[name], rtol=1e-3, atol=1e-4)


def test_logits_go_to_disk(tmp_path):
    model, rule, data = made()
    found = collect(model, rule, data.test, TASK, device=CPU, batch_size=8, logits_file=tmp_path / "l.npy")
    logits, _ = direct(model, data.test)
    assert isinstance(found.logits, np.memmap)
    assert found.logits.shape == (len(model.blocks), 21, 4)
    np.testing.assert_allclose(found.logits, logits.swapaxes(0, 1), rtol=1e-3, atol=1e-5)
    assert collect(model, rule, data.test, TASK, device=CPU).logits is None


def test_a_rule_sees_the_position_and_the_names_of_samples():
    told = []

    class Nosy(Confidence):
        def observe(self, output, exit, ids):
            told.append((exit, ids.tolist()))
            return super().observe(output, exit, ids)

    model, _, data = made()
    collect(model, Nosy(), data.test, TASK, device=CPU, batch_size=15)
    inner = range(len(model.blocks) - 1)
    assert told == [(e, list(range(15))) for e in inner] + [(e, list(range(15, 21))) for e in inner]


def test_observations_may_have_several_columns(tmp_path):
    class Wide(ExitRule):
        knob = Knob("k", never=1)

        def observe(self, output, exit, ids):
            return {"top": output.logits.topk(2).values, "id": ids}

        def step(self, state, seen, knob):
            raise NotImplementedError

        def grid(self, seen):
            return [1]

    model, _, data = made()
    found = collect(model, Wide(), data.test, TASK, device=CPU, batch_size=8)
    assert found.seen["top"].shape == (21, len(model.blocks) - 1, 2)
    assert (found.seen["id"] == np.arange(21)[:, None]).all()
    found.save(tmp_path, "val")
    np.testing.assert_array_equal(Trace.load(tmp_path, "val").seen["top"], found.seen["top"])


def test_saved_and_read(tmp_path):
    model, rule, data = made()
    found = collect(model, rule, data.test, TASK, device=CPU, logits_file=tmp_path / "logits-test.npy")
    found.save(tmp_path, "test")
    again = Trace.load(tmp_path, "test")
    assert again.blocks == found.blocks
    for name in ("ids", "targets", "prediction", "confidence", "target_probability", "nll", "brier", "logits"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert again.seen.keys() == found.seen.keys()
    for name, values in again.seen.items():
        np.testing.assert_array_equal(values, found.seen[name])
        assert values.dtype == found.seen[name].dtype
        assert values.flags.f_contiguous
    assert isinstance(again.logits, np.memmap)
    (tmp_path / "logits-test.npy").unlink()
    assert Trace.load(tmp_path, "test").logits is None


def test_regression():
    task = Task(kind="regression", classes=1, metric="pearson_spearman")
    model, rule, data = made(task=task)
    found = collect(model, rule, data.test, task, device=CPU, batch_size=8)
    values, _ = direct(model, data.test)
    np.testing.assert_allclose(found.prediction, values[..., 0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.nll, (values[..., 0] - data.test.targets[:, None]) ** 2, rtol=1e-3, atol=1e-5)
    assert not found.confidence.any()
    assert not found.brier.any()


def test_the_model_is_traced_in_eval_mode():
    model, rule, data = made("palbert")
    collect(model.train(), rule, data.test, TASK, device=CPU)
    assert not model.training
