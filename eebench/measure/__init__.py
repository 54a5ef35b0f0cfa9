"""What eebench measures: pure functions on arrays, usable without the CLI.

>>> from eebench.measure import ece, risk_control

Names are loaded when first asked for, so a report that needs one of them does not pay for all.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {  # module -> the public names it lends to this package; add a line to add a module
    "anytime": ("Overthinking conditional_monotonicity hindsight_improvability overthinking"),
    "bounds": "binomial_p_value hb_p_value hb_upper_bound wsr_p_value wsr_upper_bound",
    "budget": ("BudgetedThresholds apply_thresholds budgeted_thresholds geometric_shares thresholds_for_shares"),
    "calibration": (
        "Reliability brier brier_per_sample deployed ece fit_temperature nll nll_per_sample reliability softmax"
    ),
    "calibration_error": "CalibrationError calibration_error_of",
    "choice": "Choice CrossFit choose_within_budget choose_within_drop cross_fit in_sequence",
    "compare": "Pair compare_all compare_two holm",
    "conformal": "ConformalReport ExitSets conformal_general conformal_mondrian conformal_quantile lac_sets",
    "drops": "drop_certified drop_upper_bounds score_drop_upper_bounds smallest_resolvable",
    "frontier": "Frontier Gain Mean concave_hull find_frontier mean_gain mean_score pareto_front",
    "liveness": "constant_answer live_exits live_regression live_scores",
    "nested": "Candidates Nested Rule Split nested_bootstrap",
    "quality": "METRICS per_sample_correct resampled_scores score",
    "queueing": "Served StageCosts bursty highest_load poisson serve serve_batches",
    "ranking": "CriticalDifference critical_difference tiers",
    "risk": "RiskControl accuracy_gap risk_control samples_needed",
    "slowdown": "efficacy",
    "statistics": ("Interval MIN_BLOCKS paired_bootstrap resampled_counts score_contrast score_drop"),
    "timings": "Strata round_factors speedup_interval split_mean strays",
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
