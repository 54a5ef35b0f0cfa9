"""Latency of a run: who is timed on which path, and the rows and speed-ups that come of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from eebench.api import ExitRule, Inputs
from eebench.data.base import Split
from eebench.engine.model import EarlyExitModel
from eebench.measure.statistics import Interval, bootstrap_ratio
from eebench.progress import Reporter
from eebench.schema import BACKBONE, exit_path, fixed_path
from eebench.timing.energy import NvmlMeter, measure_energy
from eebench.timing.rounds import TURN, Contender, Key, Run, Timing, time_rounds

__all__ = ["Entrant", "Times", "batches_of", "energy_rows", "time_seed"]

Batches = list[tuple[Inputs, torch.Tensor]]


@dataclass
class Entrant:
    """A trained method to time, with the knobs of its operating points and the blocks of its fixed ones."""

    label: str
    model: EarlyExitModel
    rule: ExitRule | None  # None: the plain backbone, or a static model
    knobs: dict[str, float]  # target -> knob
    fixed: dict[str, int]  # target -> block
    path: str = "plain"  # of a model without a rule


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
        plain = self.timings.get((BACKBONE, device, "single", 1, "plain"))
        if mine is None or plain is None:
            return None
        return bootstrap_ratio(plain.wall_ms, mine.wall_ms, block=TURN)

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
        for batch_size in dict.fromkeys(min(size, len(order)) for size in batch_sizes):  # a split may be smaller
            wanted = order[: max(samples, 4 * batch_size)]
            whole = wanted[: len(wanted) // batch_size * batch_size]
            batches = batches_of(entrants[0].model, split, whole, batch_size, place)
            for entrant in entrants:
                contenders += _contenders(entrant, place, batch_size, batches, times)
        unique = {contender.twin: contender for contender in contenders}
        with reporter.task(f"latency seed {seed} on {place.type}: {len(unique)} paths x {rounds} rounds") as update:
            timed = time_rounds(list(unique.values()), device=place, rounds=rounds, progress=update)
        found = dict(zip(unique, timed, strict=True))
        for contender in contenders:
            times.timings[contender.key] = found[contender.twin]
    return times


def energy_rows(
    entrants: list[Entrant], split: Split, *, device: torch.device, batch_size: int, seed: int, reporter: Reporter
) -> list[dict[str, Any]]:
    """Rows of energy.csv: joules a sample of the plain backbone and of every operating point, on the GPU."""
    meter = NvmlMeter(device.index or 0)
    for entrant in entrants:
        entrant.model.to(device)
    rows = np.arange(len(split) // batch_size * batch_size) if len(split) >= batch_size else np.arange(len(split))
    batches = batches_of(entrants[0].model, split, rows, batch_size, device)
    times = Times({}, {}, torch.get_num_threads())
    found = []
    contenders = [c for e in entrants for c in _contenders(e, device, batch_size, batches, times)]
    asked = [c for c in contenders if c.key[2] != "wait" and not c.key[4].startswith(("exit_", "fixed_"))]
    with reporter.task(f"energy seed {seed}: {len(asked)} windows") as update, torch.inference_mode():
        for done, contender in enumerate(asked, 1):
            turn = itertools.cycle(contender.batches)

            def work(contender: Contender = contender, turn: Any = turn) -> int:
                inputs, ids = next(turn)
                contender.run(inputs, ids)
                torch.cuda.synchronize()
                return len(ids)

            used = measure_energy(work, meter)
            row = {"method": contender.key[0], "seed": seed, "path": contender.key[4], "batch_size": batch_size}
            row |= {"joules": used.joules_per_sample, "gross_joules": used.gross_joules_per_sample}
            found.append(row | {"idle_watts": used.idle_watts, "seconds": used.seconds, "samples": used.samples})
            update(done, len(asked))
    return found


def _contenders(
    entrant: Entrant,
    place: torch.device,
    batch_size: int,
    batches: Batches,
    times: Times,
) -> list[Contender]:
    model, rule = entrant.model, entrant.rule

    def one(scenario: str, path: str, run: Run, some: Batches | None = None, knob: float | None = None) -> Contender:
        key = (entrant.label, place.type, scenario, batch_size, path)
        if knob is not None:
            times.knobs[key] = knob
        return Contender(key, run, some or batches, (*key[:4], path if knob is None else knob))

    scenario = "single" if batch_size == 1 else "batch"
    if rule is None:
        return [one(scenario, entrant.path, lambda inputs, ids: model.backbone.plain(inputs))]
    found = []
    for target, knob in entrant.knobs.items():
        found.append(one(scenario, target, partial(_dynamic, model, rule, knob, False), knob=knob))
        if batch_size > 1:
            found.append(one("wait", target, partial(_dynamic, model, rule, knob, True), knob=knob))
    if batch_size == 1:
        few = batches[: max(4, len(batches) // 4)]
        found += [one(scenario, fixed_path(b), partial(_fixed, model, b)) for b in sorted(set(entrant.fixed.values()))]
        found += [one(scenario, exit_path(b), partial(_forced, model, b), few) for b in model.blocks]
    return found


def _dynamic(
    model: EarlyExitModel, rule: ExitRule, knob: float, wait: bool, inputs: Inputs, ids: torch.Tensor
) -> object:
    return model.dynamic(inputs, rule, knob, ids, wait=wait)


def _fixed(model: EarlyExitModel, block: int, inputs: Inputs, ids: torch.Tensor) -> object:
    return model.static(inputs, block)


def _forced(model: EarlyExitModel, block: int, inputs: Inputs, ids: torch.Tensor) -> object:
    return model.forced(inputs, block)


def batches_of(model: EarlyExitModel, split: Split, rows: np.ndarray, batch_size: int, place: torch.device) -> Batches:
    """These rows of a split as batches on a device, each with the ids of its samples (int64)."""
    found: Batches = []
    for start in range(0, len(rows), batch_size):
        ids = rows[start : start + batch_size]
        inputs = model.backbone.prepare([split.inputs[int(i)] for i in ids])
        moved = {k: v.to(place) for k, v in inputs.items()} if isinstance(inputs, dict) else inputs.to(place)
        found.append((moved, torch.from_numpy(ids.astype(np.int64)).to(place)))
    return found
