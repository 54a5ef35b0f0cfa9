"""``eebench verify``: what of a submission holds when it is worked out again, with neither a GPU nor weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from eebench import data
from eebench.errors import UserError
from eebench.exchange.recompute import Recomputed, difference, recompute
from eebench.exchange.recount import miscount
from eebench.exchange.submission import (
    PREDICTIONS,
    SUBMISSION,
    Submission,
    place_of,
    read_submission,
    spec_hash,
)
from eebench.manifest import faults_of_folder
from eebench.plugins.registry import Registry
from eebench.record import RunRecord, read_record
from eebench.runs.spec import BUDGETS
from eebench.schema import BACKBONE, PROTOCOL_VERSION, STATIC

__all__ = ["Check", "Status", "Verdict", "verify", "verify_all"]

Status = Literal["refused", "claimed", "recomputed", "reproduced"]
EMBEDDED = ("digits", "mnist5k")
"""Data sets that come along, whose split and labels can be had anywhere."""

CLOCK = 0.05  # a speed-up is a ratio over timed samples, its table's means are over rounds: they differ by so much


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Literal["passed", "failed", "not here"]
    words: str = ""


@dataclass
class Verdict:
    """What became of one submission.

    Attributes:
        path: its folder.
        status: ``refused`` where anything failed; ``claimed`` where tables or MACs could not be worked out here;
            ``recomputed`` where both were; ``reproduced`` where somebody else's arrays of the same experiment agree.
        checks: in order.
        submission: who submitted what; None where that cannot be read.
        record: run.json; None where that cannot be read.
        tables: as they were worked out again.
        words: with whom it agrees, or whose copy it is.
    """

    path: Path
    status: Status = "claimed"
    checks: list[Check] = field(default_factory=list)
    submission: Submission | None = None
    record: RunRecord | None = None
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    answers: np.ndarray | None = None
    words: str = ""

    @property
    def failed(self) -> Check | None:
        """The first check that failed."""
        return next((check for check in self.checks if check.status == "failed"), None)


def verify(folder: str | Path, registry: Registry | None = None) -> Verdict:
    """Check one submission: files, schema, protocol, identity, split, tables, MACs.

    Args:
        folder: of the submission.
        registry: where methods come from; the installed ones when not given.

    Raises:
        UserError: it is no submission.
    """
    folder = Path(folder).resolve()
    if not (folder / SUBMISSION).is_file():
        raise UserError(f"{folder} is no submission: it has no {SUBMISSION}")
    verdict = Verdict(folder)
    _Checking(verdict, registry or Registry.installed()).run()
    if verdict.failed is not None:
        verdict.status = "refused"
    elif all(_passed(verdict, name) for name in ("tables", "MACs")):
        verdict.status = "recomputed"
    return verdict


def verify_all(folder: str | Path, registry: Registry | None = None) -> list[Verdict]:
    """Check every submission below a folder, and which of them reproduce each other.

    Raises:
        UserError: there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    places = sorted(path.parent for path in folder.rglob(SUBMISSION) if not _hidden(path.relative_to(folder)))
    if not places:
        raise UserError(f"{folder} holds no submission (no {SUBMISSION} below it)")
    verdicts = [verify(place, registry) for place in places]
    for verdict in verdicts:
        _reproduce(verdict, verdicts)
    return verdicts


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _passed(verdict: Verdict, name: str) -> bool:
    return any(check.name == name and check.status == "passed" for check in verdict.checks)


def _reproduce(verdict: Verdict, others: Sequence[Verdict]) -> None:
    """Raise a recomputed submission to reproduced where another's arrays of the same experiment agree."""
    if verdict.status != "recomputed" or verdict.submission is None:
        return
    mine = verdict.submission
    for other in others:
        theirs = other.submission
        if theirs is None or other.status not in ("recomputed", "reproduced") or theirs.by == mine.by:
            continue
        if (theirs.method, theirs.spec_sha256) != (mine.method, mine.spec_sha256):
            continue
        if _same_arrays(verdict, other):
            verdict.words = f"the same arrays as {theirs.by}'s: no reproduction"
        elif _agree(verdict.tables["headlines"], other.tables["headlines"]):
            verdict.status, verdict.words = "reproduced", f"agrees with {theirs.by}'s"
            return
        else:
            verdict.words = f"does not agree with {theirs.by}'s"


