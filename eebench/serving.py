"""What a service would see of a finished run's models: its recorded times replayed against arrivals. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eebench.errors import UserError
from eebench.measure.queueing import Served, bursty, highest_load, serve
from eebench.record import read_record
from eebench.schema import BACKBONE, EAGER, STATIC

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "LOADS", "Arrivals", "load_table", "read_trace"]

LOADS = (0.3, 0.6, 0.9)
"""Shares of the plain backbone's capacity at which requests come, unless others are asked for."""

REQUESTS, SETTLED = 50_000, 2_000  # simulated, and of these the first left out, the queue having been empty before

COLUMNS = {
    "method": "as in the run",
    "seed": "training seed",
    "path": "plain, blocks_<k>, or the operating point whose knob decides",
    "service_ms": "mean time a request keeps the server",
    "load": "rate of arrivals as a share of what the plain backbone can answer",
    "rate": "requests a second",
    "p50_ms": "latency that half of the requests do not exceed, waiting included",
    "p99_ms": "latency that 99 of 100 requests do not exceed",
    "throughput": "answers a second",
    "busy": "rate times mean service time, servers together: at 1 and above the queue only grows",
    "highest_load": "highest load at which p99 stays within limit_ms",
    "limit_ms": "that limit",
}
"""Columns of the load table, and what they mean."""


@dataclass(frozen=True)
class Arrivals:
    """How requests come: at random one by one, in bursts, or as a trace says.

    Args:
        burst: mean requests that come at once.
        gaps: (M,) relative gaps between requests, in place of random ones; used over and over.
    """

    burst: float = 1.0
    gaps: np.ndarray | None = None

    def at(self, rate: float, requests: int) -> np.ndarray:
        """(requests,) times in milliseconds, at so many a millisecond on average."""
        if self.gaps is None:
            return bursty(rate, requests, self.burst, seed=0)
        gaps = np.resize(self.gaps, requests)
        return gaps.cumsum() / (gaps.mean() * rate)


def read_trace(path: Path) -> np.ndarray:
    """Gaps between the arrivals in a text file, one time a line in any unit, (N - 1,).

    Raises:
        UserError: no such file, lines that are no numbers, times that do not ascend, or fewer than three.
    """
    try:
        times = np.array([float(line) for line in path.read_text(encoding="utf-8").split()])
    except OSError as error:
        raise UserError(f"--arrivals: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"--arrivals: {path} holds no times, one a line: {error}") from None
    gaps = np.diff(times)
    if len(times) < 3 or not np.isfinite(times).all() or (gaps < 0).any() or not gaps.sum() > 0:
        raise UserError(f"--arrivals: {path} must hold at least three times that ascend")
    return gaps


def load_table(
    run: str | Path,
    *,
    methods: Sequence[str] = (),
    targets: Sequence[str] = (),
    loads: Sequence[float] = LOADS,
    arrivals: Arrivals = Arrivals(),
    limit_ms: float | None = None,
    servers: int = 1,
    device: str = "cpu",
    requests: int = REQUESTS,
) -> pd.DataFrame:
    """Latency and throughput of a service that answers one request at a time, for every timed path of a run.

    Service times are drawn from the readings behind ``latency.csv`` at batch 1, on the same test samples for everybody;
    so they vary as inference varied: by where samples stop, and by what the machine did.

    Args:
        run: the run directory.
        methods: labels; every one that was timed when none are named. The plain backbone is always there.
        targets: operating points; every one when none are named.
        loads: shares of the plain backbone's capacity.
        arrivals: how requests come.
        limit_ms: what p99 must keep within; ten times the plain backbone's mean service time when not given.
        servers: equal servers behind one queue.
        device: whose readings.
        requests: simulated at each load.

    Returns:
        One row a path and load, columns :data:`COLUMNS`.

    Raises:
        UserError: a run without timings, or a method or operating point that was not timed.
    """
    import pandas as pd

    path = Path(run)
    record = read_record(path)
    table = pd.read_csv(path / "latency.csv")
    table = table[(table["device"] == device) & (table["scenario"] == "single") & (table["batch_size"] == 1)]
    if "runtime" in table.columns:
        table = table[table["runtime"] == EAGER]
    table = table[~table["path"].str.startswith(("exit_", "fixed_"))]
    _known("method", methods, table["method"])
    _known("operating point", targets, table["path"])
    if table.empty or BACKBONE not in set(table["method"]):
        raise UserError(f"run '{record.run}' has no timings on {device} to replay")
    rows: list[dict[str, Any]] = []
    for seed, here in table.groupby("seed", sort=False):
        with np.load(path / f"latency-s{seed}.npz", allow_pickle=False) as readings:
            asked = [row for row in here.itertuples() if _asked(row, methods, targets)]
            times = {(row.method, row.path): _readings(readings, row) for row in asked}
        plain = times[BACKBONE, "plain"]
        capacity = servers / float(plain.mean())
        limit = 10 * float(plain.mean()) if limit_ms is None else limit_ms
        for (method, at), read in times.items():
            service = _drawn(read, requests)
            simulate = partial(_simulated, arrivals, service, servers, capacity)
            highest = highest_load(simulate, limit)
            for load in loads:
                served = simulate(load)
                rate = load * capacity
                rows.append(
                    {"method": method, "seed": seed, "path": at, "service_ms": float(service.mean()), "load": load}
                    | {"rate": 1e3 * rate, "p50_ms": served.quantile(0.5), "p99_ms": served.quantile(0.99)}
                    | {"throughput": 1e3 * served.throughput, "busy": rate * float(service.mean()) / servers}
                    | {"highest_load": highest, "limit_ms": limit}
                )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _asked(row: Any, methods: Sequence[str], targets: Sequence[str]) -> bool:
    if row.method == BACKBONE:
        return True
    mine = not methods or row.method in methods
    depths = not any(re.fullmatch(r"blocks_\d+", path) for path in targets)  # none named: all of them
    return mine and (not targets or row.path in targets or (row.method == STATIC and depths))


def _known(what: str, asked: Sequence[str], there: Any) -> None:
    found = sorted(set(there))
    for name in asked:
        if name not in found:
            raise UserError(f"no {what} '{name}' was timed in this run; there are {', '.join(found)}")


def _readings(readings: Any, row: Any) -> np.ndarray:
    """(rounds, samples) milliseconds, on the clock that the run's own figures go by."""
    name = "|".join(map(str, (row.method, row.device, row.scenario, row.batch_size, row.path)))
    return np.asarray(readings[f"{name}|cpu" if row.basis == "cpu" else name])


def _drawn(read: np.ndarray, requests: int) -> np.ndarray:
    """(requests,) service times: a sample and a round at random, the same samples whoever serves them."""
    rng = np.random.default_rng(1)
    sample, turn = rng.random(requests), rng.random(requests)
    return read[(turn * len(read)).astype(int), (sample * read.shape[1]).astype(int)]


def _simulated(arrivals: Arrivals, service: np.ndarray, servers: int, capacity: float, load: float) -> Served:
    requests = len(service)
    return serve(arrivals.at(load * capacity, requests), service, servers, min(SETTLED, requests // 10))
