"""Exporting: what a folder holds, what is refused, and that nothing is left behind; every method on every network."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from eebench.api import ExitHead, ExitOutput, ExitRule, Knob, Method, Task
from eebench.deploy import Runner, TorchRunner
from eebench.deploy.export import Described, export
from eebench.deploy.graphs import trace_all
from eebench.deploy.segments import cut, named
from eebench.engine.model import EarlyExitModel, assemble
from eebench.errors import UserError
from eebench.parts import LinearExit
from eebench.plugins.registry import Registry
from eebench.rules import Confidence
from eebench.testing import tiny_vit
from eebench.testing.bench import KINDS, Bench
from eebench_methods.pondernet import PonderNet

from .conftest import made, pictures

METHODS = [
    *("berxit[exit=lte]", "branchynet", "jei_dnn", "lgvit", "pabee", "palbert", "pcee"),
    *("pondernet", "sdn[answer=most_confident]", "vit_ee", "ztw"),
]


def test_a_segment_takes_what_it_reads_and_gives_what_is_read(text):
    segments = text.deployment.segments
    assert {name: shape for name, (shape, _) in segments[0].takes.items()} == {
        "input_ids": ["batch", "length"],
        "attention_mask": ["batch", "length"],
    }
    assert segments[0].gives == ["tokens", "mask", "carry.z", "seen.go_on"]
    assert {*segments[1].takes} == {"tokens", "mask", "carry.z"}
    assert segments[1].gives == ["tokens", "carry.z", "seen.go_on"]  # the mask is as it was
    assert segments[2].gives == ["logits"]
    assert [answer and [*answer.takes] for answer in text.deployment.answers] == [["carry.z"], ["carry.z"], None]


def test_weights_lie_in_the_folder_once(vision):
    """The pooler, which PABEE's exits share, too; what is in the file is what is in the model."""
    held = load_file(vision.folder / "weights.safetensors")
    poolers = [array for array in held.values() if array.shape == (32, 32)]
    own = vision.model.exits["1"].pooler[0].weight.numpy()
    assert sum(np.array_equal(array, own) or np.array_equal(array, own.T) for array in poolers) == 1
    size = sum(parameter.numel() * 4 for parameter in vision.model.parameters())
    assert sum(array.nbytes for array in held.values()) < 1.05 * size
    assert all(path.stat().st_size < 20_000 for path in vision.folder.glob("*.onnx"))


def test_a_folder_names_no_place_on_the_machine_it_was_made_on(vision):
    for path in vision.folder.iterdir():
        assert str(vision.folder.parent).encode() not in path.read_bytes()
        assert b"site-packages" not in path.read_bytes()


def test_the_card_says_what_it_is(vision):
    card = (vision.folder / "README.md").read_text()
    assert "patience = 1, the operating point `drop_1`. Also chosen: `macs_50` (0)." in card
    assert "| segment_02.onnx | 2 | tokens (batch × 17 × 32) | tokens, seen.said, logits |" in card


def test_torch_programs_answer_as_the_model_does(tmp_path):
    """PonderNet draws random numbers by the samples' names, which go with the batch."""
    found = made(PonderNet(), tiny_vit(depth=3))
    export(found.model, found.rule, tmp_path / "out", Described("pondernet", 0.0), format="torch")
    images, ids = pictures(20), torch.arange(100, 120)
    with torch.inference_mode():
        live = found.model.dynamic(images, found.rule, 0.0, ids)
    runner = TorchRunner(tmp_path / "out")
    logits, exits = runner.decide(images.numpy(), ids=ids.numpy())
    assert exits.tolist() == live.exit.tolist()
    assert len(set(exits.tolist())) > 1
    np.testing.assert_allclose(logits, live.logits.numpy(), atol=1e-5)
    with pytest.raises(UserError, match="open it with TorchRunner"):
        Runner(tmp_path / "out")


def test_the_plain_backbone_is_one_graph(tmp_path):
    backbone = tiny_vit(depth=2).eval()
    found = export(EarlyExitModel(backbone, {}).eval(), None, tmp_path / "out", Described("backbone"))
    assert len(found.segments) == 1
    logits, exits = Runner(tmp_path / "out").decide(pictures(3).numpy())
    with torch.inference_mode():
        np.testing.assert_allclose(logits, backbone.plain(pictures(3)).numpy(), atol=1e-5)
    assert exits.tolist() == [0, 0, 0]


# --- what is refused -------------------------------------------------------------------------------------------------


class Sorting(LinearExit):
    """Answers by how many values are above 0, a number that no graph knows beforehand."""

    def answer(self, features):
        some = features.pooled[features.pooled > 0]
        return super().answer(features) * len(some.tolist())


class Odd(Method):
    name = "odd"

    def build(self, backbone, task):
        return {1: Sorting(backbone.layouts[0], task.outputs)}

    def rule(self, task):
        return Confidence()

    def phases(self, task):
        return []


