"""Live inference against the replay: rules that only replay well are found out before anything of theirs is shown."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import eebench
from eebench.api import Task
from eebench.engine.model import EarlyExitModel
from eebench.engine.trace import collect
from eebench.measure.calibration import deployed
from eebench.measure.replay import replay
from eebench.parts import LinearExit
from eebench.rules import Confidence
from eebench.runs.how import Execution
from eebench.runs.live import SAMPLES, compare_live
from eebench.runs.score import Point
from eebench.testing import tiny_backbone, tiny_data

TASK = Task(classes=4)
CPU = torch.device("cpu")


class Neighbours(Confidence):
    """Looks at how sure the other rows of the batch are."""

    def observe(self, output, exit, ids):
        score = super().observe(output, exit, ids)["score"]
        return {"score": score - score.mean()}


class Forgetful(Confidence):
    """Counts its calls: the trace makes others than inference does."""

    calls = 0

    def observe(self, output, exit, ids):
        self.calls += 1
        seen = super().observe(output, exit, ids)["score"]
        return {"score": seen if self.calls % 3 else -seen}


def made(rule):
    torch.manual_seed(0)
    backbone = tiny_backbone("vit", 4, 4)
    exits = {b: LinearExit(backbone.layouts[0], 4) for b in (1, 2, 3)}
    model = EarlyExitModel(backbone, exits).eval().requires_grad_(False)
    split = tiny_data("vit", TASK, 40).test
    trace = collect(model, rule, split, TASK, device=CPU)
    seen, of = trace.seen, SimpleNamespace(predictions=lambda exits: deployed(trace.prediction, exits))
    points = []
    for knob in np.quantile(seen["score"], (0.3, 0.6, 0.9)):
        points.append(Point("dynamic", float(knob), replay(rule, seen, float(knob)), {}, of))
    return model, rule, split, points


def test_an_honest_rule_stops_live_where_it_replayed():
    found = compare_live(*made(Confidence()), (1, 8), seed=0)
    assert found.compared == 3 * 2 * SAMPLES
    assert found.answers == 0
    assert found.differ <= 1  # a score that lies on the threshold itself


@pytest.mark.parametrize("rule", [Neighbours(), Forgetful()])
def test_a_rule_that_deploys_otherwise_is_found_out(rule):
    with pytest.raises(ValueError, match="samples stop elsewhere than in the replay"):
        compare_live(*made(rule), (1, 8), seed=0)


def test_other_answers_at_the_same_exits_are_found_out():
    model, rule, split, points = made(Confidence())
    for head in model.exits.children():
        if isinstance(head, LinearExit):
            with torch.no_grad():  # turned around: as sure as before, of something else
                head.classifier.weight.copy_(head.classifier.weight.roll(1, 0))
                head.classifier.bias.copy_(head.classifier.bias.roll(1, 0))
    with pytest.raises(ValueError, match="are answered otherwise than in the replay"):
        compare_live(model, rule, split, points, (1, 8), seed=0)


PLUGIN = """
from eebench.api import Method, Phase
from eebench.parts import LinearExit, joint_loss
from eebench.rules import Confidence

class Base(Method):
    def build(self, backbone, task):
        return {k: LinearExit(backbone.layouts[k - 1], task.outputs) for k in (4, 8)}

    def phases(self, task):
        return [Phase("joint", lambda step: joint_loss(step, [1.0] * len(step.visits)))]

class Neighbours(Base):
    name = "neighbours"

    def rule(self, task):
        class Rule(Confidence):
            def observe(self, output, exit, ids):
                score = super().observe(output, exit, ids)["score"]
                return {"score": score - score.mean()}
        return Rule()

class Gridless(Base):
    name = "gridless"

    def rule(self, task):
        class Rule(Confidence):
            def grid(self, seen):
                return []
        return Rule()
"""


def test_one_bad_plugin_leaves_the_others_their_run(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text(PLUGIN)
    methods = "neighbours,gridless,pabee[blocks=4+8]"
    with pytest.warns(RuntimeWarning, match="failed"):
        tables = eebench.run(
            how=Execution(in_process=True),
            methods=methods,
            plugins=[str(file)],
            results=tmp_path / "r",
            budget="smoke",
            latency_samples=4,
            device="cpu",
            static=(),
        )
    points = tables["operating_points"]
    assert set(points["method"]) == {"pabee[blocks=4+8]"}
    assert "samples stop elsewhere" in points.attrs["failed"]["neighbours"]
    assert "the rule's grid is empty" in points.attrs["failed"]["gridless"]
    record = json.loads((tmp_path / "r" / next((tmp_path / "r").iterdir()).name / "run.json").read_text())
    live = next(cell["live"] for cell in record["cells"] if cell["label"].startswith("pabee"))
    assert live["compared"] >= SAMPLES
    assert live["timed"]["compared"] > 0
    assert live["timed"]["differ"] <= live["timed"]["compared"] // 10
