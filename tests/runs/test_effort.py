"""Rows of training.csv out of what a cell says, and what the tables of a finished run say of effort."""

import numpy as np
import pytest

from eebench.runs.cell import Cell
from eebench.runs.effort import training_row


class Told(Cell):
    @property
    def facts(self):
        cost = {"samples": 100, "counted": 50e9, "counted_samples": 10, "validation": 1e9, "validations": 2}
        cost |= {"features": 7e9, "peak_mb": 800.0, "peak_kind": "resident"}
        later = cost | {"counted": 10e9, "validations": 0, "peak_mb": 900.0}
        phases = [{"epochs": 2, "cost": cost}, {"epochs": 3, "cost": later}]
        return {"phases": phases, "params": 2_500_000, "infer_bytes": 12_000_000}


def test_a_row_adds_up_phases(tmp_path):
    row = training_row(Told("x-s0", "pabee", 0, tmp_path, 12.5, False), 100)
    tmacs = (500e9 + 2e9 + 100e9 + 7e9) / 1e12
    assert row == {
        "method": "pabee", "seed": 0, "seconds": 12.5, "epochs": 5, "passes": 500, "train_tmacs": pytest.approx(tmacs),
        "peak_mb": 900.0, "peak_kind": "resident", "infer_mb": 12.0, "params_m": 2.5, "reused": False,
    }  # fmt: skip


def test_effort_of_a_finished_run(smoke):
    rows = smoke.tables["training"].set_index("method")
    assert (rows["train_tmacs"] > 0).all()
    assert (rows["peak_mb"] > 50).all()
    assert set(rows["peak_kind"]) == {"resident"}
    weights = 4 * rows["params_m"]
    assert (rows["infer_mb"] > weights).all()
    assert (rows["infer_mb"] < 1.5 * weights + 1).all()
    small, full = rows.loc["static[blocks=3]"], rows.loc["static[blocks=12]"]
    np.testing.assert_allclose(
        small["train_tmacs"] / small["passes"], full["train_tmacs"] / full["passes"] / 4, rtol=0.05
    )
    assert small["infer_mb"] < 0.4 * full["infer_mb"]
