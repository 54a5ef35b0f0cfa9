"""What calibration samples say about a true risk: p-values and upper bounds that hold at any sample size.

The formulas are those of ``rc/bounds.py`` in metodj/RC-EENN, which follow the papers named at each function.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure._arrays import Floats

__all__ = ["binomial_p_value", "hb_p_value", "hb_upper_bound", "wsr_p_value", "wsr_upper_bound"]


def binomial_p_value(total: ArrayLike, n: int, epsilon: float) -> Floats:
    """P-value of "the risk exceeds epsilon" for losses that are 0 or 1: ``P(Bin(n, epsilon) <= total)``.

    Args:
        total: sum of the n losses, any shape.
        n: samples.
        epsilon: in (0, 1).

    Returns:
        Of the shape of ``total``.
    """
    from scipy.special import bdtr

    return np.asarray(bdtr(np.ceil(total), n, epsilon))


def hb_p_value(total: ArrayLike, n: int, epsilon: float) -> Floats:
    """Hoeffding-Bentkus p-value of "the risk exceeds epsilon" for losses in [0, 1] (Bates et al., 2021, section 3.1).

    ``min(exp(-n kl(min(R, epsilon) || epsilon)), e P(Bin(n, epsilon) <= ceil(n R)))`` with R the mean loss and kl that
    between two coins.

    Args:
        total: sum of the n losses, any shape.
        n: samples.
        epsilon: in (0, 1).

    Returns:
        Of the shape of ``total``, at most 1.
    """
    from scipy.special import rel_entr

    low = np.minimum(np.asarray(total, dtype=np.float64) / n, epsilon)
    hoeffding = np.exp(-n * (rel_entr(low, epsilon) + rel_entr(1 - low, 1 - epsilon)))
    return np.minimum(np.minimum(hoeffding, math.e * binomial_p_value(total, n, epsilon)), 1)


def hb_upper_bound(losses: ArrayLike, delta: float = 0.1, bound: float = 1.0) -> float:
    """The risk that :func:`hb_p_value` cannot rule out at level delta: an upper bound with probability 1 - delta.

    Args:
        losses: (N,) in [0, bound].
        delta: in (0, 1).
        bound: largest possible loss.

    Raises:
        ValueError: wrong shape, empty input, NaN, negative losses or ones above the bound.
    """
    check_levels(delta, bound)
    x, _ = scaled_losses(losses, 1, bound)
    if x.min() < 0:
        raise ValueError("the Hoeffding-Bentkus bound takes no negative losses")
    return invert(hb_p_value, float(x.sum()), len(x), delta) * bound


def wsr_p_value(losses: ArrayLike, epsilon: float, delta: float = 0.1, bound: float = 1.0) -> float:
    """P-value of "the risk exceeds epsilon" by betting (Waudby-Smith and Ramdas, 2024, 2010.09686).

    One over the most a gambler ever owned who bets on each loss, in order, that it stays below epsilon, sizing bets by
    what was seen so far: if the risk exceeded epsilon, the wealth would be a non-negative supermartingale from 1, and
    reach 1/p with probability p at most (Ville). It is at most delta exactly when :func:`wsr_upper_bound` is at most
    epsilon; ``delta`` only tunes the bets.

    Args:
        losses: (N,) in [-bound, bound], in an order that does not depend on them.
        epsilon: in (0, bound).
        delta: the level the bets are tuned for, in (0, 1).
        bound: largest possible loss.

    Raises:
        ValueError: wrong shape, empty input, NaN, or values out of range.
    """
    check_levels(delta, bound, epsilon)
    x, _ = scaled_losses(losses, 1, bound)
    return float(wsr_p_values(x[:, None], epsilon / bound, delta)[0])


def wsr_upper_bound(losses: ArrayLike, delta: float = 0.1, bound: float = 1.0) -> float:
    """The betting upper bound on the risk, holding with probability 1 - delta; see :func:`wsr_p_value`.

    The smallest risk at which the gambler's wealth reaches 1/delta, found by root finding; never below 0.

    Args:
        losses: (N,) in [-bound, bound].
        delta: in (0, 1).
        bound: largest possible loss.

    Returns:
        In [0, bound].

    Raises:
        ValueError: wrong shape, empty input, NaN, or values out of range.
    """
    from scipy.optimize import brentq

    check_levels(delta, bound)
    x, _ = scaled_losses(losses, 1, bound)
    bets = _bets(x[:, None], delta)

    def excess(risk: float) -> float:  # increases with the risk
        return float(_log_wealth(x[:, None], bets, risk)[0] + math.log(delta))

    lowest, highest = 1e-10, 1.0
    if excess(lowest) >= 0:
        return 0.0
    if excess(highest) <= 0:
        return bound
    return float(brentq(excess, lowest, highest, xtol=1e-12)) * bound


def _bets(x: Floats, delta: float) -> Floats:
    """How much to stake on each loss, from the losses before it alone: (N, n_knobs), at most 1."""
    n = len(x)
    seen = np.arange(1, n + 1)[:, None] + 1
    mean = (0.5 + x.cumsum(0)) / seen
    variance = (0.25 + ((x - mean) ** 2).cumsum(0)) / seen
    before = np.concatenate([np.full((1, x.shape[1]), 0.25), variance[:-1]])
    return np.sqrt(2 * math.log(1 / delta) / (n * before)).clip(None, 1)


def _log_wealth(x: Floats, bets: Floats, risk: float) -> Floats:
    """Log of the most the gambler ever owned, betting that losses stay below ``risk``: (n_knobs,)."""
    return np.log1p(-bets * (x - risk)).cumsum(0).max(0)


def wsr_p_values(x: Floats, epsilon: float, delta: float) -> Floats:
    """:func:`wsr_p_value` of each column of ``x`` (N, n_knobs), which must lie in [-1, 1]."""
    return np.exp(-_log_wealth(x, _bets(x, delta), epsilon).clip(0, None))


def invert(p_value: Callable[[float, int, float], Floats], total: float, n: int, delta: float) -> float:
    """The epsilon at which a p-value falls to delta, 1 when it never does."""
    from scipy.optimize import brentq

    lowest, highest = 1e-12, 1 - 1e-12
    if p_value(total, n, highest) >= delta:
        return 1.0
    return float(brentq(lambda e: float(p_value(total, n, e)) - delta, lowest, highest, xtol=1e-12))


def scaled_losses(losses: ArrayLike, ndim: int, bound: float) -> tuple[Floats, bool]:
    """Losses in [-bound, bound] as float64 in units of the bound, and whether they were whole numbers of bound 1."""
    array = np.asarray(losses)
    if array.ndim != ndim or array.size == 0:
        raise ValueError(f"losses must have {ndim} dimension(s) and not be empty, not shape {array.shape}")
    x = array.astype(np.float64) / bound
    if not (np.abs(x) <= 1 + 1e-9).all():
        raise ValueError(f"losses must lie in [-{bound:g}, {bound:g}]")
    return x.clip(-1, 1), array.dtype.kind in "iub" and bound == 1


def check_levels(delta: float, bound: float, epsilon: float | None = None) -> None:
    """Raise ValueError on a delta, bound or epsilon out of range."""
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie between 0 and 1, not {delta}")
    if not bound > 0:
        raise ValueError(f"bound must be positive, not {bound}")
    if epsilon is not None and not 0 < epsilon < bound:
        raise ValueError(f"epsilon must lie between 0 and {bound:g}, not {epsilon}")
