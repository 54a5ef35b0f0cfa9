"""A cell that was cut off anywhere is gone on with, and ends as the cell that nobody disturbed."""

import itertools
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from eebench.data.base import Split
from eebench.engine.checkpoint import Checkpoints
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs import making as making_module
from eebench.runs.begun import UNFINISHED
from eebench.runs.making import Making
from eebench.runs.prepare import prepare
from eebench.runs.store import Store
from eebench.runs.workshop import Workshop

JEI = "jei_dnn[blocks=4+8]"


class CutError(BaseException):
    """As a kill: nothing catches it."""


@pytest.fixture(scope="module")
def prepared(smoke, plugin):
    found = prepare(smoke.spec.model_copy(update={"epochs": 3, "batch_size": 32}), Registry.installed([plugin]))
    few = found.data.train
    found.data.train = Split([few.inputs[i] for i in range(64)], few.targets[:64])
    return found


def workshop(prepared, path, run="run", **options):
    return Workshop(prepared, Store(path, run), Reporter(quiet=True), **options)


def make(prepared, path, run="run", label=JEI, **options):
    own = workshop(prepared, path, run, **options)
    base = own.backbone(0)
    return own.method(next(c for c in prepared.methods if c.label == label), 0, base), own.reporter.lines


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    cell, _ = make(prepared, tmp_path_factory.mktemp("undisturbed"))
    return cell


def content(cell):
    found = {"weights": load_file(cell.weights)}
    for split in ("val", "test"):
        for kind in ("trace", "costs"):
            with np.load(cell.path / f"{kind}-{split}.npz") as file:
                found[f"{kind}-{split}"] = {name: file[name] for name in file.files}
        found[f"logits-{split}"] = {"logits": np.load(cell.path / f"logits-{split}.npy")}
    return found


def assert_same_cell(first, second):
    one, other = content(first), content(second)
    assert one.keys() == other.keys()
    for part in one:
        assert one[part].keys() == other[part].keys()
        for name in one[part]:
            np.testing.assert_array_equal(one[part][name], other[part][name], err_msg=f"{part} {name}")
    facts, others = dict(first.facts), dict(second.facts)
    assert facts.pop("seconds") > 0
    assert others.pop("seconds") > 0
    for phase in (*facts["phases"], *others["phases"]):
        assert phase["cost"].pop("peak_mb") > 0  # of the process, and it is another one
    assert facts == others
    assert sorted(p.name for p in first.path.iterdir()) == sorted(p.name for p in second.path.iterdir())


@pytest.fixture
def often(monkeypatch):
    """Every state is due, at every batch."""
    monkeypatch.setattr(Checkpoints, "due", lambda self, epoch_ended=False: True)


def cut_after(monkeypatch, writes):
    """Cut off right after so many checkpoints of method cells have been written; returns how to go on."""
    real, count = Checkpoints.write, itertools.count(1)

    def write(self, tensors, facts):
        path = real(self, tensors, facts)
        if "backbone" not in str(self.folder) and next(count) == writes:
            raise CutError
        return path

    monkeypatch.setattr(Checkpoints, "write", write)
    return lambda: monkeypatch.setattr(Checkpoints, "write", real)


# the backbone's 3 epochs, JEI-DNN's 1 of warm-up and 2 of turns, of two batches each: 3 states, 1 between, 6 states
@pytest.mark.parametrize("writes", [1, 3, 4, 5, 10])
def test_training_goes_on_in_its_phase(writes, prepared, undisturbed, tmp_path, monkeypatch, often):
    mend = cut_after(monkeypatch, writes)
    with pytest.raises(CutError):
        make(prepared, tmp_path)
    mend()
    left = tmp_path / "run" / "cells" / f"{UNFINISHED}{undisturbed.id}"
    assert (left / "checkpoints").is_dir()
    trained = []
    real = making_module.fit

    def fit(model, phase, *args, **kwargs):
        trained.append(phase.name)
        return real(model, phase, *args, **kwargs)

    monkeypatch.setattr(making_module, "fit", fit)
    cell, lines = make(prepared, tmp_path)
    assert_same_cell(cell, undisturbed)
    assert trained == (["warm-up", "turns"] if writes < 4 else ["turns"])
    where = {1: "phase 1, epoch 1", 3: "phase 1, epoch 2", 4: "phase 2", 5: "phase 2, epoch 1", 10: "phase 2, epoch 3"}
    assert f"{JEI} seed 0: going on from {where[writes]}" in lines
    assert not left.exists()


@pytest.mark.parametrize("split", ["val", "test"])
def test_tracing_goes_on_by_split(split, prepared, undisturbed, tmp_path, monkeypatch):
    real, traced = Making._trace, []

    def trace(self, model, rule, name, part):
        if "jei" in self.title and name == split:
            raise CutError
        real(self, model, rule, name, part)

    with monkeypatch.context() as patch:
        patch.setattr(Making, "_trace", trace)
        with pytest.raises(CutError):
            make(prepared, tmp_path)
    left = tmp_path / "run" / "cells" / f"{UNFINISHED}{undisturbed.id}"
    assert {"weights.safetensors", "trained.json"} <= {path.name for path in left.iterdir()}

    def again(self, model, rule, name, part):
        traced.append(name)
        real(self, model, rule, name, part)

    monkeypatch.setattr(Making, "_trace", again)
    monkeypatch.setattr(making_module, "fit", lambda *args, **kwargs: pytest.fail("it was trained already"))
    cell, lines = make(prepared, tmp_path)
    assert traced == (["val", "test"] if split == "val" else ["test"])
    assert f"{JEI} seed 0: trained before, going on with its traces" in lines
    assert_same_cell(cell, undisturbed)


