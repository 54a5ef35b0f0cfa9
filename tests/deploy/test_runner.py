"""The runner: what the model itself decides and answers, without torch; and every way a folder can be wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from eebench.deploy import Runner, TorchRunner
from eebench.deploy.folder import read
from eebench.errors import UserError

from .conftest import pictures, tokens

QUANTILES = (-1.0, 0.2, 0.45, 0.5, 0.6, 0.8, 1.0)


def same(runner, found, inputs, knobs, **how):
    """Decisions are the model's, logits but for rounding."""
    stopped = set()
    arrays = {"pixels": inputs} if isinstance(inputs, torch.Tensor) else inputs
    arrays = {name: column.numpy() for name, column in arrays.items()}
    for knob in knobs:
        logits, exits = runner.decide(arrays, knob, **how)
        live = found.model.dynamic(inputs, found.rule, knob)
        assert exits.tolist() == live.exit.tolist()
        np.testing.assert_allclose(logits, live.logits.numpy(), atol=1e-5)
        stopped |= set(exits.tolist())
    assert stopped == {0, 1, 2}


@pytest.mark.parametrize("wait", [False, True])
def test_a_batch_decides_as_the_model_does(vision, wait):
    same(Runner(vision.folder), vision, pictures(40), (0, 1, 2), wait=wait)


def test_one_image_decides_as_the_model_does(vision):
    runner, stops = Runner(vision.folder), set()
    for knob in (0, 1, 2):
        for image in pictures(3):
            logits, exits = runner.decide(image[None].numpy(), knob)
            live = vision.model.dynamic(image[None], vision.rule, knob)
            assert exits.tolist() == live.exit.tolist()
            np.testing.assert_allclose(logits, live.logits.numpy(), atol=1e-5)
            stops |= set(exits.tolist())
    assert stops == {0, 1, 2}


@pytest.mark.parametrize("wait", [False, True])
def test_a_classifier_that_was_put_off_answers_only_who_stops(text, wait):
    runner = Runner(text.folder)
    asked = []
    answer = runner.answer
    runner.answer = lambda position, held: asked.append(len(held["carry.z"])) or answer(position, held)
    same(runner, text, tokens(30), QUANTILES, wait=wait)
    assert asked
    assert max(asked) <= 30
    one = {name: column[:1] for name, column in tokens(3).items()}
    live = text.model.dynamic(one, text.rule, 0.5)
    logits, _ = runner.decide({name: column.numpy() for name, column in one.items()}, 0.5)
    np.testing.assert_allclose(logits, live.logits.numpy(), atol=1e-5)


def test_a_text_needs_no_mask(text):
    runner, ids = Runner(text.folder), np.full((2, 5), 3)
    without, _ = runner.decide({"input_ids": ids}, 1.0)
    given, _ = runner.decide({"input_ids": ids, "attention_mask": np.ones_like(ids)}, 1.0)
    np.testing.assert_array_equal(without, given)


def test_a_call_answers_in_words(vision):
    runner, images = Runner(vision.folder), pictures(6)
    answer = runner(images.numpy(), prepared=True)  # at the exported knob
    live = vision.model.dynamic(images, vision.rule, 1.0)
    names = ("one", "two", "three")
    assert answer.labels == [names[k] for k in live.logits.argmax(1)]
    assert answer.block.tolist() == live.block.tolist()
    np.testing.assert_allclose(answer.probabilities, live.logits.softmax(1).numpy(), atol=1e-5)
    assert runner(images.numpy(), "macs_50", prepared=True).block.tolist() == [1] * 6
    assert runner(images.numpy(), 1000, prepared=True).block.tolist() == [3] * 6
    assert runner.knobs == {"drop_1": 1.0, "macs_50": 0.0}


