"""``eebench reproduce``: published cells checked as far as this machine can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from eebench import backbones
from eebench.api import Task
from eebench.engine.macs import exit_costs
from eebench.engine.model import assemble
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.published.register import ExitCounts, PublishedCell, Ratio

__all__ = ["Finding", "check_cell", "check_cells", "speedups"]

PRINTED = 0.0005  # half of the third decimal


@dataclass(frozen=True)
class Finding:
    """What became of one published cell."""

    cell: PublishedCell
    status: Literal["holds", "fails", "not here"]
    words: str


def check_cells(cells: Sequence[PublishedCell], registry: Registry) -> list[Finding]:
    """Check each cell."""
    return [check_cell(cell, registry) for cell in cells]


def check_cell(cell: PublishedCell, registry: Registry) -> Finding:
    """Check one cell; what has no check, or needs a method that is not installed, is not here."""
    if cell.check is None:
        return Finding(cell, "not here", f"needs {cell.needs or 'more than is here'}")
    if isinstance(cell.check, Ratio):
        return _ratio(cell, cell.check)
    try:
        layers, macs = speedups(cell.method, cell.check, registry)
    except UserError as error:
        return Finding(cell, "not here", str(error))
    expected = (cell.check.speedup_layers, cell.check.speedup_macs)
    holds = np.allclose((layers, macs), expected, rtol=0, atol=PRINTED)
    words = f"layers {layers:.3f}, MACs {macs:.3f}"
    if not holds:
        words += f"; expected {expected[0]:.3f} and {expected[1]:.3f}"
    return Finding(cell, "holds" if holds else "fails", words)


def _ratio(cell: PublishedCell, check: Ratio) -> Finding:
    """Whether a gain is what the two numbers beside it give, to the digits it is printed with."""
    found = check.over / check.under
    decimals = len(f"{check.gain:g}".partition(".")[2])
    holds = abs(found - check.gain) <= 0.5 * 10**-decimals + 1e-9
    return Finding(
        cell,
        "holds" if holds else "fails",
        f"{check.over:g} / {check.under:g} = {found:.3f}, {check.gain:g} is printed",
    )


def speedups(method: str, check: ExitCounts, registry: Registry) -> tuple[float, float]:
    """Layer and MAC speed-up of so many samples at each exit, every head on the way charged.

    Raises:
        UserError: method or backbone are not to be had, or its exits sit elsewhere.
    """
    blocks, costs, plain = _costs(method, check.backbone, check.classes, check.image_size, registry)
    if list(blocks) != check.blocks:
        raise UserError(f"{method} has exits behind {list(blocks)} here, not {check.blocks}")
    counts = np.array(check.counts)
    return (
        blocks[-1] * counts.sum() / float(counts @ np.array(blocks)),
        plain * counts.sum() / float(counts @ np.array(costs)),
    )


_counted: dict[tuple[str, str, int, int], tuple[tuple[int, ...], tuple[float, ...], float]] = {}


def _costs(
    method: str, backbone: str, classes: int, image_size: int, registry: Registry
) -> tuple[tuple[int, ...], tuple[float, ...], float]:
    """Blocks with exits, MACs of stopping at each, and of the plain backbone; counted once a process."""
    key = (method, backbone, classes, image_size)
    if key not in _counted:
        (chosen,) = registry.choose(method)
        torch.manual_seed(0)
        network = backbones.create(backbone, outputs=classes, image_size=image_size)
        model = assemble(chosen.method, network, Task(classes=classes)).eval()
        costs = exit_costs(model, network.example())
        _counted[key] = (tuple(costs.blocks), tuple(map(float, costs.total)), float(costs.plain))
    return _counted[key]
