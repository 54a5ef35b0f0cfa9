"""Cells: what lies on disk is the model that was measured, named by everything that made it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from eebench.engine.costing import parameters
from eebench.engine.macs import exit_costs
from eebench.engine.model import assemble
from eebench.engine.trace import collect
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs import making, workshop
from eebench.runs.begun import UNFINISHED
from eebench.runs.cell import Cell
from eebench.runs.fingerprint import method_sha256
from eebench.runs.prepare import prepare
from eebench.runs.store import Store
from eebench.runs.workshop import Workshop, open_backbone, open_model
from eebench.schema import BACKBONE, static_label

CPU = torch.device("cpu")
PABEE, JEI = "pabee[blocks=3+6+9]", "jei_dnn[blocks=4+8]"
STATIC = {static_label(blocks) for blocks in (3, 12)}


@pytest.fixture(scope="module")
def prepared(smoke, plugin):
    return prepare(smoke.spec, Registry.installed([plugin]))


@pytest.fixture(scope="module")
def finished(smoke):
    """Finished cells by label."""
    record = json.loads((smoke.path / "run.json").read_text())
    done = [c for c in record["cells"] if c["status"] == "done"]
    return {c["label"]: Cell(c["id"], c["label"], c["seed"], smoke.path / "cells" / c["id"], 0.0, False) for c in done}


def method_of(prepared, label):
    chosen = next(c for c in prepared.methods if c.label == label)
    return chosen.method


def test_a_cell_holds_what_can_be_traced_back(finished):
    assert set(finished) == {BACKBONE, PABEE, JEI, *STATIC}
    for cell in finished.values():
        assert {p.name for p in cell.path.iterdir()} == {
            "cell.json",
            "manifest.json",
            "weights.safetensors",
            *(f"{kind}-{split}.npz" for kind in ("trace", "costs") for split in ("val", "test")),
            *(f"logits-{split}.npy" for split in ("val", "test")),
        }
        facts = cell.facts
        assert facts["id"] == cell.id == cell.path.name
        assert facts["params"] == facts["params_backbone"] + sum(facts["params_exits"])
        assert all(np.isfinite(phase["losses"]).all() for phase in facts["phases"])


@pytest.mark.parametrize("label", [BACKBONE, PABEE, JEI])
def test_the_weights_on_disk_are_the_model_that_was_traced(prepared, finished, label):
    cell = finished[label]
    method = None if label == BACKBONE else method_of(prepared, label)
    model = open_model(prepared, cell, method)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    rule = workshop.NEVER if method is None else method.rule(prepared.data.task)
    again, stored = collect(model, rule, prepared.data.test, prepared.data.task, device=CPU), cell.trace("test")
    assert stored.blocks == model.blocks
    np.testing.assert_array_equal(again.prediction, stored.prediction)
    np.testing.assert_allclose(again.nll, stored.nll, rtol=1e-4, atol=1e-5)
    for name, values in again.seen.items():
        np.testing.assert_allclose(values, stored.seen[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("label", [PABEE, JEI])
def test_stored_costs_are_the_models(prepared, finished, label):
    model = open_model(prepared, finished[label], method_of(prepared, label))
    costs = exit_costs(model, torch.zeros(1, 1, 8, 8))
    for split in ("val", "test"):
        stored = finished[label].costs(split)
        for name in ("backbone", "heads", "gates", "static"):
            np.testing.assert_array_equal(getattr(stored, name)[0], getattr(costs, name))
        assert stored.plain.tolist() == [[costs.plain]]


def test_every_method_starts_from_the_one_checkpoint(prepared, finished):
    base = load_file(finished[BACKBONE].path / "weights.safetensors")
    frozen = load_file(finished[JEI].path / "weights.safetensors")  # JEI-DNN trains no backbone, so it must still be it
    assert base.keys() <= frozen.keys()
    assert all(torch.equal(base[name], frozen[name]) for name in base)
    opened = open_backbone(prepared, finished[BACKBONE]).state_dict()
    assert all(torch.equal(base[f"backbone.{name}"], value) for name, value in opened.items())


def test_parameters_count_shared_ones_once(prepared):
    backbone = prepared.backbone()
    model = assemble(method_of(prepared, PABEE), backbone, prepared.data.task)
    total, own, each = parameters(model)
    assert total == sum(p.numel() for p in model.parameters()) == own + sum(each)
    assert own == sum(p.numel() for p in backbone.parameters())
    pooler, head = 64 * 64 + 64, 2 * 64 + 64 * 10 + 10  # a head: LayerNorm and classifier
    assert each == [pooler + head, head, head, 0]  # the shared pooler counts at the first


# --- names -----------------------------------------------------------------------------------------------------------


def test_an_id_follows_from_everything_that_made_the_cell(prepared, monkeypatch):
    def named(label="pabee", seed=0, code="c", **changes):
        other = prepared if not changes else type(prepared)(**{**vars(prepared), **changes})
        return other.cell_id(label, seed, code)

    def spec(**values):
        return prepared.spec.model_copy(update=values)

    base = named()
    assert base.startswith("pabee-s0-")
    different = [
        named(label="sdn"),
        named(seed=1),
        named(code="d"),
        named(weights_sha="f"),
        named(data_sha="g"),
        named(spec=spec(lr=0.1)),
        named(spec=spec(epochs=3)),
        named(device=torch.device("cuda")),
        named(spec=spec(backbone="vit_ti")),
    ]
    monkeypatch.setattr("eebench.runs.prepare.engine_sha256", lambda: "another engine")
    different.append(named())
    monkeypatch.undo()
    monkeypatch.setattr(torch, "__version__", "2.0.0")
    different.append(named())
    monkeypatch.undo()
    assert len({base, *different}) == len(different) + 1
    same = [
        named(spec=spec(methods=("sdn",))),
        named(spec=spec(seeds=(0, 1, 2))),
        named(spec=spec(thresholds=(0.5,))),
        named(spec=spec(device="auto")),  # what it stands for here is in the name
        named(spec=spec(latency_batch_sizes=(1, 8))),
        named(spec=spec(latency_samples=3)),
    ]
    assert set(same) == {base}


def test_an_id_is_a_folder_name(prepared):
    name = prepared.cell_id("lgvit[blocks=4+8,gah=avg]" + "x" * 80, 0, "c")
    assert set("/[]=+, ").isdisjoint(name)
    assert len(name) < 90


def test_ids_of_a_run_are_those_of_its_spec(prepared, finished):
    assert finished[BACKBONE].id == prepared.cell_id(BACKBONE, 0, "")
    chosen = next(c for c in prepared.methods if c.label == PABEE)
    assert finished[PABEE].id == prepared.cell_id(PABEE, 0, method_sha256(type(chosen.method)))


# --- mishaps ---------------------------------------------------------------------------------------------------------


def test_a_mishap_while_storing_leaves_no_cell_but_what_was_trained(prepared, finished, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError(28, "No space left on device")

    store = Store(tmp_path, "run")
    monkeypatch.setattr(making, "collect", broken)
    with pytest.raises(OSError, match="No space"):
        Workshop(prepared, store, Reporter(quiet=True)).backbone(0)
    (left,) = (tmp_path / "run" / "cells").iterdir()
    assert left.name.startswith(UNFINISHED)
    assert store.cell(finished[BACKBONE].id) is None
    base, left = load_file(finished[BACKBONE].path / "weights.safetensors"), load_file(left / "weights.safetensors")
    assert all(torch.equal(base[name], left[name]) for name in base)


def test_a_method_that_fails_leaves_no_cell(prepared, finished, tmp_path):
    store = Store(tmp_path, "run")
    failing = next(c for c in prepared.methods if c.label == "failing")
    with pytest.raises(ArithmeticError):
        Workshop(prepared, store, Reporter(quiet=True)).method(failing, 0, finished[BACKBONE])
    assert list((tmp_path / "run" / "cells").iterdir()) == []


def test_a_method_without_an_early_exit_is_skipped(smoke, plugin, monkeypatch):
    registry = Registry.installed([plugin])
    monkeypatch.setattr(type(registry.choose("pabee")[0].method), "build", lambda self, backbone, task: {})
    skips = prepare(smoke.spec, registry).skips
    assert skips[PABEE] == "it places no exit before the last block"
