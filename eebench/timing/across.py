"""One path in several runtimes: which is fastest for it, which for the plain backbone, and how these two compare."""

from __future__ import annotations

import math
from typing import Any

from eebench.measure.timings import speedup_interval
from eebench.schema import BACKBONE, BEST
from eebench.timing.readings import WALL
from eebench.timing.rounds import TURN, Key
from eebench.timing.times import Speedup, Times, crowded

__all__ = ["best", "runtime_rows"]

PLAIN: Key = (BACKBONE, "cpu", "single", 1, "plain")


def best(times: Times, label: str, path: str) -> tuple[Times, Times, Speedup] | None:
    """The path in its best runtime against the plain backbone in its best runtime, at batch 1 on the CPU.

    Nothing is credited to a method that a better runtime does for the plain backbone as well.

    Args:
        times: of any of the runtimes.
        label: the method.
        path: of latency.csv.

    Returns:
        Where the path is fastest, where the plain backbone is, and how much faster the path is; None where either was
        not timed at all.
    """
    key = _key(label, path)
    mine = {_mean(each, key): each for each in times.together if key in each.timings}
    plain = {_mean(each, PLAIN): each for each in times.together if PLAIN in each.timings}
    if not mine or not plain:
        return None
    at, against = mine[min(mine)], plain[min(plain)]
    basis, timing, whole = times.basis("cpu", 1), at.timings[key], against.timings[PLAIN]
    found = speedup_interval(whole.until(timing.rounds).times(basis), timing.times(basis), TURN, at.strata(key))
    own = at.speedup(label, "cpu", path)
    withheld = "" if own is None else own.withheld
    if not withheld and basis == WALL and whole.contaminated:
        withheld = crowded("cpu", times.threads)
    return at, against, Speedup(found, basis, withheld)


def runtime_rows(times: Times, seed: int) -> list[dict[str, Any]]:
    """Rows of runtimes.csv: operating points and static models; none where everything was timed in eager PyTorch alone.

    Args:
        times: eager PyTorch's.
        seed: of training.
    """
    rows: list[dict[str, Any]] = []
    for label, device, scenario, size, path in times.timings if times.others else ():
        if (device, scenario, size) != PLAIN[1:4] or label == BACKBONE or path.startswith(("exit_", "fixed_")):
            continue
        for each in times.together:
            found = each.speedup(label, "cpu", path)
            row = {"method": label, "seed": seed, "path": path, "runtime": each.runtime}
            rows.append(row | _row(label, path, each, each, found, _why_not(each, _key(label, path))))
        found_best = best(times, label, path)
        if found_best is not None:
            row = {"method": label, "seed": seed, "path": path, "runtime": BEST}
            rows.append(row | _row(label, path, *found_best))
    return rows


def _row(label: str, path: str, at: Times, against: Times, found: Speedup | None, reason: str = "") -> dict[str, Any]:
    """What both sides take, and the speed-up or why there is none to show."""
    key = _key(label, path)
    row: dict[str, Any] = {"ran_in": at.runtime, "against": against.runtime}
    row["mean_ms"] = _mean(at, key) if key in at.timings else math.nan
    row["plain_ms"] = _mean(against, PLAIN) if PLAIN in against.timings else math.nan
    row["withheld"] = reason if found is None else found.withheld
    shown = found is not None and not found.withheld
    ends = (found.interval.estimate, found.interval.low, found.interval.high) if found and shown else (math.nan,) * 3
    return row | dict(zip(("speedup", "speedup_low", "speedup_high"), ends, strict=True))


def _why_not(times: Times, key: Key) -> str:
    """Why a path has no speed-up in a runtime."""
    if key not in times.timings:
        return times.absent.get(key[0], "")
    return f"the plain backbone: {times.absent.get(BACKBONE, 'not timed')}" if PLAIN not in times.timings else ""


def _key(label: str, path: str) -> Key:
    return (label, "cpu", "single", 1, path)


def _mean(times: Times, key: Key) -> float:
    """Mean ms a sample, as in latency.csv."""
    return float(times.timings[key].summary(times.basis(key[1], key[3]), times.strata(key))["mean_ms"])
