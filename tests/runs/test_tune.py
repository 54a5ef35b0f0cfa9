"""Knobs with a guarantee and thresholds for a budget, from the shared finished run and from traces made by hand."""

import json
import shutil

import numpy as np
import pytest

import eebench
from eebench import cli
from eebench.api import Task
from eebench.engine.trace import Trace
from eebench.errors import UserError
from eebench.files import plain_values
from eebench.measure.budget import apply_thresholds
from eebench.measure.replay import replay
from eebench.plugins.registry import Registry
from eebench.runs.prepare import prepare
from eebench.runs.tune import tune, tune_budget
from tests.faults.damage import unverify

METHOD = "pabee[blocks=3+6+9]"


def of(run, **values):
    settings = {"max_drop": 0.3, "delta": 0.2} | values
    return tune(run, METHOD, **settings)


def cell(run):
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return run / "cells" / next(c["id"] for c in record["cells"] if c["label"] == METHOD)


def test_what_is_printed_is_what_the_knob_gives_on_test(smoke):
    found = of(smoke.path)
    trace = Trace.load(cell(smoke.path), "test")
    rule = Registry.installed().choose(METHOD)[0]
    exits = replay(rule.rule(Task(classes=10)), trace.seen, found.knob)
    rows = np.arange(len(exits))
    assert found.drop == pytest.approx(trace.correct[:, -1].mean() - trace.correct[rows, exits].mean())
    assert found.mean_exit == pytest.approx(np.array(trace.blocks)[exits].mean())
    assert found.samples == len(Trace.load(cell(smoke.path), "val").targets) // 2
    assert found.speedup_macs > 0


def test_a_promise_out_of_reach_keeps_the_full_model_and_says_how_many_samples_it_takes(smoke):
    found = of(smoke.path, max_drop=0.001, delta=0.001)
    trace = Trace.load(cell(smoke.path), "test")
    assert found.mean_exit == trace.blocks[-1]
    assert found.drop == 0
    assert found.certified or "takes at least" in found.promise


def test_never_stopping_is_what_one_falls_back_to_also_among_equals(smoke, monkeypatch):
    rule = Registry.installed().choose(METHOD)[0].rule(Task(classes=10))
    equally_dear = lambda self, exits, samples=None: np.ones(len(exits))  # noqa: E731
    monkeypatch.setattr("eebench.measure.costs.Costs.total_of", equally_dear)
    found = of(smoke.path, max_drop=0.001, delta=0.001)
    assert (found.certified, found.knob) == (False, rule.knob.never)


def test_a_method_that_trained_on_validation_data_is_told(smoke, tmp_path):
    assert "looked at validation data" not in of(smoke.path).promise
    run = shutil.copytree(smoke.path, tmp_path / "run")
    facts = json.loads((cell(run) / "cell.json").read_text())
    facts["phases"][-1]["sees_validation"] = True
    (cell(run) / "cell.json").write_text(json.dumps(facts))
    unverify(run)
    assert "looked at validation data" in of(run).promise


def test_a_stricter_promise_is_never_faster(smoke):
    speeds = [of(smoke.path, max_drop=drop, bound="ucb").speedup_macs for drop in (0.05, 0.2, 0.5, 0.9)]
    assert speeds == sorted(speeds)


@pytest.mark.parametrize(
    ("values", "words"),
    [({"max_drop": 0.0}, "between 0 and 1"), ({"delta": 1.0}, "between 0 and 1"), ({"seed": 7}, "not 7")],
)
def test_bad_levels_and_seeds(smoke, values, words):
    with pytest.raises(UserError, match=words):
        of(smoke.path, **values)


def test_a_method_the_run_does_not_have(smoke):
    with pytest.raises(UserError, match="no finished method 'pabe'"):
        tune(str(smoke.path), "pabe", max_drop=0.1, delta=0.1)


def test_a_budget_is_kept_on_validation_data(smoke):
    found = tune_budget(smoke.path, METHOD, 0.6)
    assert found.val_share <= 0.6
    assert len(found.thresholds) == len(found.blocks) - 1
    assert 0 <= found.accuracy <= 1
    with pytest.raises(UserError, match="cannot be met"):
        tune_budget(smoke.path, METHOD, 0.01)


def test_the_budgets_thresholds_drive_inference(smoke, plugin):
    quotas = tune_budget(smoke.path, METHOD, 0.6)
    test = prepare(smoke.spec, Registry.installed([plugin])).data.test
    samples = [test.inputs[i] for i in range(len(test))]
    deployed = eebench.load(smoke.path, METHOD, knob=quotas.thresholds)
    confidence = Trace.load(cell(smoke.path), "test").confidence
    expected = np.array(quotas.blocks)[apply_thresholds(confidence, [*quotas.thresholds, -np.inf])]
    assert len(set(expected.tolist())) > 1
    assert deployed(samples, prepared=True).block.tolist() == expected.tolist()
    printed = json.loads(json.dumps(plain_values(quotas.thresholds)))  # infinity is null there
    again = eebench.load(smoke.path, METHOD)(samples, printed, prepared=True)
    assert again.block.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("knob", "words"),
    [
        ([0.5], "one for each of its 3 exits before the last, not 1"),
        ([], "one for each of its 3 exits before the last, not 0"),
        (["high", 0.5, 0.5], "thresholds must be numbers"),
        ([float("nan"), 0.5, 0.5], "thresholds must be numbers"),
        (3 * [[0.5]], "thresholds must be numbers"),
    ],
)
def test_thresholds_that_do_not_fit_are_one_line(smoke, knob, words):
    with pytest.raises(UserError, match=words):
        eebench.load(smoke.path, METHOD, knob=knob)


def test_a_model_without_exits_takes_no_thresholds(smoke):
    with pytest.raises(UserError, match="backbone: a list of thresholds has one for each of its 0 exits"):
        eebench.load(smoke.path, "backbone", knob=[0.5])


@pytest.mark.parametrize("share", [float("nan"), 0.0, float("inf")])
def test_a_budget_that_is_no_share(smoke, share):
    with pytest.raises(UserError, match="share of the plain backbone's MACs"):
        tune_budget(smoke.path, METHOD, share)


@pytest.mark.parametrize("content", [b"PK half a zip", b""])
def test_damaged_traces_are_one_line(smoke, tmp_path, content):
    run = shutil.copytree(smoke.path, tmp_path / "run")
    (cell(run) / "trace-val.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"trace-val\.npz has \d+ of \d+ bytes"):
        of(run)
    unverify(run)
    with pytest.raises(UserError, match="cannot be read"):
        of(run)


def test_a_budget_takes_no_promise(smoke, capsys, monkeypatch):
    monkeypatch.setattr(
        "sys.argv", ["eebench", "tune", str(smoke.path), "--method", METHOD, "--budget", "0.6", "--max-drop", "0.1"]
    )
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 2
    assert "leave --max-drop, --delta and --bound out" in capsys.readouterr().err


def test_the_command(smoke, capsys, monkeypatch):
    words = ["tune", str(smoke.path), "--method", METHOD, "--max-drop", "0.3", "--delta", "0.2"]
    monkeypatch.setattr("sys.argv", ["eebench", *words])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 0
    printed = capsys.readouterr().out
    assert "patience" in printed
    assert "points lost against the full model" in printed
