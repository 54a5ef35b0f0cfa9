"""A finished run from Python: what was measured is what is loaded."""

import numpy as np
import pytest
import torch

import eebench
from eebench.data import load as load_data
from eebench.engine.trace import Trace
from eebench.errors import UserError
from eebench.schema import TARGETS

METHOD = "pabee[positions=3+6+9]"


def test_tables_are_read_and_failures_told(smoke):
    tables = eebench.read(str(smoke.path))
    assert set(tables) == set(smoke.tables)
    assert tables["curves"].equals(smoke.tables["curves"])
    assert tables["curves"].attrs == {"path": str(smoke.path), "failed": {"failing": smoke.reason}}
    with pytest.raises(UserError, match="does not exist"):
        eebench.read(smoke.path / "nowhere")


def test_a_loaded_method_stops_where_its_trace_says(smoke):
    deployed = eebench.load(smoke.path, METHOD)
    assert set(deployed.knobs) == set(TARGETS)
    points = smoke.tables["operating_points"].query("method == @METHOD and kind == 'dynamic'")
    assert deployed.knobs == dict(zip(points["target"], points["knob"], strict=True))
    (cell,) = (smoke.path / "cells").glob("pabee*")
    trace = Trace.load(cell, "test")
    exits = np.array(trace.blocks)
    split = load_data("digits").test  # the smoke budget took some of these
    decision = deployed(list(split.inputs)[:8], knob=deployed.knobs["macs_50"])
    assert decision.logits.shape == (8, 10)
    assert set(exits[decision.exit.numpy()]) <= {3, 6, 9, 12}
    never = deployed(list(split.inputs)[:4], knob=deployed.rule.knob.never)
    plain = deployed.model.backbone.plain(torch.stack(list(split.inputs)[:4]))
    assert never.exit.tolist() == [3] * 4
    assert torch.allclose(never.logits, deployed.model.trace(torch.stack(list(split.inputs)[:4]))[-1].logits, atol=1e-5)
    assert plain.shape == never.logits.shape


def test_what_is_not_there_is_one_line(smoke, copied):
    with pytest.raises(UserError, match="no finished method 'pabe'"):
        eebench.load(smoke.path, "pabe")
    run = copied / smoke.path.name
    for weights in run.glob("cells/pabee*/weights.safetensors"):
        weights.unlink()
    with pytest.raises(UserError, match="are not in"):
        eebench.load(run, METHOD)
