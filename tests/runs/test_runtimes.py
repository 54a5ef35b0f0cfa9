"""``--runtimes`` on a finished run: nothing is trained again, the same run gets one more table, what fails is said."""

import json

import numpy as np
import pandas as pd
import pytest

from eebench.engine.model import EarlyExitModel
from eebench.errors import UserError
from eebench.plugins.trial import tried_registry
from eebench.progress import Reporter
from eebench.runs import runtimes as runs_runtimes
from eebench.runs.how import Execution
from eebench.runs.runner import execute
from eebench.runs.runtimes import asked_runtimes
from eebench.runs.timings import samples_of
from eebench.timing import runtimes


class Itself:
    """Stands for a runtime: the model as it is."""

    def __init__(self, model, rule, folder):
        self.model, self.rule = model, rule

    def plain(self, inputs):
        return self.model.backbone.plain(inputs)

    def dynamic(self, inputs, ids, knob):
        return self.model.dynamic(inputs, self.rule, knob, ids)


class Picky(Itself):
    """Stands for one that cannot open what has two inner exits."""

    def __init__(self, model, rule, folder):
        if len(model.blocks) == 3:
            raise UserError("two inner exits are one too many")
        super().__init__(model, rule, folder)


@pytest.fixture(scope="module")
def again(smoke, plugin, tmp_path_factory):
    """The shared run read once more in two other runtimes."""
    import shutil

    results = tmp_path_factory.mktemp("again") / "results"
    shutil.copytree(smoke.results, results)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtimes, "OPENERS", {"compile": Picky, "onnxruntime": Itself})
        registry = tried_registry([plugin], ["pabee", "jei_dnn", "failing", "shy"], ("digits", "vit_micro"))
        asked = ("compile", "onnxruntime")
        reporter = Reporter(quiet=True)
        here = Execution(in_process=True)
        return execute(smoke.spec, registry, results, reporter=reporter, samples=False, how=here, runtimes=asked)


def test_it_is_the_same_run_and_nothing_is_trained(smoke, again):
    assert again.path.name == smoke.path.name
    assert {cell["reused"] for cell in again.cells if cell["status"] == "done"} == {True}
    (facts,) = json.loads((again.path / "run.json").read_text())["timing"]
    assert facts["runtimes"] == ["eager", "compile", "onnxruntime"]
    (before,) = json.loads((smoke.path / "run.json").read_text())["timing"]
    assert before["runtimes"] == ["eager"]


def test_every_operating_point_is_timed_in_each_on_the_same_samples(smoke, again):
    latency = pd.read_csv(again.path / "latency.csv", keep_default_na=False)
    timed = {name: set(zip(rows["method"], rows["path"], strict=True)) for name, rows in latency.groupby("runtime")}
    points = {pair for pair in timed["eager"] if not pair[1].startswith(("exit_", "fixed_"))}
    assert {"plain", "blocks_3", "blocks_12", "macs_50"} <= {path for _, path in points}
    assert timed["onnxruntime"] == points
    assert timed["compile"] == {pair for pair in points if not pair[0].startswith("jei_dnn")}
    with np.load(again.path / "latency-s0.npz") as raw:
        others = [name for name in raw.files if "|onnxruntime" in name]
        assert len(others) == 2 * len(points), "the wall clock and CPU time"
        assert {raw[name].shape[1] for name in others} == {samples_of(smoke.spec)}
    assert set(pd.read_csv(smoke.path / "latency.csv")["runtime"]) == {"eager"}


def test_speedups_are_against_the_plain_backbone_in_the_same_runtime_and_best_against_best(again):
    rows = pd.read_csv(again.path / "runtimes.csv", keep_default_na=False, na_values=[""])
    latency = pd.read_csv(again.path / "latency.csv", keep_default_na=False)
    mean = latency.set_index(["method", "path", "runtime"])["mean_ms"].astype(float).sort_index()
    for row in rows[(rows["runtime"] != "best") & rows["mean_ms"].notna()].itertuples():
        assert row.ran_in == row.against == row.runtime
        assert row.mean_ms == pytest.approx(mean[row.method, row.path, row.runtime])
        assert row.plain_ms == pytest.approx(mean["backbone", "plain", row.runtime])
    for row in rows[rows["runtime"] == "best"].itertuples():
        assert row.mean_ms == pytest.approx(mean[row.method, row.path].min())
        assert row.plain_ms == pytest.approx(mean["backbone", "plain"].min())


def test_a_runtime_that_fails_says_why_in_table_and_record(again):
    rows = pd.read_csv(again.path / "runtimes.csv")
    failed = rows[(rows["runtime"] == "compile") & rows["method"].str.startswith("jei_dnn")]
    assert len(failed)
    assert set(failed["withheld"]) == {"two inner exits are one too many"}
    assert failed[["mean_ms", "speedup"]].isna().all(axis=None)
    notes = json.loads((again.path / "run.json").read_text())["notes"]
    assert "jei_dnn[blocks=4+8] was not timed in compile: two inner exits are one too many" in notes


def test_without_them_there_is_no_such_table(smoke):
    assert not (smoke.path / "runtimes.csv").exists() or pd.read_csv(smoke.path / "runtimes.csv").empty


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["tensorrt"], "--runtimes: no runtime 'tensorrt'"),
        (["onnx-runtime"], "did you mean 'onnxruntime'?"),
        ([""], "--runtimes: no runtime ''"),
    ],
)
def test_no_such_runtime(names, words):
    with pytest.raises(UserError) as caught:
        asked_runtimes(names)
    assert words in str(caught.value)


def test_eager_is_always_timed():
    assert asked_runtimes([]) == ("eager",)
    assert asked_runtimes(["compile", "eager", "compile"]) == ("eager", "compile")


def test_without_onnx_runtime_it_is_one_line_before_anything_is_written(typed, tmp_path, monkeypatch):
    monkeypatch.setattr(runs_runtimes, "find_spec", lambda name: None)
    results = tmp_path / "results"
    status, _, err = typed(f"run -m pabee --runtimes eager,onnxruntime --results {results}")
    assert status == 2
    assert err.strip() == "error: --runtimes onnxruntime needs onnxruntime: pip install 'eebench[onnx]'"
    assert not results.exists()


def test_models_come_to_the_cpu_and_runtimes_are_closed_behind_them(monkeypatch):
    """Where nothing else was asked for nothing is opened."""
    from eebench.testing import tiny_vit
    from eebench.timing.entrant import Entrant

    entrant = Entrant("backbone", EarlyExitModel(tiny_vit(depth=1), {}), None)
    with runs_runtimes.in_other_runtimes([entrant], ("eager",), Reporter(quiet=True)):
        assert entrant.runtimes == {}
    monkeypatch.setattr(runtimes, "OPENERS", {"compile": Itself})
    with runs_runtimes.in_other_runtimes([entrant], ("eager", "compile"), Reporter(quiet=True)):
        assert isinstance(entrant.runtimes["compile"], Itself)
    assert entrant.runtimes == {}