def test_cut_off_while_tracing_a_split(prepared, undisturbed, tmp_path, monkeypatch):
    real = making_module.collect

    def collect(model, rule, split, *args, **kwargs):
        found = real(model, rule, split, *args, **kwargs)
        if len(model.blocks) > 1:
            raise CutError
        return found

    with monkeypatch.context() as patch:
        patch.setattr(making_module, "collect", collect)
        with pytest.raises(CutError):
            make(prepared, tmp_path)
    cell, _ = make(prepared, tmp_path)
    assert_same_cell(cell, undisturbed)


@pytest.mark.parametrize("name", ["weights.safetensors", "trained.json", "trace-val.npz"])
def test_what_was_published_and_is_damaged_is_made_again(name, prepared, undisturbed, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(making_module, "write_json", stop_at("cell.json", making_module.write_json))
        with pytest.raises(CutError):
            make(prepared, tmp_path)
    (left,) = (tmp_path / "run" / "cells").glob(f"{UNFINISHED}jei*")
    if name == "trained.json":
        (left / name).write_text("{")
    elif (left / name).exists():
        path = left / name
        path.write_bytes(path.read_bytes()[:-30])
    cell, _ = make(prepared, tmp_path)
    assert_same_cell(cell, undisturbed)


def stop_at(name, real):
    def write_json(path, values):
        if path.name == name and values.get("label") == JEI:
            raise CutError
        return real(path, values)

    return write_json


def test_a_sister_run_takes_it_over(prepared, undisturbed, tmp_path, monkeypatch, often):
    mend = cut_after(monkeypatch, 5)
    with pytest.raises(CutError):
        make(prepared, tmp_path, "first")
    mend()
    cell, lines = make(prepared, tmp_path, "second")
    assert f"{JEI} seed 0: going on from phase 2, epoch 1" in lines
    assert_same_cell(cell, undisturbed)
    assert not list((tmp_path / "first" / "cells").glob(".*"))


def test_forced_it_begins_anew(prepared, undisturbed, tmp_path, monkeypatch, often):
    mend = cut_after(monkeypatch, 5)
    with pytest.raises(CutError):
        make(prepared, tmp_path)
    mend()
    cell, lines = make(prepared, tmp_path, force=True)
    assert not any("going on" in line for line in lines)
    assert_same_cell(cell, undisturbed)


def test_a_damaged_checkpoint_is_set_aside_and_said(prepared, undisturbed, tmp_path, monkeypatch, often):
    mend = cut_after(monkeypatch, 6)
    with pytest.raises(CutError):
        make(prepared, tmp_path)
    mend()
    (left,) = (tmp_path / "run" / "cells").glob(f"{UNFINISHED}jei*")
    newest = max((left / "checkpoints").iterdir())
    newest.write_bytes(b"")
    cell, lines = make(prepared, tmp_path)
    assert any(f"set aside a damaged checkpoint, {newest.name}" in line for line in lines)
    assert_same_cell(cell, undisturbed)


def test_seconds_count_what_stopped_processes_spent(prepared, undisturbed, tmp_path, monkeypatch, often):
    mend = cut_after(monkeypatch, 6)
    with pytest.raises(CutError):
        make(prepared, tmp_path)
    mend()
    (left,) = (tmp_path / "run" / "cells").glob(f"{UNFINISHED}jei*")
    spent = Checkpoints(left / "checkpoints").pending.facts["spent"]
    assert spent > 0
    with monkeypatch.context() as patch:
        patch.setattr(Making, "_seconds", lambda self: self.spent + 1000.0)
        cell, _ = make(prepared, tmp_path)
    assert json.loads((cell.path / "cell.json").read_text())["seconds"] == pytest.approx(spent + 1000.0)


def test_a_training_that_diverges_leaves_nothing(prepared, tmp_path, monkeypatch, often):
    own = workshop(prepared, tmp_path)
    base = own.backbone(0)
    chosen = next(c for c in prepared.methods if c.label == JEI)
    monkeypatch.setattr(type(chosen.method), "loss", lambda self, step: step.visits[0].logits.mean() * float("nan"))
    with pytest.raises(FloatingPointError):
        own.method(chosen, 0, base)
    assert [path.name for path in (tmp_path / "run" / "cells").iterdir()] == [base.id]


def test_memory_that_ran_out_is_said_and_recorded(prepared, tmp_path, monkeypatch):
    own = workshop(prepared, tmp_path)
    base = own.backbone(0)
    chosen = next(c for c in prepared.methods if c.label == JEI)
    real = type(chosen.method).warm_up_loss

    def loss(self, step):
        if len(step.targets) > 10:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, step)

    monkeypatch.setattr(type(chosen.method), "warm_up_loss", loss)
    cell = own.method(chosen, 0, base)
    warm_up, turns = cell.facts["phases"]
    assert (warm_up["parts"], warm_up["fitted"], warm_up["batch_size"]) == (4, 8, 32)
    assert (turns["parts"], turns["fitted"]) == (1, None)
    (note,) = (note for note in prepared.notes if "out of memory" in note)
    assert note.startswith(f"{JEI} seed 0: out of memory in phase 'warm-up', so gradients of at most 8 samples at once")
    assert note in own.reporter.lines
    prepared.notes.remove(note)
