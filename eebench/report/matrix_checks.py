"""What may be compared and what may not, each refusal with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

from eebench.errors import UserError
from eebench.report.frames import Record
from eebench.report.text import short_name

__all__ = ["check_comparable", "check_consistent"]


def check_comparable(records: Sequence[Record]) -> None:
    """Refuse what cannot stand in one ranking: other rules, splits or metrics.

    Raises:
        UserError: every conflict, in one line.
    """
    conflicts = []
    first = records[0]
    data: dict[str, Record] = {}
    for record in records:
        here, there = str(record.run["run"]), str(first.run["run"])
        if record.run.get("protocol_version") != first.run.get("protocol_version"):
            versions = f"{first.run.get('protocol_version')} and {record.run.get('protocol_version')}"
            conflicts.append(f"protocol {versions} in {there} and {here}: their numbers were made by other rules")
        known = data.setdefault(str(record.run["data"]["name"]), record)
        where = f"in {known.run['run']} and {here}"
        if known.run["data"].get("split_sha256") != record.run["data"].get("split_sha256"):
            conflicts.append(f"another split of {short_name(record.run['data']['name'])} {where}")
        if known.metric != record.metric:
            conflicts.append(f"{known.metric} and {record.metric} as the metric {where}")
    if conflicts:
        raise UserError(f"these runs cannot be compared: {'; '.join(dict.fromkeys(conflicts))}")


def check_consistent(records: Sequence[Record]) -> None:
    """One method on one seed in two runs of a task must be the same model.

    Raises:
        UserError: it has two results.
    """
    seen: dict[tuple[str, int], tuple[float, str]] = {}
    for record in records:
        rows = record.points[record.points["kind"].isin(["dynamic", "static"])]
        sums = rows.groupby(["method", "seed"])["score"].sum().reset_index()
        for method, seed, score in zip(sums["method"], sums["seed"], sums["score"], strict=True):
            known, run = seen.setdefault((str(method), int(seed)), (float(score), str(record.run["run"])))
            if not math.isclose(known, score, rel_tol=1e-9):
                raise UserError(
                    f"these runs cannot be compared: {method} seed {seed} has one result in {run} and another in"
                    f" {record.run['run']}; leave one of them out"
                )