def test_what_cannot_be_traced_is_one_line_and_nothing_is_left(tmp_path):
    model = assemble(Odd(), tiny_vit(depth=2), Task(classes=3)).eval().requires_grad_(False)
    with pytest.raises(UserError, match=r"^segment 1 of 2 cannot be exported: [^\n]+$"):
        export(model, Confidence(), tmp_path / "out", Described("odd", 0.5))
    assert list(tmp_path.iterdir()) == []


class Batchwise(LinearExit):
    """Answers by the size of the batch: right for what it was traced with alone."""

    def answer(self, features):
        return super().answer(features) * {3: 1.0, 4: 1.0}.get(int(features.tokens.shape[0]), 5.0)


def test_a_graph_that_answers_otherwise_is_refused(tmp_path):
    backbone = tiny_vit(depth=2)
    model = EarlyExitModel(backbone, {1: Batchwise(backbone.layouts[0], 3)}).eval().requires_grad_(False)
    with pytest.raises(UserError, match=r"cannot be exported|do not answer as the model does"):
        export(model, Confidence(), tmp_path / "out", Described("batchwise", 0.5))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_kept(vision, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        export(vision.model, vision.rule, tmp_path / "out", Described("pabee"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("how", "words"), [({"format": "coreml"}, "no format 'coreml'"), ({"opset": 3}, "opset")])
def test_formats_and_opsets_that_are_not_there(tmp_path, how, words):
    backbone = tiny_vit(depth=1)
    with pytest.raises(UserError, match=words):
        export(EarlyExitModel(backbone, {}).eval(), None, tmp_path / "out", Described("backbone"), **how)
    assert list(tmp_path.iterdir()) == []


class Never(ExitRule):
    knob = Knob("x", never=0)

    def observe(self, output, exit, ids):
        return {"x": output.logits[:, 0]}

    def step(self, state, seen, knob):
        return seen["x"] > 1e9, {}

    def grid(self, seen):
        return [0]


def test_data_only_refuses_a_rule_that_is_code(vision, tmp_path):
    with pytest.raises(UserError, match="Never is no data"):
        export(vision.model, Never(), tmp_path / "out", Described("x", 0.0), data_only=True)


# --- every method, every network --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", METHODS)
def test_every_method_on_every_network(label, kind, tmp_path):
    (chosen,) = Registry.installed([]).choose(label)
    try:
        bench = Bench.make(chosen, kind)
    except UserError as error:
        pytest.skip(str(error))
    export(bench.model, bench.rule, tmp_path / "out", Described(label, 0.0, labels=("a", "b", "c", "d")))
    assert json.loads((tmp_path / "out" / "deployment.json").read_text())["rule"]["kind"]
    runner, inputs = Runner(tmp_path / "out"), bench.inputs(64)
    arrays = {name: column.numpy() for name, column in named(inputs).items()}
    for knob in bench.knobs():
        live = bench.model.dynamic(inputs, bench.rule, knob)
        logits, exits = runner.decide(arrays, knob)
        assert (exits != live.exit.numpy()).sum() <= 1
        stay = exits == live.exit.numpy()
        np.testing.assert_allclose(logits[stay], live.logits.numpy()[stay], atol=2e-4)


@pytest.mark.parametrize("label", METHODS)
def test_every_methods_rule_is_data(label):
    (chosen,) = Registry.installed([]).choose(label)
    rule = chosen.rule(Task(classes=4))
    assert type(rule).step is Confidence.step
    assert rule.decision.to_dict()["kind"]


@pytest.mark.parametrize("kind", ["swin", "resnet", "deit"])
def test_segments_of_other_networks_can_be_traced(kind):
    """PABEE with one exit; that they answer rightly is the slow test's."""
    (chosen,) = Registry.installed([]).choose("pabee[blocks=2]")
    bench = Bench.make(chosen, kind)
    segments, answers = cut(bench.model, bench.rule)
    first, second = trace_all(segments[:1], answers[:1]) + trace_all(segments[1:], answers[1:])
    assert [*first.segment.takes] == ["pixels"]
    assert [*second.segment.takes] == ["tokens"]


class Deferred(ExitHead):
    def __init__(self, layout, outputs):
        super().__init__()
        self.linear = nn.Linear(layout.dim, outputs)

    def forward(self, features, carry):
        return ExitOutput(signal=features.pooled[:, 0], aux={"whole": features.pooled * 2})

    def classify(self, features, output):
        return self.linear(output.aux["whole"])

    def answer(self, features):
        return self.linear(features.pooled * 2)


def test_what_a_late_classifier_reads_is_given_to_it():
    from eebench.rules import Above

    backbone = tiny_vit(depth=2)
    model = EarlyExitModel(backbone, {1: Deferred(backbone.layouts[0], 3)}).eval().requires_grad_(False)
    rule = Above(lambda output: output.signal, Knob("x", never=1e9, always=-1e9))
    segments, answers = cut(model, rule)
    first = trace_all(segments[:1], answers[:1])[0]
    assert first.answer is not None
    assert [*first.answer.takes] == ["aux.whole"]
    assert {"aux.whole", "seen.score"} <= {*first.segment.gives}
