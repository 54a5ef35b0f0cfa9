"""Choosing the knob with a guarantee: at most epsilon lost, with probability 1 - delta over the calibration draw.

After Fast yet Safe (Jazbec et al., 2024, 2405.20915), which brings risk control to early exit. Its released code
(metodj/RC-EENN ``rc/``) is followed in its formulas, with one deliberate difference: its ``ltt_lam`` returns the first
knob that was *not* certified; here it is the last one that was.

What the guarantee needs: calibration samples drawn like those met in deployment and not used to train; and a list of
knobs, in order from safe to fast, that was fixed before looking at them (a grid over [0, 1], or quantiles of *other*
data). It needs no monotone risk, except for ``crc``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from eebench.measure import bounds
from eebench.measure._arrays import Floats, flags

__all__ = ["RiskControl", "accuracy_gap", "risk_control", "samples_needed"]

METHODS = ("ltt", "ucb", "crc", "naive")


@dataclass(frozen=True, eq=False, slots=True)
class RiskControl:
    """The chosen knob and what is known about it."""

    method: str
    index: int  # into the list of knobs, 0 being the safest
    certified: bool  # the guarantee holds for this knob; see :func:`risk_control`
    risk: float  # mean loss of this knob over the calibration samples
    bound: float  # what the method knows about the true risk of this knob; NaN for naive
    p_values: Floats  # (n_knobs,) of "this knob loses more than epsilon"; NaN for crc and naive
    epsilon: float
    delta: float
    n: int  # calibration samples

    @property
    def promise(self) -> str:
        """The guarantee in one sentence."""
        if self.method == "naive":
            return f"no guarantee: {self.risk:.4g} was lost on the {self.n} samples the knob was chosen on"
        if not self.certified:
            return f"nothing can be certified from {self.n} samples: the safest knob is kept"
        if self.method == "crc":
            return f"at most {self.epsilon:g} lost, on average over draws of {self.n} calibration samples"
        return f"at most {self.epsilon:g} lost, with probability {1 - self.delta:g} over draws of {self.n} samples"


def accuracy_gap(correct: ArrayLike, correct_full: ArrayLike) -> np.ndarray:
    """The loss behind "at most epsilon accuracy lost": 1 where early exit spoils a right answer, -1 where it mends one.

    Its mean is the full model's accuracy minus the knob's.

    Args:
        correct: (N, n_knobs) bool, whether the prediction at each knob is right.
        correct_full: (N,) bool, whether the full model's is.

    Returns:
        int8 (N, n_knobs) in {-1, 0, 1}.

    Raises:
        ValueError: wrong shapes or empty input.
    """
    early = flags("correct", correct, (None, None))
    return flags("correct_full", correct_full, early.shape[:1])[:, None].astype(np.int8) - early.astype(np.int8)


def risk_control(
    losses: ArrayLike, epsilon: float, delta: float = 0.1, method: str = "ltt", bound: float = 1.0
) -> RiskControl:
    """The fastest knob whose expected loss is at most ``epsilon``, as far as calibration samples can tell.

    ``ltt``, learn then test (Angelopoulos et al., 2021, 2110.01052): test "this knob loses more than epsilon" knob by
        knob, safe to fast, each at level delta, and stop at the first that is not rejected. Losses are clipped at 0, so
        a mended answer does not pay for a spoiled one: the promise is on the stricter ``E max(loss, 0)``. Integer
        losses, 0 or 1 once clipped, get the exact binomial p-value, float losses the Hoeffding-Bentkus one.
    ``ucb``, upper confidence bound (Bates et al., 2021, 2101.02703): the last knob before the first whose Waudby-Smith-
        Ramdas bound exceeds epsilon. Takes negative losses as they are, so it certifies the loss itself. That bound may
        rest on the first samples only and fall below the mean of all; here the mean must be within epsilon too, which
        costs the promise nothing.
    ``crc``, conformal risk control (Angelopoulos et al., 2022, 2208.02814): ``(n risk + bound) / (n + 1) <= epsilon``.
        Only the average over calibration draws is promised, and only for losses that grow along the knobs.
    ``naive``: the fastest knob with ``risk <= epsilon`` on these samples. Promises nothing; here to compare with.

    Index 0 is by convention the full model, whose gap to itself is 0. It is also the answer when nothing can be
    certified, and then ``certified`` is False: the samples prove nothing, and a promise rests on the convention alone.

    Args:
        losses: (N, n_knobs), the loss of each calibration sample at each knob, ordered safe to fast, in
            [-bound, bound]. Integers or booleans mean a loss in {-1, 0, 1}.
        epsilon: expected loss allowed, in (0, bound).
        delta: probability with which the promise may fail over calibration draws, in (0, 1).
        method: ``ltt``, ``ucb``, ``crc`` or ``naive``.
        bound: largest possible loss (1 for accuracy, 2 for the Brier gap).

    Returns:
        The choice.

    Raises:
        ValueError: wrong shape, empty input, NaN, losses outside the bounds, epsilon or delta out of range, unknown
            method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    bounds.check_levels(delta, bound, epsilon)
    x, whole = bounds.scaled_losses(losses, 2, bound)
    n, knobs = x.shape
    risk, allowed = x.mean(0), epsilon / bound
    p_values = np.full(knobs, math.nan)
    if method == "ltt":
        x = x.clip(0, None)
        p_value = bounds.binomial_p_value if whole else bounds.hb_p_value
        p_values = p_value(x.sum(0), n, allowed)
        passed = p_values <= delta
    elif method == "ucb":
        p_values = bounds.wsr_p_values(x, allowed, delta)
        passed = (p_values <= delta) & (risk <= allowed)
    elif method == "crc":
        passed = (n * risk + 1) / (n + 1) <= allowed
    else:
        fits = risk <= allowed + 1e-12
        passed = np.logical_or.accumulate(fits[::-1])[::-1]  # all up to the fastest that fits
    run = knobs if passed.all() else int(passed.argmin())  # knobs certified before the first that is not
    index = max(run - 1, 0)
    limit = math.nan
    if method == "ltt":
        limit = bounds.invert(p_value, float(x[:, index].sum()), n, delta)
    elif method == "ucb":
        limit = max(bounds.wsr_upper_bound(x[:, index], delta), float(risk[index]))
    elif method == "crc":
        limit = (n * float(risk[index]) + 1) / (n + 1)
    certified = run > 0 and method != "naive"
    return RiskControl(method, index, certified, float(risk[index]) * bound, limit * bound, p_values, epsilon, delta, n)


def samples_needed(epsilon: float, delta: float = 0.1) -> int:
    """Fewest calibration samples from which ``ltt`` certifies a knob that loses nothing: ``(1 - epsilon)^n <= delta``.

    Raises:
        ValueError: epsilon or delta outside (0, 1).
    """
    bounds.check_levels(delta, 1.0, epsilon)
    return math.ceil(math.log(delta) / math.log1p(-epsilon) - 1e-9)
