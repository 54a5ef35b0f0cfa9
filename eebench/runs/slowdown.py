"""``--slowdown``: what noise that looks for late exits makes of each operating point. Rows of slowdown.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np

from eebench.data.base import Split
from eebench.data.sampling import stratified
from eebench.engine.slowdown import Attack, attacked, noisy
from eebench.engine.trace import Trace
from eebench.measure.slowdown import efficacy
from eebench.progress import Reporter
from eebench.runs.probes import Chose, Subject
from eebench.runs.score import Point, Row
from eebench.runs.store import Store

__all__ = ["slowdown_rows"]

MEASURED = ("score", "mean_exit", "gmacs", "speedup_macs")


def slowdown_rows(
    subjects: Sequence[Subject],
    store: Store,
    reporter: Reporter,
    attack: Attack = Attack(),  # noqa: B008
) -> list[Row]:
    """Rows of one seed: every method at each of its operating points.

    Args:
        subjects: its models; those without exits cannot be slowed.
        store: of the run; traces go to ``slowdown`` in it.
        reporter: hears how it goes.
        attack: how it is gone about.
    """
    rows: list[Row] = []
    methods = [subject for subject in subjects if subject.kind == "dynamic"]
    for subject in methods:
        with reporter.task(f"{subject.scored.label} seed {subject.scored.seed}: slowdown attack"):
            rows += _rows(subject, store, attack)
        subject.release()
    return rows


def _rows(subject: Subject, store: Store, attack: Attack) -> list[Row]:
    data = subject.prepared.data
    preprocessing = data.preprocessing
    assert preprocessing is not None, "refused before"
    ids = stratified(data.test.targets, attack.samples)
    some: Split = data.test.subset(ids)
    name = f"r{attack.radius:.6f}-n{attack.steps}-s{attack.step_size:.6f}-{len(ids)}"
    traced = partial(subject.traced, store, "slowdown")
    traces = {
        "": (_rows_of(subject.cell.trace("test"), ids), subject.cell.costs("test")),
        "_attacked": traced(name, lambda: attacked(subject.model, some, preprocessing, attack)),
        "_noise": traced(f"noise-{name}", lambda: noisy(subject.model, some, preprocessing, attack)),
    }
    rows = []
    for chose in subject.points:
        points = {which: subject.point(chose, *found) for which, found in traces.items()}
        rows.append(_row(subject, chose, points, attack, len(ids)))
    return rows


def _row(subject: Subject, chose: Chose, points: dict[str, Point], attack: Attack, samples: int) -> Row:
    row: Row = {"method": subject.scored.label, "seed": subject.scored.seed, "target": chose.target}
    row |= {"knob": chose.test.knob} | asdict(attack) | {"samples": samples}
    before, after = points[""], points["_attacked"]
    for which, point in points.items():
        row |= {f"{name}{which}": point.row[name] for name in MEASURED}
        row[f"efficacy{which}"] = efficacy(point.exits, np.maximum.accumulate(point.of.costs.total.mean(0)))
    row["later"] = float((after.exits > before.exits).mean())
    return row


def _rows_of(trace: Trace, ids: np.ndarray) -> Trace:
    """A trace of some of its samples."""
    columns = ("targets", "prediction", "confidence", "target_probability", "nll", "brier")
    cut = {name: getattr(trace, name)[ids] for name in columns}
    seen = {name: values[ids] for name, values in trace.seen.items()}
    return replace(trace, ids=np.arange(len(ids)), seen=seen, logits=None, **cut)
