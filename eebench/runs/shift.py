"""``--shift``: knobs chosen in distribution, read under corruptions of the test split. Rows of shift.csv."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from eebench.data import corruptions, typos
from eebench.data.base import Data, Split
from eebench.measure import calibration, statistics
from eebench.measure.conformal import conformal_quantile
from eebench.progress import Reporter
from eebench.runs.probes import Chose, Subject
from eebench.runs.score import Point, Row
from eebench.runs.store import Store
from eebench.runs.tables import resamples
from eebench.targets import Target

__all__ = ["ALPHA", "CLEAN", "SEVERITIES", "Shift", "shift_rows", "shifts"]

SEVERITIES = (1, 3, 5)
ALPHA = 0.1  # miscoverage that prediction sets are asked for
CLEAN = "none"
HELD = 1 << 30  # bytes of corrupted images that stay in memory for the next model


@dataclass(frozen=True)
class Shift:
    """One corruption of the test split."""

    corruption: str
    severity: int
    split: Callable[[], Split]

    @property
    def name(self) -> str:
        """Of its trace."""
        return f"{self.corruption}-{self.severity}"


def shifts(data: Data) -> list[Shift]:
    """Every corruption at every severity: of images ImageNet-C's that apply, of texts typos."""
    if data.modality == "text":
        made = {kind: partial(typos.mistyped_texts, data.test, kind) for kind in typos.KINDS}
    else:
        assert data.preprocessing is not None, "refused before"
        images = corruptions.corrupted_images
        made = {kind: partial(images, data.test, data.preprocessing, kind) for kind in corruptions.KINDS}
    small = data.modality == "vision" and _bytes(data) * len(made) * len(SEVERITIES) <= HELD
    found = []
    for kind, make in made.items():
        for severity in SEVERITIES:
            split = partial(make, severity)
            found.append(Shift(kind, severity, _Once(split) if small else split))
    return found


class _Once:
    """A split that is made when it is first asked for."""

    def __init__(self, make: Callable[[], Split]) -> None:
        self.make = make
        self.made: Split | None = None

    def __call__(self) -> Split:
        if self.made is None:
            self.made = self.make()
        return self.made


def _bytes(data: Data) -> int:
    return len(data.test) * data.test.inputs[0].nbytes


def shift_rows(subjects: Sequence[Subject], asked: Sequence[Shift], store: Store, reporter: Reporter) -> list[Row]:
    """Rows of one seed.

    Args:
        subjects: its models, the plain backbone first.
        asked: the corruptions.
        store: of the run; traces go to ``shift`` in it.
        reporter: hears how it goes.
    """
    rows: list[Row] = []
    plain: dict[str, Point] = {}  # by corruption: what the others' drops and speed-ups are against
    last = subjects[-1].scored
    with reporter.task(f"{last.label} seed {last.seed}: {len(asked)} shifts") as update:
        for number, subject in enumerate(subjects):
            for step, (shift, found) in enumerate(_points(subject, asked, store, plain)):
                update(number * len(asked) + step, len(subjects) * len(asked))
                if subject.kind == "plain":
                    plain[shift.name] = found[0][1]
                rows += [_row(subject, shift, chose, point, plain[shift.name]) for chose, point in found]
            subject.release()
    return rows


def _points(
    subject: Subject, asked: Sequence[Shift], store: Store, plain: dict[str, Point]
) -> Iterator[tuple[Shift, list[tuple[Chose, Point]]]]:
    """Operating points, first as they are without any shift."""
    yield Shift(CLEAN, 0, lambda: subject.prepared.data.test), [(chose, chose.test) for chose in subject.points]
    for shift in asked:
        trace, costs = subject.traced(store, "shift", shift.name, shift.split)
        base = None if subject.kind == "plain" else float(plain[shift.name].row["gmacs"])
        yield shift, [(chose, subject.point(chose, trace, costs, base)) for chose in subject.points]


def _row(subject: Subject, shift: Shift, chose: Chose, point: Point, plain: Point) -> Row:
    clean, here = chose.test.row, point.row
    row: Row = {"method": subject.scored.label, "seed": subject.scored.seed, "kind": subject.kind}
    row |= {"target": chose.target, "corruption": shift.corruption, "severity": shift.severity, "knob": point.knob}
    row |= {name: here[name] for name in ("score", "metric", "mean_exit", "gmacs", "speedup_macs")}
    row |= {"score_drift": here["score"] - clean["score"], "gmacs_drift": here["gmacs"] / clean["gmacs"] - 1}
    row |= {"coverage": _coverage(chose.val, point)}
    if subject.kind == "plain":
        return row
    task, targets = point.of.task, point.of.trace.targets
    drop = statistics.score_drop(task.metric, plain.predictions, point.predictions, targets, n=resamples(task, targets))
    row |= {"drop": drop.estimate, "drop_low": drop.low, "drop_high": drop.high}
    row["held"] = _held(Target.parse(chose.target), drop.estimate, here["gmacs"] / plain.row["gmacs"])
    if subject.kind == "dynamic":
        row["dead_share"] = float((~subject.scored.live)[point.exits].mean())
    return row


def _held(target: Target, drop: float, share: float) -> bool | None:
    """Whether what the knob was chosen for is so here; None where only a clock could tell."""
    allowed, found = {"drop": (target.value / 100, drop), "macs": (target.value / 100, share), "ms": (0.0, None)}[
        target.kind
    ]
    return None if found is None else bool(found <= allowed + 1e-9)


def _coverage(val: Point, point: Point) -> float | None:
    """Share of samples whose prediction set, calibrated on validation data, holds the true class; None for numbers.

    The sets are those of conformal.csv named general: a class is in where its probability at the exit a sample stops at
    is at least one minus the quantile, so that the true class's probability tells.
    """
    if point.of.task.kind != "classification":
        return None
    scores = [1 - calibration.deployed(p.of.trace.target_probability, p.exits).astype(np.float64) for p in (val, point)]
    return float((scores[1] <= conformal_quantile(scores[0], ALPHA)).mean())
