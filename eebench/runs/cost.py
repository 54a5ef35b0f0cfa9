"""``eebench cost``: parameters and MACs of early exit on a backbone, before anything is trained."""

from __future__ import annotations

from typing import Any

from eebench import backbones
from eebench.api import Backbone, Inputs, Task
from eebench.engine.costing import parameters
from eebench.engine.macs import ExitCosts, exit_costs
from eebench.engine.model import assemble
from eebench.errors import UserError
from eebench.plugins.chosen import Chosen
from eebench.plugins.needs import unmet

__all__ = ["cost_tables"]


def cost_tables(
    methods: list[Chosen],
    backbone: str,
    classes: int,
    image_size: int | None = None,
    patch_size: int | None = None,
    tokens: int = 128,
    pool: str = "auto",
) -> dict[str, dict[str, Any]]:
    """Costs per method.

    Returns:
        By method label: ``params_m`` and ``params_backbone_m`` (millions), and ``exits``: a row per exit and one,
        ``exit = "none"``, for a sample that never stops, each with ``gmacs`` up to and including that exit, its parts
        ``gmacs_backbone``, ``gmacs_heads`` and ``gmacs_gates``, and the two speed-ups that need no clock. A method
        that makes no sense on the backbone has ``skipped`` instead.

    Raises:
        UserError: no such backbone, or sizes that it cannot be built with or does not take.
    """
    task = Task(classes=classes)
    tables: dict[str, dict[str, Any]] = {}
    for chosen in methods:
        net = backbones.create(backbone, outputs=classes, image_size=image_size, patch_size=patch_size, pool=pool)
        why = unmet(chosen.method, net, task)
        if why is not None:
            tables[chosen.label] = {"skipped": why}
            continue
        chosen.rule(task)  # which refuses a knob that it has not
        model = assemble(chosen.method, net, task).eval()
        total, own, _ = parameters(model)
        costs = exit_costs(model, _example(net, tokens))
        tables[chosen.label] = {
            "params_m": round(total / 1e6, 4),
            "params_backbone_m": round(own / 1e6, 4),
            "exits": _rows(costs, net.depth),
        }
    return tables


def _rows(costs: ExitCosts, depth: int) -> list[dict[str, Any]]:
    rows = []
    last = len(costs.blocks) - 1
    for i, block in enumerate(costs.blocks):
        rows.append(
            {
                "exit": "none" if i == last else block,
                "gmacs": round(float(costs.total[i]) / 1e9, 6),
                "gmacs_backbone": round(float(costs.backbone[i]) / 1e9, 6),
                "gmacs_heads": round(float(costs.heads[i]) / 1e9, 6),
                "gmacs_gates": round(float(costs.gates[i]) / 1e9, 6),
                "speedup_layers": round(depth / block, 4),
                "speedup_macs": round(costs.plain / float(costs.total[i]), 4),
            }
        )
    return rows


def _example(net: Backbone, tokens: int) -> Inputs:
    if net.max_tokens is not None and tokens > net.max_tokens:
        raise UserError(f"--tokens: {tokens} is more than the {net.max_tokens} tokens that the backbone takes")
    try:
        return net.example(tokens)
    except NotImplementedError as error:  # a stranger's adapter
        raise UserError(f"the costs of this backbone cannot be counted: {error}") from None
