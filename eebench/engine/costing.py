"""What a whole split costs, and how many parameters a model has."""

from __future__ import annotations

import numpy as np

from eebench.data.base import Data, Split
from eebench.engine.macs import ExitCosts, exit_costs
from eebench.engine.model import EarlyExitModel
from eebench.measure.costs import Costs

__all__ = ["Costing", "parameters"]


class Costing:
    """Costs of a split: one count for images; for text, at each sample's own length, without padding.

    A transformer's MACs are a polynomial of degree 2 in its length (linear layers, and attention's square), so three
    counts give every length exactly.
    """

    def __init__(self, model: EarlyExitModel, data: Data) -> None:
        self.model = model.eval()
        self.text = data.modality == "text"
        self._fits: dict[str, np.ndarray] = {}
        self.uncounted: dict[str, int] = {}
        if self.text:
            lengths = (4, 8, 16)  # short, so that every model has positions for them
            counts = [self._columns(exit_costs(model, model.backbone.example(n))) for n in lengths]
            for name in counts[0]:
                self._fits[name] = np.polyfit(lengths, np.stack([c[name] for c in counts]), 2)
        else:
            self._counted = self._columns(exit_costs(model, model.backbone.prepare([data.test.inputs[0]])))

    def _columns(self, costs: ExitCosts) -> dict[str, np.ndarray]:
        self.uncounted = costs.uncounted
        columns = {name: getattr(costs, name) for name in ("backbone", "heads", "gates", "static")}
        return columns | {"plain": np.array([costs.plain])}

    def __call__(self, split: Split) -> tuple[Costs, dict[str, int]]:
        if not self.text:
            return Costs(**{name: column[None] for name, column in self._counted.items()}), self.uncounted
        lengths = self.model.backbone.lengths(list(split.inputs))
        assert lengths is not None, "a text backbone must define lengths()"
        powers = np.stack([lengths**2, lengths, np.ones_like(lengths)], 1).astype(float)
        return Costs(**{name: powers @ fit for name, fit in self._fits.items()}), self.uncounted


def parameters(model: EarlyExitModel) -> tuple[int, int, list[int]]:
    """All parameters, the backbone's, and those each exit adds (shared ones at the first exit that has them)."""
    seen: set[int] = {id(p) for p in model.backbone.parameters()}
    backbone = sum(p.numel() for p in model.backbone.parameters())
    each = []
    for head in model.exits.children():
        fresh = {id(p): p.numel() for p in head.parameters() if id(p) not in seen}
        seen |= fresh.keys()
        each.append(sum(fresh.values()))
    return backbone + sum(each), backbone, each
