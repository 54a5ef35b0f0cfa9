"""Latency of a run: who is timed on which path, and the rows and speed-ups that come of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from eebench.api import ExitRule
from eebench.backbones.base import Inputs
from eebench.data.base import Split
from eebench.measure.latency import Contender, Timing, time_rounds
from eebench.measure.statistics import Interval, bootstrap_ratio
from eebench.model import EarlyExitModel
from eebench.progress import Reporter

__all__ = ["Entrant", "Times", "time_seed"]

Key = tuple[str, str, str, int, str]  # label, device, scenario, batch size, path


@dataclass
class Entrant:
    """A trained method to time, with the knobs of its operating points and the blocks of its fixed ones."""

    label: str
    model: EarlyExitModel
    rule: ExitRule | None  # None: the plain backbone
    knobs: dict[str, float]  # target -> knob
    fixed: dict[str, int]  # target -> block


@dataclass
class Times:
    """All timings of one seed."""

    timings: dict[Key, Timing]
    knobs: dict[Key, float]
    threads: int

    def rows(self, seed: int) -> list[dict[str, Any]]:
        """Rows of latency.csv."""
        rows = []
        for key, timing in self.timings.items():
            label, device, scenario, batch_size, path = key
            row = {"method": label, "seed": seed, "device": device, "scenario": scenario, "batch_size": batch_size}
            row |= {"path": path, "knob": self.knobs.get(key), "threads": self.threads}
            rows.append(row | timing.summary())
        return rows

    def speedup(self, label: str, device: str, path: str) -> Interval | None:
        """Plain backbone's mean over this path's at batch 1, with its bootstrap interval; None where not timed."""
        mine = self.timings.get((label, device, "single", 1, path))
        plain = self.timings.get(("backbone", device, "single", 1, "plain"))
        if mine is None or plain is None:
            return None
        return bootstrap_ratio(plain.wall_ms, mine.wall_ms)

    def raw(self) -> dict[str, np.ndarray]:
        """Every raw time, milliseconds a sample, (rounds, batches), by ``label|device|scenario|batch|path``."""
        return {"|".join(map(str, key)): timing.wall_ms for key, timing in self.timings.items()}


def time_seed(
    entrants: list[Entrant],
    split: Split,
    *,
    device: torch.device,
    samples: int,
    rounds: int,
    batch_sizes: tuple[int, ...],
    reporter: Reporter,
    seed: int = 0,
) -> Times:
    """Time every entrant: batch 1 on every operating point and exit, larger batches on the operating points.

    The sample sequence is drawn once, the same for everybody. Forced exits are timed on a quarter of the samples (they
    cost the same whatever the sample). The CPU is always timed; CUDA as well when it is the run's device.
    """
    devices = [torch.device("cpu")] + ([device] if device.type == "cuda" else [])
    times = Times({}, {}, torch.get_num_threads())
    order = np.random.default_rng(seed).permutation(len(split))
    for place in devices:
        for entrant in entrants:
            entrant.model.to(place)
        contenders: list[Contender] = []
        for batch_size in batch_sizes:
            wanted = order[: max(samples, 4 * batch_size)] if len(order) >= batch_size else order
            whole = wanted[: len(wanted) // batch_size * batch_size] if len(wanted) >= batch_size else wanted
            batches = _batches(entrants[0].model, split, whole, batch_size, place)
            for entrant in entrants:
                contenders += _contenders(entrant, place, batch_size, batches, times)
        unique = _without_twins(contenders, times)
        with reporter.task(f"latency seed {seed} on {place.type}: {len(unique)} paths x {rounds} rounds") as update:
            timed = time_rounds(unique, device=place, rounds=rounds, progress=update)
        by_key = {c.key: t for c, t in zip(unique, timed, strict=True)}
        for contender in contenders:
            times.timings[contender.key] = by_key[_twin_of(contender, unique, times)]  # type: ignore[index]
    return times


def _contenders(
    entrant: Entrant,
    place: torch.device,
    batch_size: int,
    batches: list[tuple[Inputs, torch.Tensor]],
    times: Times,
) -> list[Contender]:
    model, rule = entrant.model, entrant.rule

    def one(scenario: str, path: str, run: Any, some: Any = None) -> Contender:
        key: Key = (entrant.label, place.type, scenario, batch_size, path)
        return Contender(key, run, some or batches, batch_size)  # type: ignore[arg-type]

    scenario = "single" if batch_size == 1 else "batch"
    if rule is None:
        return [one(scenario, "plain", lambda x, ids: model.backbone.plain(x))]
    found = []
    for target, knob in entrant.knobs.items():
        for name, wait in ((scenario, False), *((("wait", True),) if batch_size > 1 else ())):
            run = partial(_dynamic, model, rule, knob, wait)
            found.append(one(name, target, run))
            times.knobs[found[-1].key] = knob  # type: ignore[index]
    if batch_size == 1:
        few = batches[: max(4, len(batches) // 4)]
        for block in sorted(set(entrant.fixed.values())):
            found.append(one(scenario, f"fixed_{block}", lambda x, ids, b=block: model.static(x, b)))
        for block in model.blocks:
            found.append(one(scenario, f"exit_{block}", lambda x, ids, b=block: model.forced(x, b), few))
    return found


def _dynamic(
    model: EarlyExitModel, rule: ExitRule, knob: float, wait: bool, inputs: Inputs, ids: torch.Tensor
) -> object:
    return model.dynamic(inputs, rule, knob, ids, wait=wait)


def _same(contender: Contender, times: Times) -> tuple:
    """Two operating points with the same knob are one measurement."""
    knob = times.knobs.get(contender.key)  # type: ignore[call-overload]
    return (*contender.key[:4], contender.key[4] if knob is None else knob)


def _without_twins(contenders: list[Contender], times: Times) -> list[Contender]:
    first: dict[tuple, Contender] = {}
    for contender in contenders:
        first.setdefault(_same(contender, times), contender)
    return list(first.values())


def _twin_of(contender: Contender, unique: list[Contender], times: Times) -> tuple:
    wanted = _same(contender, times)
    return next(c.key for c in unique if _same(c, times) == wanted)


def _batches(
    model: EarlyExitModel, split: Split, rows: np.ndarray, batch_size: int, place: torch.device
) -> list[tuple[Inputs, torch.Tensor]]:
    found: list[tuple[Inputs, torch.Tensor]] = []
    for start in range(0, len(rows), batch_size):
        ids = rows[start : start + batch_size]
        inputs = model.backbone.prepare([split.inputs[int(i)] for i in ids])
        moved = {k: v.to(place) for k, v in inputs.items()} if isinstance(inputs, dict) else inputs.to(place)
        found.append((moved, torch.from_numpy(ids.astype(np.int64)).to(place)))
    return found
