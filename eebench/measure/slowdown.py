"""Efficacy of early exits, as slowdown attacks are judged by it (DeepSloth, Hong et al. 2021, 2010.02432)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import class_labels, finite

__all__ = ["efficacy"]


def efficacy(exits: ArrayLike, cost: ArrayLike) -> float:
    """Area under the curve of the share of samples that have stopped, over the share of the full cost.

    The curve joins (0, 0), then (cost of exit e / full cost, share stopped by e) for each exit, by straight lines (as
    ``delay_attack_cost.py`` of the authors' code does), and ends in (1, 1). Near 1 most samples stop for little; where
    everybody stops at the last exit it is half the last step's share of the cost.

    Args:
        exits: (N,) exit each sample stops at, from 0.
        cost: (E,) cost of stopping at each exit, none below the one before; the last is the full cost.

    Returns:
        A number in [0, 1).

    Raises:
        ValueError: wrong shapes, exits that do not exist, costs that fall or are not above 0.
    """
    costs = finite("cost", cost, (None,))
    stopped = class_labels("exits", exits, (None,), below=len(costs))
    if costs[0] <= 0 or (np.diff(costs) < 0).any():
        raise ValueError("costs must be above 0 and fall from no exit to the next")
    shares = np.cumsum(np.bincount(stopped, minlength=len(costs))) / len(stopped)
    return float(np.trapezoid([0.0, *shares], [0.0, *(costs / costs[-1])]))
