"""Steps in parts: the gradients of the whole, in fit as well; a GPU that is too small gets smaller parts."""

import copy

import numpy as np
import pytest
import torch

from eebench.api import Phase, Recipe, Task
from eebench.data import lengths
from eebench.data.base import Batch, Split
from eebench.engine.accumulate import Room, accumulate, halves, out_of_memory
from eebench.engine.model import EarlyExitModel
from eebench.engine.train import backbone_phase, fit
from eebench.errors import UserError
from eebench.testing import tiny_backbone, tiny_data

TASK = Task(classes=3)


def batch_of(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(n, 4, generator=generator), torch.arange(n) % 3, torch.arange(n))


def loss_with(model):
    return lambda batch: torch.nn.functional.cross_entropy(model(batch.inputs), batch.targets)


def test_parts_add_up_to_the_whole():
    model = torch.nn.Linear(4, 3).double()
    whole = batch_of(10)
    whole.inputs = whole.inputs.double()
    parts = [Batch(whole.inputs[s], whole.targets[s], whole.ids[s]) for s in (slice(0, 7), slice(7, 9), slice(9, 10))]
    found = []
    for given in ([whole], parts):
        loss, computed = accumulate(given, loss_with(model), model.zero_grad)
        assert computed == len(given)
        assert not loss.requires_grad
        found.append((loss, model.weight.grad.clone(), model.bias.grad.clone()))
    torch.testing.assert_close(found[1], found[0])


def test_where_memory_is_short_the_step_starts_again_in_halves():
    model = torch.nn.Linear(4, 3)
    batch, asked = batch_of(12), []

    def loss_of(part):
        asked.append(len(part.targets))
        loss = loss_with(model)(part)
        if len(part.targets) > 3:
            loss.backward()  # what is left behind of a failed part must not count
            raise torch.OutOfMemoryError("no")
        return loss

    loss, computed = accumulate([batch], loss_of, model.zero_grad)
    assert (computed, asked) == (4, [12, 6, 3, 3, 3, 3])
    gradient = model.weight.grad.clone()
    whole, _ = accumulate([batch], loss_with(model), model.zero_grad)
    torch.testing.assert_close((loss, gradient), (whole, model.weight.grad))


def test_a_device_that_holds_not_even_two_samples_is_told_in_one_line():
    def loss_of(part):
        raise torch.OutOfMemoryError("no")

    with pytest.raises(UserError, match="out of memory with 3 samples at once; try"):
        accumulate([batch_of(10)], loss_of, lambda: None)


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_is_a_want_of_memory(error, short):
    assert out_of_memory(error) is short


def test_other_errors_are_not_swallowed():
    def loss_of(part):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="multiplied"):
        accumulate([batch_of(10)], loss_of, lambda: None)


def test_what_fits_is_remembered():
    """Only the first step fails; and of texts in parts of several lengths just the large ones are halved."""
    model, room, asked = torch.nn.Linear(4, 3), Room(), []

    def loss_of(part):
        asked.append(len(part.targets))
        if part.inputs.numel() > 24:
            raise RuntimeError("out of memory")
        return loss_with(model)(part)

    for _ in range(2):
        accumulate([batch_of(12)], loss_of, model.zero_grad, room)
    assert asked == [12, 6, 6, 6, 6]
    assert room.samples == 6
    asked.clear()
    accumulate([batch_of(3), batch_of(8)], loss_of, model.zero_grad, room)
    assert asked == [3, 4, 4]