def _same_arrays(first: Verdict, second: Verdict) -> bool:
    a, b = first.answers, second.answers
    return a is not None and b is not None and a.shape == b.shape and bool((a == b).all())


def _agree(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the intervals of every headline of the method overlap."""
    known = {(row["target"], row["method"], row["measure"]): row for row in second}
    for row in first:
        other = known.get((row["target"], row["method"], row["measure"]))
        if other is None or row["low"] > other["high"] or other["low"] > row["high"]:
            return False
    return bool(first)


class NotHere(Exception):  # noqa: N818 - no error: it is looked at elsewhere
    """What cannot be looked at on this machine."""


class _Checking:
    """One submission being checked, the cheap checks first; what needs an earlier one is left out where that failed."""

    def __init__(self, verdict: Verdict, registry: Registry) -> None:
        self.verdict, self.registry, self.folder = verdict, registry, verdict.path
        self.again: Recomputed | None = None

    def run(self) -> None:
        for name, check in (
            ("files", self.files),
            ("schema", self.schema),
            ("protocol", self.protocol),
            ("identity", self.identity),
            ("tables", self.tables),
            ("split", self.split),
            ("MACs", self.macs),
            ("clock", self.clock),
        ):
            found = self._tried(check)
            self.verdict.checks.append(Check(name, *found))
            if found[0] == "failed" and name in ("files", "schema", "protocol", "identity"):
                return

    def _tried(self, check: Callable[[], str]) -> tuple[Any, str]:
        try:
            return "passed", check()
        except NotHere as reason:
            return "not here", str(reason)
        except UserError as reason:
            return "failed", str(reason)

    def files(self) -> str:
        faults = faults_of_folder(self.folder)
        if faults:
            raise UserError(faults[0])
        return "every file is as it was sealed"

    def schema(self) -> str:
        self.verdict.submission = read_submission(self.folder)
        self.verdict.record = read_record(self.folder)
        return f"record of schema version {self.record.schema_version}"

    @property
    def record(self) -> RunRecord:
        assert self.verdict.record is not None, "the schema was checked before"
        return self.verdict.record

    @property
    def said(self) -> Submission:
        assert self.verdict.submission is not None, "the schema was checked before"
        return self.verdict.submission

    def protocol(self) -> str:
        versions = {self.said.protocol_version, self.record.protocol_version}
        if versions != {PROTOCOL_VERSION}:
            raise UserError(f"protocol version {versions}; this eebench compares version {PROTOCOL_VERSION} alone")
        return f"version {PROTOCOL_VERSION}"

    def identity(self) -> str:
        sha = spec_hash(self.said.method, self.record)
        if not sha == self.said.spec_sha256 == self.record.spec_sha256:
            raise UserError(f"spec, split and weights have the hash {sha[:12]}, not {self.said.spec_sha256[:12]}")
        place = place_of(self.said.method, self.said.by, self.record).parts
        if self.folder.parts[-len(place) :] != place:
            raise UserError(f"what it says of itself belongs into {'/'.join(place)}")
        methods = {c.label for c in self.record.cells if c.label != BACKBONE and not c.label.startswith(f"{STATIC}[")}
        if methods != {self.said.method}:
            raise UserError(f"run.json is about {', '.join(sorted(methods))}, not {self.said.method}")
        return sha[:12]

    def tables(self) -> str:
        again = recompute(self.folder / PREDICTIONS, self.record, self.registry)
        self._consistent(again)
        said = difference(self.folder, again.tables)
        if said:
            raise UserError(said)
        self.again, self.verdict.tables = again, again.tables
        methods = [model for model in again.found.models if not model.card.plain]
        self.verdict.answers = np.concatenate([model.test.trace.confidence.ravel() for model in methods])
        return f"{sum(map(len, again.tables.values()))} rows come out as claimed"

    def _consistent(self, again: Recomputed) -> None:
        """Whether card and run.json speak of the same."""
        card, record, models = again.found.card, self.record, again.found.models
        own = next(row for row in again.tables["curves"] if row["kind"] == "plain" and row["split"] == "test")
        pairs = {
            "task": (record.data.task.model_dump(), card.task.model_dump()),
            "data": (record.data.name, card.data.name),
            "split hash": (record.data.split_sha256, card.data.split_sha256),
            "depth": (record.backbone.depth, card.backbone.depth),
            "validation samples": (record.data.n_val, len(models[0].val.trace.targets)),
            "test samples": (record.data.n_test, len(models[0].test.trace.targets)),
            "cells": (
                sorted((c.label, c.seed, tuple(c.blocks)) for c in record.cells),
                sorted((m.card.method, m.card.seed, tuple(m.card.blocks)) for m in models),
            ),
            "seeds": (sorted(record.spec["seeds"]), sorted({m.card.seed for m in models})),
            "plain MACs": (f"{record.backbone.gmacs:.6g}", f"{own['gmacs']:.6g}"),
        }
        for name, (claimed, found) in pairs.items():
            if claimed != found:
                raise UserError(f"run.json and predictions differ in {name}")

    def split(self) -> str:
        """Which samples, for data that are had everywhere."""
        if self.again is None:
            raise NotHere("the arrays were refused")
        spec, record = self.record.spec, self.record
        if record.data.name not in EMBEDDED:
            raise NotHere(f"data set {record.data.name} does not come along; its split hash is taken as it is")
        asked: Any = {name: spec.get(name) for name in ("image_size", "target", "augment", "limit")}
        loaded = data.load(spec["dataset"], **asked)
        most = BUDGETS[spec["budget"]].max_samples if spec["budget"] in BUDGETS else None
        if most is not None:
            loaded = loaded.fewer(most, most // 2, most // 2)
        if loaded.split_hash != record.data.split_sha256:
            raise UserError(f"the split hash of {loaded.name} is {loaded.split_hash[:12]} here")
        first = self.again.found.models[0]
        for name, split, arrays in (("val", loaded.val, first.val), ("test", loaded.test, first.test)):
            if not np.array_equal(split.targets, arrays.trace.targets):
                raise UserError(f"its {name} targets are not those of {loaded.name}")
        return f"{loaded.name}, {len(loaded.val)} validation and {len(loaded.test)} test samples"

    def macs(self) -> str:
        """Costs of the architecture."""
        if self.again is None:
            raise NotHere("the arrays were refused")
        if self.record.imported is not None:
            raise NotHere("imported, cost as declared")
        try:
            said = miscount(self.record, self.folder, self.again.found.models, self.registry)
        except UserError as error:
            raise NotHere(str(error)) from None
        if said:
            raise UserError(said)
        return f"{len(self.again.found.models)} models are counted as claimed"

    def clock(self) -> str:
        """Whether speed-ups are what their own table says; nobody can say more without the machine."""
        paths = [self.folder / f"{name}.csv" for name in ("latency", "operating_points")]
        if not all(path.is_file() for path in paths):
            raise NotHere("nothing was timed")
        latency, points = (pd.read_csv(path) for path in paths)
        if latency.empty:
            raise NotHere("nothing was timed")
        alone = latency[(latency["scenario"] == "single") & (latency["batch_size"] == 1)]
        ms = alone.set_index(["method", "seed", "device", "path"])["mean_ms"].to_dict()
        compared = 0
        for device, column in (("cpu", "speedup_cpu"), ("cuda", "speedup_gpu")):
            shown = points[(points["kind"] == "dynamic") & points[column].notna()]
            for row in shown.to_dict("records"):
                mine = ms.get((row["method"], row["seed"], device, row["target"]))
                plain = ms.get((BACKBONE, row["seed"], device, "plain"))
                if mine is None or plain is None:
                    raise UserError(f"{column} of {row['target']} has no latency behind it")
                if abs(row[column] * mine / plain - 1) > CLOCK:
                    raise UserError(
                        f"{column} of {row['target']} is {row[column]:g}, its latencies say {plain / mine:.4g}"
                    )
                compared += 1
        if not compared:
            raise NotHere("no speed-up is shown")
        return f"{compared} speed-ups fit their latencies, as measured by whoever submitted them"
