"""MACs and parameters counted again from the architecture alone, with fresh weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from eebench.api import Backbone
from eebench.engine.costing import parameters
from eebench.engine.macs import exit_costs
from eebench.engine.model import EarlyExitModel, assemble
from eebench.errors import UserError
from eebench.exchange.cells import Model
from eebench.measure.costs import Costs
from eebench.plugins.registry import Registry
from eebench.record import RunRecord
from eebench.runs.deployed import backbone_of
from eebench.runs.finished import task_of
from eebench.schema import BACKBONE

__all__ = ["miscount"]

COLUMNS = ("backbone", "heads", "gates", "static", "plain")
LENGTHS = (4, 8, 16)  # a transformer's cost is a polynomial of degree 2 in a text's length
LONGEST = 4096
CLOSE = 1e-6


def miscount(record: RunRecord, folder: Path, models: Sequence[Model], registry: Registry) -> str | None:
    """The first model whose costs or parameters are not those of its architecture, in words; None where all are.

    Args:
        record: names backbone and data.
        folder: of the record; it has a text encoder's configuration.
        models: with the costs that are claimed.
        registry: where methods come from.

    Raises:
        UserError: backbone or method are not to be had here.
    """
    counted: dict[str, tuple[Mapping[int, dict[str, np.ndarray]], tuple[int, int, list[int]]]] = {}
    for model in models:
        label, where = model.card.method, f"{model.card.method} seed {model.card.seed}"
        if label not in counted:
            network = _network(record, folder, model, registry)
            counted[label] = (_count(network), parameters(network))
        costs, (total, _, each) = counted[label]
        for split, arrays in (("val", model.val), ("test", model.test)):
            said = _against(costs, arrays.costs)
            if said:
                return f"{where}, {split}: {said}"
        for name, claimed, found in (
            ("params", model.card.params, total),
            ("params_exits", model.card.params_exits, each),
        ):
            if claimed is not None and claimed != found:
                return f"{where}: {name} {claimed} is claimed, {found} are counted"
    return None


def _network(record: RunRecord, folder: Path, model: Model, registry: Registry) -> EarlyExitModel:
    task = task_of(record)
    torch.manual_seed(0)
    backbone: Backbone = backbone_of(record, folder, task.outputs, registry)
    if model.card.method == BACKBONE:
        return EarlyExitModel(backbone, {}).eval()
    if model.card.plain:
        blocks = model.card.blocks[-1]
        return EarlyExitModel(backbone if blocks == backbone.depth else backbone.shorten(blocks), {}).eval()
    (chosen,) = registry.choose(model.card.method)
    network = assemble(chosen.method, backbone, task).eval()
    if list(network.blocks) != model.card.blocks:
        raise UserError(f"{model.card.method} has exits behind {list(network.blocks)} here, not {model.card.blocks}")
    return network


def _count(network: EarlyExitModel) -> dict[int, dict[str, np.ndarray]]:
    """Costs of one sample by its length; 0 for an image."""
    backbone = network.backbone
    lengths = (0,) if backbone.modality == "vision" else LENGTHS
    found = {}
    for length in lengths:
        costs = exit_costs(network, backbone.example(length or None))
        columns = {name: np.asarray(getattr(costs, name), dtype=float) for name in COLUMNS[:-1]}
        found[length] = columns | {"plain": np.array([costs.plain])}
    return found


def _against(counted: Mapping[int, dict[str, np.ndarray]], claimed: Costs) -> str | None:
    if 0 in counted:
        expected = {name: column[None] for name, column in counted[0].items()}
    else:
        fits = {name: np.polyfit(LENGTHS, np.stack([counted[n][name] for n in LENGTHS]), 2) for name in COLUMNS}
        lengths = np.arange(1, LONGEST)
        powers = np.stack([lengths**2, lengths, np.ones_like(lengths)], 1).astype(float)
        plain = (powers @ fits["plain"])[:, 0]
        nearest = np.abs(plain[None] - claimed.plain).argmin(1)  # the length that such a text must have
        expected = {name: powers[nearest] @ fit for name, fit in fits.items()}
    for name, column in expected.items():
        said = getattr(claimed, name)
        found = np.broadcast_to(column, said.shape)
        wrong = np.abs(said - found) > CLOSE * np.maximum(np.abs(found), 1.0)
        if wrong.any():
            row, e = np.argwhere(wrong)[0]
            return f"{name} at exit {e + 1}: {said[row, e]:.10g} MACs are claimed, {found[row, e]:.10g} are counted"
    return None
