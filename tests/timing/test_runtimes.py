"""Other runtimes: the model's own answers, timed in the same rounds, and speed-ups that compare like with like."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eebench.api import Task
from eebench.engine.model import EarlyExitModel, assemble
from eebench.errors import UserError
from eebench.parts import LinearExit
from eebench.progress import Reporter
from eebench.rules import Confidence
from eebench.testing import tiny_backbone, tiny_data, tiny_text, tiny_vit
from eebench.timing import paths as timing
from eebench.timing import runtimes
from eebench.timing.across import best, runtime_rows
from eebench.timing.entrant import Entrant
from eebench.timing.paths import time_seed
from eebench.timing.readings import Timing
from eebench.timing.rounds import Rounds
from eebench.timing.times import Times
from eebench_methods.palbert import PALBERT
from tests.timing.fake import FakeClocks

PLAIN = ("backbone", "cpu", "single", 1, "plain")
MINE = ("ours", "cpu", "single", 1, "drop_1")


def uncompiled(program):
    """Stands for a compiler: the traced program as it is."""
    return program


def test_a_compiled_model_answers_as_the_model_does(tmp_path):
    """With exits that put their classifier off; traced for real, the compiler left out."""
    method = PALBERT(lambda_layers=1)
    model = assemble(method, tiny_text(depth=2), Task(classes=3)).eval().requires_grad_(False)
    rule = method.rule(Task(classes=3))
    opened = runtimes.Compiled(model, rule, tmp_path, uncompiled)
    ids = torch.tensor([[1, 5, 9, 0], [1, 7, 3, 8], [1, 2, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    with torch.inference_mode():
        for knob in (-1.0, 0.5, 1.0):
            live = model.dynamic(inputs, rule, knob)
            found = opened.dynamic(inputs, torch.arange(3), knob)
            torch.testing.assert_close(found.logits, live.logits, atol=1e-5, rtol=1e-4)
            assert found.exit.tolist() == live.exit.tolist()
            assert found.block.tolist() == live.block.tolist()


def test_the_plain_network_in_onnx_runtime(tmp_path):
    backbone = tiny_vit(depth=1).eval()
    opened = runtimes.InOnnxRuntime(EarlyExitModel(backbone, {}).eval(), None, tmp_path / "out")
    images = torch.randn(2, 1, 8, 8)
    with torch.inference_mode():
        np.testing.assert_allclose(opened.plain(images), backbone.plain(images).numpy(), atol=1e-5)


def test_where_a_runtime_fails_it_is_said_and_the_others_go_on(monkeypatch, tmp_path):
    def broken(model, rule, folder):
        raise UserError("no such operator")

    def strange(model, rule, folder):
        raise ZeroDivisionError("a stranger's\nexit")

    openers = {"compile": broken, "onnxruntime": lambda *of: of, "strange": strange}
    monkeypatch.setattr(runtimes, "OPENERS", openers)
    opened, failed = runtimes.open_in(("eager", *openers), None, None, tmp_path)
    assert opened == {"onnxruntime": (None, None, tmp_path / "onnxruntime")}
    assert failed == {"compile": "no such operator", "strange": "ZeroDivisionError: a stranger's"}


def test_a_compiler_that_fails_is_one_line(tmp_path):
    def broken(program):
        raise RuntimeError("no C++ compiler\nsecond line")

    with pytest.raises(UserError, match=r"^torch.compile: RuntimeError: no C\+\+ compiler$"):
        runtimes.Compiled(EarlyExitModel(tiny_vit(depth=1), {}).eval(), None, tmp_path, broken)


def test_a_compiler_that_answers_otherwise_is_not_timed(tmp_path):
    def off(program):
        return lambda *columns: [column + 1 for column in program(*columns)]

    with pytest.raises(UserError, match=r"^its logits are 1 off the model's own$"):
        runtimes.Compiled(EarlyExitModel(tiny_vit(depth=1), {}).eval(), None, tmp_path, off)


def test_everything_is_compiled_before_anything_is_timed(tmp_path):
    """Classifiers of exits that put them off as well, for one row and for several."""
    calls = []

    def noted(program):
        def run(*columns):
            calls[number] |= {len(columns[0]) > 1}
            return program(*columns)

        number = len(calls)
        calls.append(set())
        return run

    method = PALBERT(lambda_layers=1)
    model = assemble(method, tiny_text(depth=3), Task(classes=3)).eval().requires_grad_(False)
    opened = runtimes.Compiled(model, method.rule(Task(classes=3)), tmp_path, noted)
    assert len(calls) == len(model.blocks) + sum(late is not None for late in opened._answers) > 3
    assert all(each == {False, True} for each in calls)


@pytest.fixture
def race(monkeypatch):
    """Two entrants in two runtimes with time standing still: eager takes 4 and 2 ms, the other 1 and 0.8."""
    torch.manual_seed(0)
    backbone = tiny_backbone("vit", 3, 4)
    plain = EarlyExitModel(backbone, {}).eval()
    model = EarlyExitModel(backbone, {1: LinearExit(backbone.layouts[0], 3)}).eval()
    other = SimpleNamespace(plain=lambda inputs: "plain", dynamic=lambda inputs, ids, knob: ("dynamic", knob))
    entrants = [
        Entrant("backbone", plain, None, {}, {}, runtimes={"other": other}),
        Entrant("ours", model, Confidence(), {"drop_1": 0.9}, {}, runtimes={"other": other}),
    ]
    ms = {PLAIN: (4.0, 1.0), MINE: (2.0, 0.8)}
    listed = []

    def instead(contenders, *, device, rounds, unsettled, clocks, progress):
        listed.extend(contenders)
        found = []
        for c in contenders:
            in_other = c.twin[0] == "other"
            wall = np.full((rounds.least, len(c.batches)), ms.get(c.key, (9.0, 9.0))[in_other])
            found.append(Timing(wall, wall))
        return found

    monkeypatch.setattr(timing, "time_rounds", instead)
    times = time_seed(
        entrants,
        tiny_data("vit", Task(classes=3), 40).test,
        device=torch.device("cpu"),
        samples=80,
        rounds=Rounds(2, 2),
        batch_sizes=(1, 4),
        reporter=Reporter(quiet=True),
        clocks=FakeClocks(),
    )
    return times, listed


def test_every_runtime_is_timed_on_the_plain_network_and_the_operating_points(race):
    times, listed = race
    other = times.others["other"]
    assert {key[2:] for key in other.timings} == {
        ("single", 1, "plain"), ("single", 1, "drop_1"), ("batch", 4, "plain"), ("batch", 4, "drop_1"),
    }  # fmt: skip
    runs = {c.key: c.run(*c.batches[0]) for c in listed if c.twin[0] == "other"}
    assert runs[PLAIN] == "plain"
    assert runs[MINE] == ("dynamic", 0.9)
    mine = next(c for c in listed if c.key == MINE and c.twin[0] == "other")
    eager = next(c for c in listed if c.key == MINE and c.twin[0] != "other")
    assert mine.batches is eager.batches


def test_a_method_is_never_compared_with_a_slower_runtime_than_its_own(race):
    times, _ = race
    rows = {row["runtime"]: row for row in runtime_rows(times, seed=3)}
    assert {name: row["speedup"] for name, row in rows.items()} == pytest.approx(
        {"eager": 2.0, "other": 1.25, "best": 1.25}
    )
    assert (rows["best"]["ran_in"], rows["best"]["against"]) == ("other", "other")
    assert rows["best"]["mean_ms"] == pytest.approx(0.8)
    assert rows["best"]["plain_ms"] == pytest.approx(1.0)
    assert {row["method"] for row in rows.values()} == {"ours"}
    assert {row["seed"] for row in rows.values()} == {3}


def test_the_best_runtime_may_differ_for_each_side(race):
    """The method is faster in the other runtime, the plain backbone in eager PyTorch: 3 ms against 0.8."""
    times, _ = race
    times.timings[PLAIN] = Timing(np.full((2, 40), 0.9), np.full((2, 40), 0.9))
    at, against, speedup = best(times, "ours", "drop_1")
    assert (at.runtime, against.runtime) == ("other", "eager")
    assert speedup.interval.estimate == pytest.approx(0.9 / 0.8)


def test_rows_say_in_which_runtime(race):
    times, _ = race
    rows = times.rows(seed=0)
    assert {row["runtime"] for row in rows} == {"eager", "other"}
    assert sum(row["path"] == "drop_1" and row["batch_size"] == 1 for row in rows) == 2
    raw = times.raw()
    assert raw["ours|cpu|single|1|drop_1"][0, 0] == 2.0
    assert raw["ours|cpu|single|1|drop_1|other"][0, 0] == 0.8
    assert raw["ours|cpu|single|1|drop_1|other|cpu"][0, 0] == 0.8


def test_one_runtime_alone_makes_no_table():
    times = Times(1)
    times.timings = {PLAIN: Timing(np.ones((2, 4)), np.ones((2, 4))), MINE: Timing(np.ones((2, 4)), np.ones((2, 4)))}
    assert runtime_rows(times, 0) == []


def test_what_raises_in_one_runtime_is_left_out_of_it_alone():
    """The method stays in eager PyTorch and in the other runtime; the plain backbone stays everywhere."""
    torch.manual_seed(0)
    backbone = tiny_backbone("vit", 3, 2)
    plain = EarlyExitModel(backbone, {}).eval()
    model = EarlyExitModel(backbone, {1: LinearExit(backbone.layouts[0], 3)}).eval()
    rule = Confidence()

    def broken(inputs, ids, knob):
        raise RuntimeError("out of memory\nand more")

    live = SimpleNamespace(
        plain=backbone.plain, dynamic=lambda inputs, ids, knob: model.dynamic(inputs, rule, knob, ids)
    )
    bad = SimpleNamespace(plain=backbone.plain, dynamic=broken)
    entrants = [
        Entrant("backbone", plain, None, runtimes={"good": live, "bad": bad}),
        Entrant("ours", model, rule, {"drop_1": 0.9}, runtimes={"good": live, "bad": bad}),
    ]
    data = tiny_data("vit", Task(classes=3), 40).test
    times = time_seed(
        entrants,
        data,
        device=torch.device("cpu"),
        samples=8,
        rounds=Rounds(2, 2),
        batch_sizes=(1,),
        reporter=Reporter(quiet=True),
    )
    assert times.failed == {}
    assert {key[0] for key in times.others["good"].timings} == {"backbone", "ours"}
    assert set(times.others["bad"].timings) == {PLAIN}
    assert times.others["bad"].absent == {"ours": "RuntimeError: out of memory"}
    rows = {row["runtime"]: row for row in runtime_rows(times, 0)}
    assert rows["bad"]["withheld"] == "RuntimeError: out of memory"
    assert np.isnan(rows["bad"]["speedup"])
    assert rows["best"]["ran_in"] in ("eager", "good")


def test_one_basis_for_all_runtimes():
    """Others' work in one runtime's readings takes every runtime to the CPU clock: they are to be compared."""
    times = Times(1)
    quiet = Timing(np.ones((2, 4)), np.ones((2, 4)), cpu_counts=True)
    times.timings = {PLAIN: quiet}
    times.beside("other").timings[PLAIN] = Timing(np.full((2, 4), 2.0), np.ones((2, 4)), cpu_counts=True)
    assert times.basis("cpu", 1) == times.others["other"].basis("cpu", 1) == "cpu"


def test_no_speedup_where_the_plain_backbone_was_not_timed(race):
    times, _ = race
    other = times.others["other"]
    del other.timings[PLAIN]
    other.absent["backbone"] = "no such operator"
    rows = {row["runtime"]: row for row in runtime_rows(times, 0)}
    assert rows["other"]["withheld"] == "the plain backbone: no such operator"
    assert rows["other"]["mean_ms"] == pytest.approx(0.8)
    assert rows["best"]["speedup"] == pytest.approx(4.0 / 0.8)
    assert (rows["best"]["ran_in"], rows["best"]["against"]) == ("other", "eager")
