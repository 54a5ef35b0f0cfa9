"""What a run asks of the clock, and what becomes of its answers in the tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from eebench.runs.score import Point, Row
from eebench.schema import fixed_path, static_path
from eebench.timing.rounds import Rounds
from eebench.timing.times import Expected, Times

if TYPE_CHECKING:
    from eebench.runs.spec import RunSpec
    from eebench.runs.tables import Scored

__all__ = ["attach_speedups", "expected_of", "rounds_of", "samples_of"]

SAMPLES = {"smoke": 16, "quick": 100, "standard": 256, "paper": 256, "none": 256}
LEAST = {"smoke": 2, "quick": 3, "standard": 5, "paper": 5, "none": 5}
SECONDS = {"smoke": 5.0, "quick": 75.0, "standard": 300.0, "paper": 300.0, "none": 300.0}
_PATHS = {"fixed": fixed_path, "static": static_path}
MOST = 5  # times the least rounds: what is not quiet then is not going to be


def samples_of(spec: RunSpec) -> int:
    """Test samples to time."""
    return spec.latency_samples or SAMPLES[spec.budget]


def rounds_of(spec: RunSpec) -> Rounds:
    """How many rounds, and how long more may be added."""
    least = LEAST[spec.budget]
    return Rounds(least, MOST * least, SECONDS[spec.budget] if spec.latency_seconds is None else spec.latency_seconds)


def expected_of(scored: Scored) -> dict[str, Expected]:
    """What replay and MACs say of a model's operating points, by path: the clock is held against it."""
    found: dict[str, Expected] = {}
    for kind, path in _PATHS.items():
        found |= {path(int(point.knob or 0)): Expected(_bound(point)) for point in scored.test(kind)}
    for chosen in scored.chosen.get("dynamic", []):
        point, blocks = chosen.test, tuple(int(block) for block in chosen.test.of.trace.blocks)
        found[chosen.target] = Expected(_bound(point), point.exits, point.predictions, blocks)
    return found


def _bound(point: Point) -> float:
    """No path is faster than the work it leaves out: MACs, or blocks where heads weigh more than they take."""
    return max(point.row["speedup_macs"], point.row["speedup_layers"])


def attach_speedups(rows: Iterable[Row], times: Times, seed: int) -> None:
    """Fill the measured speed-ups of operating-point rows in, or the reason why one is withheld."""
    for row in rows:
        if row["seed"] != seed or row["kind"] not in ("dynamic", *_PATHS):
            continue
        path = row["target"] if row["kind"] == "dynamic" else _PATHS[row["kind"]](int(row["knob"]))
        for device, short in (("cpu", "cpu"), ("cuda", "gpu")):
            found = times.speedup(row["method"], device, path)
            if found is None:
                continue
            row[f"withheld_{short}"] = found.withheld
            if not found.withheld:
                low, high = found.interval.low, found.interval.high
                row[f"speedup_{short}"] = found.interval.estimate
                row |= {f"speedup_{short}_low": low, f"speedup_{short}_high": high}
