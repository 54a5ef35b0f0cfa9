"""``eebench tune``: choose a knob with a guarantee, from a finished run's traces. No model is run."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eebench.engine.trace import Trace
from eebench.errors import UserError
from eebench.measure import budget, risk
from eebench.measure.costs import Costs
from eebench.measure.replay import replay
from eebench.plugins.registry import Registry
from eebench.record import RunRecord
from eebench.rules import Thresholds
from eebench.runs.cell import Cell
from eebench.runs.finished import finished_cell
from eebench.runs.imported import rule_of

__all__ = ["Quotas", "Tuned", "tune", "tune_budget"]


@dataclass(frozen=True)
class Tuned:
    """A knob, what it promises, and what it gives on test data."""

    method: str
    seed: int
    knob_name: str
    knob: float
    certified: bool
    promise: str
    samples: int  # that certify
    drop: float  # accuracy lost against the full model, on test data
    gmacs: float  # on test data
    speedup_macs: float  # against the plain backbone
    mean_exit: float


@dataclass(frozen=True)
class Quotas:
    """Per-exit confidence thresholds for a compute budget, and what they give on test data.

    ``eebench.load(run, method, knob=quotas.thresholds)(samples)`` answers samples by them, unless the method's exits
    put their logits off until a sample stops (PonderNet, PALBERT).
    """

    method: str
    seed: int
    blocks: tuple[int, ...]
    thresholds: tuple[float, ...]  # one an exit but the last; infinity: nobody stops there
    val_share: float  # of the plain backbone's MACs, on validation data
    share: float  # the same on test data
    accuracy: float  # on test data

    @property
    def rule(self) -> Thresholds:
        """The thresholds as a rule that inference can be driven by, its knob being 0."""
        return Thresholds(self.thresholds)


def tune_budget(run: str | Path, method: str, share: float, *, seed: int | None = None) -> Quotas:
    """MSDNet's budgeted-batch solver on validation data: one confidence threshold an exit, for a mean cost.

    Huang et al., "Multi-Scale Dense Networks" (ICLR 2018), section 5; kalviny/MSDNet-PyTorch ``adaptive_inference.py``.
    Confidence is the largest softmax probability, whatever the method's own rule looks at. Charged is what the method's
    own rule would cost: gates included, though not needed, and classifiers that it puts off (PonderNet, PALBERT) only
    where a sample stops, well under a thousandth of a block.

    Args:
        run: a run directory with the method's cell.
        method: its label.
        share: mean MACs a sample, as a share of the plain backbone's.
        seed: of the cell; the run's first when not given.

    Raises:
        UserError: as :func:`tune`, or a share that even stopping everyone at the first exit exceeds.
    """
    if not 0 < share < math.inf:
        raise UserError(f"--budget is a share of the plain backbone's MACs such as 0.5, not {share:g}")
    run = Path(run)
    _, cell = _cell(run, method, seed)
    (val, costs), (test, test_costs) = _splits(cell)
    mean, plain = costs.total.mean(0), float(costs.plain.mean())
    try:
        solved = budget.budgeted_thresholds(val.confidence, mean, share * plain)
    except ValueError as error:
        raise UserError(f"a budget of {share:g} cannot be met: {error}") from None
    exits = budget.apply_thresholds(test.confidence, solved.thresholds)
    rows = np.arange(len(exits))
    return Quotas(
        method=method,
        seed=cell.seed,
        blocks=test.blocks,
        thresholds=tuple(float(t) for t in solved.thresholds[:-1]),
        val_share=solved.cost / plain,
        share=float(test_costs.total_of(exits).mean() / test_costs.plain.mean()),
        accuracy=float(test.correct[rows, exits].mean()),
    )


def tune(
    run: str | Path,
    method: str,
    *,
    max_drop: float,
    delta: float = 0.1,
    bound: str = "ltt",
    seed: int | None = None,
    registry: Registry | None = None,
) -> Tuned:
    """The fastest knob that loses at most ``max_drop`` of accuracy with probability at least ``1 - delta``.

    Half of the validation split proposes knob values (the rule's own grid, ordered from never stopping to the
    fastest on that half); the other half certifies, by fixed-sequence testing (Learn then Test, 2110.01052; Fast yet
    Safe, 2405.20915). The loss is against the full model of the same method: what early exit can be blamed for.

    Args:
        run: a run directory with the method's cell.
        method: its label in the run.
        max_drop: accuracy that may be lost, in [0, 1].
        delta: probability with which more may be lost.
        bound: ``ltt``, ``ucb``, ``crc`` (in expectation only) or ``naive`` (no guarantee).
        seed: of the cell; the run's first when not given.
        registry: where the method comes from; the installed methods when not given.

    Raises:
        UserError: no such method or seed in the run, a regression task, or levels out of range.
    """
    if not 0 < max_drop < 1 or not 0 < delta < 1:
        raise UserError("--max-drop and --delta must lie strictly between 0 and 1")
    run = Path(run)
    record, cell = _cell(run, method, seed)
    rule, pinned = rule_of(record, method, registry)
    (val, costs), (test, test_costs) = _splits(cell)

    order = np.random.default_rng(0).permutation(len(val.targets))
    propose, certify = np.array_split(order, 2)
    some = {name: values[propose] for name, values in val.seen.items()}
    knobs = list(rule.grid(some)) if pinned is None else [pinned]
    # Never stopping comes first, also where a knob is as dear on these samples: it is what one falls back to.
    knobs = [
        rule.knob.never,
        *sorted(set(knobs) - {rule.knob.never}, key=lambda k: -costs.total_of(replay(rule, some, k), propose).mean()),
    ]

    rest = {name: values[certify] for name, values in val.seen.items()}
    correct = val.correct[certify]
    rows = np.arange(len(certify))
    early = np.stack([correct[rows, replay(rule, rest, k)] for k in knobs], axis=1)
    losses = risk.accuracy_gap(early, correct[:, -1])
    result = risk.risk_control(losses, max_drop, delta, method=bound)
    knob = float(knobs[result.index])

    exits = replay(rule, test.seen, knob)
    right = test.correct
    spent = float(test_costs.total_of(exits).mean())
    return Tuned(
        method=method,
        seed=cell.seed,
        knob_name=rule.knob.name,
        knob=knob,
        certified=result.certified,
        promise=_promise(result, max_drop, delta, bound) + _caveat(cell),
        samples=len(certify),
        drop=float(right[:, -1].mean() - right[np.arange(len(exits)), exits].mean()),
        gmacs=spent / 1e9,
        speedup_macs=float(test_costs.plain.mean()) / spent,
        mean_exit=float(np.array(test.blocks)[exits].mean()),
    )


def _promise(result: risk.RiskControl, max_drop: float, delta: float, bound: str) -> str:
    needed = risk.samples_needed(max_drop, delta)
    if result.certified or bound in ("crc", "naive") or result.n >= needed:
        return result.promise
    return f"{result.promise} (to certify {max_drop:g} at delta {delta:g} takes at least {needed})"


def _caveat(cell: Cell) -> str:
    """A guarantee asks for data that had no part in training."""
    if not any(phase.get("sees_validation") for phase in cell.facts["phases"]):
        return ""
    return "; this method's training looked at validation data as well, which the guarantee does not allow for"


def _cell(run: Path, method: str, seed: int | None) -> tuple[RunRecord, Cell]:
    """The run's record and the finished cell of a method, its traces being there."""
    record, cell = finished_cell(run, method, seed)
    if record.data.task.kind != "classification":
        raise UserError("tune needs a classification task: what it promises is about accuracy")
    if not (cell.path / "trace-val.npz").exists():
        raise UserError(f"the traces of '{method}' are not in {cell.path}; run the benchmark here first")
    return record, cell


def _splits(cell: Cell) -> tuple[tuple[Trace, Costs], tuple[Trace, Costs]]:
    """Trace and costs of validation and of test data."""
    try:
        return (cell.trace("val"), cell.costs("val")), (cell.trace("test"), cell.costs("test"))
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, ValueError) as error:
        raise UserError(f"the traces in {cell.path} cannot be read: {error}") from error
