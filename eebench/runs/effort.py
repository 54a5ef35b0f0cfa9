"""Rows of training.csv: what a cell's training took, and what its inference holds in memory."""

from __future__ import annotations

from typing import Any

from eebench.engine.training_cost import TrainingCost, train_macs
from eebench.runs.cell import Cell

__all__ = ["training_row"]


def training_row(cell: Cell, samples: int) -> dict[str, Any]:
    """One row.

    Args:
        cell: finished.
        samples: of the training split.
    """
    facts = cell.facts
    epochs = sum(phase["epochs"] for phase in facts["phases"])
    costs = [TrainingCost(**phase["cost"]) for phase in facts["phases"]]
    row = {"method": cell.label, "seed": cell.seed, "seconds": cell.seconds, "epochs": epochs}
    row |= {"passes": epochs * samples, "train_tmacs": train_macs(costs) / 1e12}
    if costs:  # published weights are not trained
        peak = max(costs, key=lambda cost: cost.peak_mb)
        row |= {"peak_mb": peak.peak_mb, "peak_kind": peak.peak_kind}
    row |= {"infer_mb": facts["infer_bytes"] / 1e6}
    return row | {"params_m": facts["params"] / 1e6, "reused": cell.reused}
