"""The benchmarks run and say what they promise to say. What they measure is nobody's business here: no timed tests."""

import json

import numpy as np
import pytest
import torch

from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.batch import exits_by_shape
from benchmarks.harness import Result, compare
from benchmarks.models import early_exit, images, only_sure_at, straight_line
from eebench.rules import Confidence

RECORD = {
    "schema_version",
    "created",
    "quick",
    "device",
    "threads",
    "load_before",
    "load_after",
    "environment",
    "results",
}
RESULT = {"benchmark", "case", "value", "unit", "goal", "at_least", "met", "detail"}


def test_the_quick_form_prints_and_records_every_benchmark(tmp_path, capsys):
    file = tmp_path / "benchmarks.json"
    names = [name for name in BENCHMARKS if name != "malloc"]  # which starts two more processes than it is worth here
    asked = [word for name in names for word in ("--only", name)]
    assert main([*asked, "--quick", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert set(found) == RECORD
    assert found["quick"] is True
    assert found["environment"]["malloc"]
    assert found["environment"]["threads"] == found["threads"] == torch.get_num_threads()
    assert list(dict.fromkeys(result["benchmark"] for result in found["results"])) == names
    printed = capsys.readouterr().out
    for result in found["results"]:
        assert set(result) == RESULT
        assert np.isfinite(result["value"])
        assert result["case"] in printed


def test_a_gpu_that_is_not_there_is_a_mistake_in_one_line(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert main(["--device", "cuda", "--quick"]) == 2
    assert capsys.readouterr().err == "error: there is no CUDA device here\n"


@pytest.mark.parametrize(
    ("value", "goal", "at_least", "met"),
    [(1.01, 1.02, False, True), (1.03, 1.02, False, False), (0.9, 0.8, True, True), (0.7, 0.8, True, False)],
)
def test_met_is_on_the_right_side_of_the_goal(value, goal, at_least, met):
    assert Result("b", "case", value, "x", goal, at_least).met is met
    assert Result("b", "case", value, "x").met is None


def test_the_ratio_is_the_contenders_time_over_the_baselines():
    calls = {"slow": 0, "fast": 0}

    def work(name, size):
        calls[name] += 1
        return sum(range(size))

    ratio = compare(lambda: work("fast", 2_000), lambda: work("slow", 200_000), rounds=3, calls=4, warm_up=1)
    assert calls == {"slow": 1 + 3 * 2 * 4, "fast": 1 + 3 * 2 * 4}  # as often as each other, warm-up included
    assert ratio.wall.shape == (3,)
    assert ratio.median > 5  # a hundred times the work


@torch.inference_mode()
def test_the_straight_line_is_the_same_network():
    model = early_exit("vit_micro", 10)
    x = images(model, 3)
    answers = straight_line(model, 12)(x)
    for visit, answer in zip(model.trace(x), answers, strict=True):
        torch.testing.assert_close(visit.logits, answer)
    assert len(straight_line(model, 5)(x)) == 5


@pytest.mark.parametrize("position", [0, 4, 11])
@torch.inference_mode()
def test_only_one_exit_is_ever_sure(position):
    model = early_exit("vit_micro", 10)
    only_sure_at(model, position)
    x = images(model, 1)
    assert model.dynamic(x, Confidence(), 0.9).exit.tolist() == [position]
    assert len(straight_line(model, 12, 0.9)(x)) == position + 1


def test_shapes_of_the_exit_distribution():
    shapes = exits_by_shape(1000, 12)
    for exits in shapes.values():
        assert exits.shape == (1000,)
        assert set(exits) == set(range(12))
    early, even, late = (np.bincount(exits) for exits in shapes.values())
    assert (np.diff(early) <= 0).all()
    assert (early == late[::-1]).all()
    assert even.max() - even.min() <= 1
