"""The same protocol with all held-out samples at both ends: choose on one half, read on the other, and swap."""

from __future__ import annotations

import numpy as np

from eebench.measure import quality
from eebench.measure.choice import choose_within_budget, choose_within_drop, cross_fit
from eebench.measure.drops import score_drop_upper_bounds
from eebench.measure.nested import Rule, Split

__all__ = ["cross_fitted"]


def cross_fitted(val: Split, test: Split, rule: Rule, metric: str) -> tuple[float, float]:
    """What a target gives when validation and test samples are pooled and cross-fitted in two halves.

    Neither split had a part in training, so either can be chosen on. Every sample is read at a knob that was chosen
    without it; on small data this estimate of the protocol is the steadier one, because it reads all held-out samples.

    Args:
        val: a model and the plain backbone on validation data.
        test: the same on test data.
        rule: how a knob is chosen.
        metric: one of ``eebench.measure.METRICS``.

    Returns:
        The plain backbone's score minus the cross-fitted one, and its mean cost over the cross-fitted one's.
    """
    targets, plain = (np.concatenate([getattr(s, name) for s in (val, test)]) for name in ("targets", "plain"))
    plain_cost = np.concatenate([np.broadcast_to(s.plain_cost, np.shape(s.targets)) for s in (val, test)])
    answers = np.concatenate([np.asarray(s.knobs.predictions) for s in (val, test)])
    cost = np.concatenate([np.broadcast_to(s.knobs.cost, np.shape(s.knobs.predictions)) for s in (val, test)])

    def choose(rows: np.ndarray) -> int:
        mean = cost[rows].mean(0)
        scores = np.array([quality.score(metric, column, targets[rows]) for column in answers[rows].T])
        if rule.budget is not None:
            return choose_within_budget(mean, scores, rule.budget * float(plain_cost[rows].mean())).index
        assert rule.drop is not None, "a rule has either a drop or a budget"
        drop = quality.score(metric, plain[rows], targets[rows]) - scores
        upper = None
        if rule.level is not None:
            upper = score_drop_upper_bounds(metric, plain[rows], answers[rows], targets[rows], rule.level)
        return choose_within_drop(mean, drop, rule.drop, upper).index

    labels = targets if targets.dtype.kind in "iu" else None
    knob = cross_fit(choose, len(targets), labels).knob
    rows = np.arange(len(targets))
    drop = quality.score(metric, plain, targets) - quality.score(metric, answers[rows, knob], targets)
    return drop, float(plain_cost.mean() / cost[rows, knob].mean())