def test_it_runs_without_torch(vision, tmp_path):
    """In a process where torch, and all that eebench needs beside numpy and onnxruntime, cannot be imported."""
    images = pictures(9).numpy()
    np.save(tmp_path / "images.npy", images)
    code = f"""
import sys
class Forbidden:
    names = {{"torch", "timm", "torchvision", "transformers", "scipy", "sklearn", "pandas", "pydantic", "safetensors"}}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{{name}} was asked for")
sys.meta_path.insert(0, Forbidden())
import numpy as np
from eebench.deploy import Runner
logits, exits = Runner({str(vision.folder)!r}).decide(np.load("images.npy"), 1)
np.savez("found.npz", logits=logits, exits=exits)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    found = np.load(tmp_path / "found.npz")
    logits, exits = Runner(vision.folder).decide(images, 1)
    np.testing.assert_array_equal(found["exits"], exits)
    np.testing.assert_allclose(found["logits"], logits, atol=1e-6)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (np.zeros((2, 1, 8, 9), np.float32), r"'pixels' has shape \(2, 1, 8, 9\); this model takes \(batch, 1, 8, 8\)"),
        (np.zeros((1, 8, 8), np.float32), "'pixels' has shape"),
        (np.zeros((0, 1, 8, 8), np.float32), "no samples"),
        (np.full((1, 1, 8, 8), "a"), "no numbers"),
        ({"images": np.zeros((1, 1, 8, 8))}, "the batch has no 'pixels'; this model takes pixels"),
    ],
)
def test_a_wrong_batch_is_one_line(vision, batch, words):
    with pytest.raises(UserError, match=words):
        Runner(vision.folder).decide(batch)


def test_threads_share_one_pool(vision):
    """In a process of its own, because the pool is the process's."""
    code = f"""
import onnxruntime
from eebench.deploy import Runner
asked = []
real = onnxruntime.set_global_thread_pool_sizes
onnxruntime.set_global_thread_pool_sizes = lambda *sizes: asked.append(sizes) or real(*sizes)
import numpy as np
for threads in (1, 2, 3, 1):
    Runner({str(vision.folder)!r}, threads=threads).decide(np.zeros((2, 1, 8, 8), np.float32))
assert asked == [(2, 1)], asked
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(UserError, match="threads must be at least 1"):
        Runner(vision.folder, threads=0)


def test_columns_of_different_lengths_are_one_line(text):
    with pytest.raises(UserError, match="'attention_mask' has shape"):
        Runner(text.folder).decide({"input_ids": np.ones((2, 4)), "attention_mask": np.ones((2, 5))})


def test_wrong_names_are_one_line(vision):
    runner = Runner(vision.folder)
    with pytest.raises(UserError, match="no operating point 'drop_2'; did you mean 'drop_1'"):
        runner(pictures(1).numpy(), "drop_2", prepared=True)
    with pytest.raises(UserError, match="does not say how raw samples are prepared"):
        runner([np.zeros((8, 8))])
    with pytest.raises(UserError, match="ONNX Runtime here has no MoonExecutionProvider"):
        Runner(vision.folder, providers=["MoonExecutionProvider"])
    with pytest.raises(UserError, match="exported as onnx: open it with Runner"):
        TorchRunner(vision.folder)


def change(folder, **values):
    path = folder / "deployment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


DAMAGE = {
    "cut": (
        lambda f: (f / "segment_02.onnx").write_bytes((f / "segment_02.onnx").read_bytes()[:-9]),
        "it was cut, or is",
    ),
    "another's": (
        lambda f: (f / "segment_02.onnx").write_bytes((f / "segment_02.onnx").read_bytes()[::-1]),
        "segment_02.onnx is not the file that was exported",
    ),
    "gone": (lambda f: (f / "weights.safetensors").unlink(), "weights.safetensors is missing"),
    "no description": (lambda f: (f / "deployment.json").unlink(), "holds no exported model"),
    "no JSON": (lambda f: (f / "deployment.json").write_text("{"), "not readable JSON"),
    "a list": (lambda f: (f / "deployment.json").write_text("[]"), "export version None"),
    "a later version": (lambda f: change(f, format_version=2), "export version 2; this eebench runs version 1"),
    "a segment too few": (lambda f: change(f, blocks=[1, 2]), "damaged: ValueError: 3 segments for 2 exits"),
    "no rule of ours": (lambda f: change(f, rule={"kind": "magic"}), "no decision is called 'magic'"),
    "an odd field": (lambda f: change(f, colour="red"), "damaged"),
    "no checksum": (lambda f: change(f, files={}), "gives no checksum for segment_01.onnx"),
    "a way out": (lambda f: change(f, files={**read(f).files, "../x": {}}), "is missing"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_folder_is_one_line(again, how):
    damage, words = DAMAGE[how]
    damage(again)
    with pytest.raises(UserError) as caught:
        Runner(again)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_opset_of_the_future_is_one_line(again):
    import onnx

    from eebench.deploy.folder import digest

    path = again / "segment_01.onnx"
    model = onnx.load(path, load_external_data=False)
    model.opset_import[0].version = 999
    onnx.save(model, path)
    facts = {"sha256": digest(path), "bytes": path.stat().st_size}
    change(again, files={**read_files(again), path.name: facts}, opset=999)
    with pytest.raises(UserError, match=r"\(opset 999\) cannot be opened by ONNX Runtime"):
        Runner(again)


def read_files(folder):
    return json.loads((folder / "deployment.json").read_text())["files"]


# --- arrays that stay on the device ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [False, True])
def test_bound_arrays_decide_and_answer_the_same(vision, text, wait):
    same(Runner(vision.folder, bind=True), vision, pictures(40), (0, 1, 2), wait=wait)
    same(Runner(text.folder, bind=True), text, tokens(30), QUANTILES, wait=wait)


def test_bound_arrays_of_one_sample(vision):
    runner = Runner(vision.folder, bind=True)
    image = pictures(1)
    for knob in (0, 1, 2):
        logits, exits = runner.decide(image.numpy(), knob)
        live = vision.model.dynamic(image, vision.rule, knob)
        assert isinstance(logits, np.ndarray)
        assert exits.tolist() == live.exit.tolist()
        np.testing.assert_allclose(logits, live.logits.numpy(), atol=1e-5)


def test_what_one_segment_hands_to_the_next_is_never_brought_to_the_host(vision, monkeypatch):
    import onnxruntime

    from eebench.deploy.sessions import BoundSession

    runner = Runner(vision.folder, bind=True)
    looked = []
    numpy = onnxruntime.OrtValue.numpy
    monkeypatch.setattr(onnxruntime.OrtValue, "numpy", lambda value: looked.append(value.shape()) or numpy(value))
    assert all(isinstance(session, BoundSession) for session in runner._segments)
    runner.decide(pictures(1).numpy(), 2)
    classes = 3
    assert looked
    assert all(len(shape) < 2 or shape[-1] == classes for shape in looked), "scores and logits alone"


def test_a_device_that_nobody_knows_is_refused(vision, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["StrangeExecutionProvider"])
    with pytest.raises(UserError, match="on which device StrangeExecutionProvider keeps its arrays"):
        Runner(vision.folder, providers=["StrangeExecutionProvider"], bind=True)