def tiny_memory(error, most):
    """A loss that fails with ``error`` on more than so many samples at once."""

    def loss(step):
        if len(step.targets) > most:
            raise error
        return step.loss(step.visits[-1].logits, step.targets).mean()

    return loss


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no"), RuntimeError("CUDA out of memory"), MemoryError()])
@pytest.mark.parametrize("kind", ["vit", "text"])
def test_a_phase_that_runs_out_of_memory_ends_with_the_weights_of_the_whole_steps(kind, error):
    data, found = tiny_data(kind, TASK, samples=44), []
    for most in (100, 5):
        torch.manual_seed(0)
        model = EarlyExitModel(tiny_backbone(kind, 3, depth=2).double(), {})
        if kind == "vit":
            data.train.inputs[:] = [image.double() for image in data.train.inputs]
            data.val.inputs[:] = [image.double() for image in data.val.inputs]
        phase = Phase("p", tiny_memory(error, most))
        recipe = Recipe(epochs=2, lr=1e-2, batch_size=16, clip=1.0)
        history = fit(model, phase, recipe, data, seed=0, device=torch.device("cpu"))
        found.append((history, model.state_dict()))
    (whole, expected), (parted, weights) = found
    assert (whole.parts, whole.fitted) == (1, None)
    assert (parted.parts, parted.fitted) == (4, 4)
    np.testing.assert_allclose(parted.losses, whole.losses, rtol=1e-9)
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-9, rtol=1e-7, msg=name)


def test_halves_keep_ids_targets_and_dictionaries_together():
    batch = Batch({"a": torch.arange(5), "b": torch.arange(10).view(5, 2)}, torch.arange(5), torch.arange(5) + 7)
    first, second = halves(batch)
    assert first.inputs["a"].tolist() == first.targets.tolist() == [0, 1]
    assert second.inputs["b"][:, 0].tolist() == [4, 6, 8]
    assert second.ids.tolist() == [9, 10, 11]
    assert halves(first) == [first]


def test_a_phase_trains_alike_with_few_tokens_at_once(monkeypatch):
    """Long texts among short ones: the same weights whether a step is computed whole or in parts."""
    rng = np.random.default_rng(0)
    data = tiny_data("text", TASK, samples=24)
    for row in (3, 11, 17):
        long = torch.as_tensor(rng.integers(2, 50, 60))
        data.train.inputs[row] = long
    torch.manual_seed(0)
    start = EarlyExitModel(tiny_backbone("text", 3, depth=2).double(), {})
    trained = []
    for tokens in (10_000, 100):
        monkeypatch.setattr(lengths, "TRAINED", tokens)
        model = copy.deepcopy(start)
        recipe = Recipe(epochs=2, lr=1e-3, batch_size=8)
        history = fit(model, backbone_phase(), recipe, data, seed=0, device=torch.device("cpu"))
        trained.append(model.state_dict())
        assert (history.parts > 1) == (tokens == 100)
    assert len(trained[0]) > 10
    for name, tensor in trained[0].items():
        torch.testing.assert_close(trained[1][name], tensor, atol=1e-9, rtol=1e-7, msg=name)


def test_traces_are_in_the_splits_order_whatever_the_lengths(monkeypatch, tmp_path):
    from eebench.engine.trace import collect
    from eebench.parts import LinearExit
    from eebench.rules import Confidence

    data = tiny_data("text", TASK, samples=40)
    torch.manual_seed(0)
    backbone = tiny_backbone("text", 3, depth=3)
    exits = {b: LinearExit(backbone.layouts[b - 1], 3) for b in (1, 2)}
    model = EarlyExitModel(backbone, exits).eval()
    trace = collect(
        model, Confidence(), data.test, TASK, device=torch.device("cpu"), batch_size=7, logits_file=tmp_path / "l.npy"
    )
    assert trace.targets.tolist() == data.test.targets.tolist()
    with torch.inference_mode():
        for row in (0, 1, 17, 39):
            alone = model.trace(backbone.prepare([data.test.inputs[row]]))
            for number, visit in enumerate(alone):
                np.testing.assert_allclose(trace.logits[number, row], visit.logits[0], atol=1e-5)
                assert trace.prediction[row, number] == visit.logits[0].argmax()
    assert Split(data.test.inputs, data.test.targets) == data.test
