"""Latency of a run: who is timed on which path, and the rows and speed-ups that come of it."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np
import torch

from eebench import machine
from eebench.api import ExitRule, Inputs
from eebench.data.base import Split
from eebench.engine.model import EarlyExitModel
from eebench.progress import Reporter
from eebench.schema import BACKBONE, EAGER, exit_path, fixed_path
from eebench.timing.blame import ContenderError, blamed
from eebench.timing.clocks import Clocks, Stopwatch
from eebench.timing.elsewhere import elsewhere
from eebench.timing.energy import NvmlMeter, measure_energy
from eebench.timing.entrant import Entrant
from eebench.timing.readings import Timing
from eebench.timing.rounds import Contender, Rounds, Run, time_rounds
from eebench.timing.times import Expected, Times

__all__ = ["batches_of", "energy_rows", "time_seed"]

Batches = list[tuple[Inputs, torch.Tensor]]


def time_seed(
    entrants: list[Entrant],
    split: Split,
    *,
    device: torch.device,
    samples: int,
    rounds: Rounds,
    batch_sizes: tuple[int, ...],
    reporter: Reporter,
    seed: int = 0,
    clocks: Clocks | None = None,
) -> Times:
    """Time every entrant: batch 1 on every operating point and exit, larger batches on the operating points.

    The sample sequence is drawn once, the same for everybody. Forced exits are timed on a quarter of the samples (they
    cost the same whatever the sample). The CPU is always timed; CUDA as well when it is the run's device. Rounds go on
    for the operating points at batch 1 whose speed-up could not be shown yet, and for the plain backbone beside them.

    A method that raises is left out (``Times.failed``) and the others are timed from the start; what the plain backbone
    raises is raised. What raises in another runtime than eager PyTorch is left out of that runtime (``Times.absent``).
    """
    devices = [torch.device("cpu")] + ([device] if device.type == "cuda" else [])
    clocks = clocks or Clocks(torch.get_num_threads())
    times = Times(clocks.threads)
    for entrant in entrants:
        for name in entrant.runtimes:
            times.beside(name)
        for name, reason in entrant.unopened.items():
            times.beside(name).absent[entrant.label] = reason
    order = np.random.default_rng(seed).permutation(len(split))
    for place in devices:
        while True:
            here = [entrant for entrant in entrants if entrant.label not in times.failed]
            try:
                _time_on(place, here, split, order, samples, rounds, batch_sizes, reporter, seed, clocks, times)
                break
            except ContenderError as error:
                label, cause = error.key[0], error.__cause__
                if cause is not None and error.runtime != EAGER:
                    _leave_runtime(here, label, times.beside(error.runtime), cause, reporter)
                    continue
                if label == BACKBONE or cause is None:
                    raise
                times.leave_out(label, cause)
                reporter.say(f"{label} seed {seed}: {error.key[4]} raised while it was timed; the others start again")
    return times


def _leave_runtime(entrants: list[Entrant], label: str, times: Times, error: BaseException, reporter: Reporter) -> None:
    """A method is timed no more in a runtime that raised."""
    for entrant in entrants:
        if entrant.label == label:
            entrant.runtimes.pop(times.runtime, None)
    times.drop(label)
    first = (str(error).strip() or "no message").splitlines()[0]
    times.absent[label] = f"{type(error).__name__}: {first}"
    reporter.say(f"{label} raised in {times.runtime} while it was timed: {times.absent[label]}; the others start again")


def _time_on(
    place: torch.device,
    entrants: list[Entrant],
    split: Split,
    order: np.ndarray,
    samples: int,
    rounds: Rounds,
    batch_sizes: tuple[int, ...],
    reporter: Reporter,
    seed: int,
    clocks: Clocks,
    times: Times,
) -> None:
    """Time everybody on one device."""
    for entrant in entrants:
        entrant.model.to(place)
    contenders: list[tuple[Contender, Times]] = []
    for batch_size in dict.fromkeys(min(size, len(order)) for size in batch_sizes):  # a split may be smaller
        wanted = order[: max(samples, 4 * batch_size)]
        whole = wanted[: len(wanted) // batch_size * batch_size]
        batches = batches_of(entrants[0].model, split, whole, batch_size, place)
        for entrant in entrants:
            listed = _contenders(entrant, place, batch_size, batches, times, clocks)
            contenders += [(contender, times) for contender in listed]
            contenders += elsewhere(entrant, batch_size, batches, times) if place.type == "cpu" else []
    unique = {contender.twin: contender for contender, _ in contenders}
    judge = _Judge(contenders, list(unique))
    load, started = machine.load(), clocks.wall()
    with reporter.task(f"latency seed {seed} on {place.type}: {len(unique)} paths") as update:
        timings = time_rounds(
            list(unique.values()),
            device=place,
            rounds=rounds,
            unsettled=judge.unsettled,
            clocks=clocks,
            progress=update,
        )
    judge.keep(timings)
    times.facts.append(
        {"seed": seed, "device": place.type, "threads": clocks.threads, "basis": times.basis(place.type, 1)}
        | {"load_before": load, "load_after": machine.load(), "others_cores": list(clocks.others)}
        | {"seconds": round((clocks.wall() - started) / 1e9, 1), "rounds": len(clocks.others)}
    )


class _Judge:
    """Who is timed once more: operating points at batch 1 that may not be shown yet, the plain backbone beside them.

    Whoever is settled is timed once more before its rounds end. Ending them the very moment an interval is narrow
    keeps the lucky ones: in simulation such intervals held the truth 92 times of 100, with one more round 94 to 95.
    """

    def __init__(self, contenders: list[tuple[Contender, Times]], twins: list[Hashable]) -> None:
        self.contenders = contenders
        self.place = {twin: i for i, twin in enumerate(twins)}
        alone = [(c, times) for c, times in contenders if c.key[3] == 1 and not c.key[4].startswith("exit_")]
        self.plain = {self.place[c.twin] for c, _ in alone if c.key[0] == BACKBONE}
        self.open = [(c, times) for c, times in alone if c.key[0] != BACKBONE]

    def keep(self, timings: list[Timing]) -> None:
        """Put readings where they belong."""
        for contender, times in self.contenders:
            times.timings[contender.key] = timings[self.place[contender.twin]]

    def unsettled(self, timings: list[Timing]) -> set[int]:
        """Places of those that were not settled a round ago."""
        self.keep(timings)
        last = {self.place[contender.twin] for contender, _ in self.open}
        self.open = [(contender, times) for contender, times in self.open if self._loud(contender, times)]
        return last | self.plain if last else set()

    def _loud(self, contender: Contender, times: Times) -> bool:
        label, device, _, _, path = contender.key
        found = times.speedup(label, device, path)
        return found is not None and found.again


def energy_rows(
    entrants: list[Entrant], split: Split, *, device: torch.device, batch_size: int, seed: int, reporter: Reporter
) -> list[dict[str, Any]]:
    """Rows of energy.csv: joules a sample of the plain backbone and of every operating point, on the GPU."""
    meter = NvmlMeter(device.index or 0)
    for entrant in entrants:
        entrant.model.to(device)
    rows = np.arange(len(split) // batch_size * batch_size) if len(split) >= batch_size else np.arange(len(split))
    batches = batches_of(entrants[0].model, split, rows, batch_size, device)
    clocks = Clocks(torch.get_num_threads())
    times = Times(clocks.threads)
    found = []
    contenders = [c for e in entrants for c in _contenders(e, device, batch_size, batches, times, clocks)]
    asked = [c for c in contenders if c.key[2] != "wait" and not c.key[4].startswith(("exit_", "fixed_"))]
    with reporter.task(f"energy seed {seed}: {len(asked)} windows") as update, torch.inference_mode():
        for done, contender in enumerate(asked, 1):
            turn = itertools.cycle(contender.batches)

            def work(contender: Contender = contender, turn: Any = turn) -> int:
                inputs, ids = next(turn)
                contender.run(inputs, ids)
                torch.cuda.synchronize()
                return len(ids)

            with blamed(contender.key):
                used = measure_energy(work, meter)
            row = {"method": contender.key[0], "seed": seed, "path": contender.key[4], "batch_size": batch_size}
            row |= {"joules": used.joules_per_sample, "gross_joules": used.gross_joules_per_sample}
            found.append(row | {"idle_watts": used.idle_watts, "seconds": used.seconds, "samples": used.samples})
            update(done, len(asked))
    return found


def _contenders(
    entrant: Entrant, place: torch.device, batch_size: int, batches: Batches, times: Times, clocks: Clocks
) -> list[Contender]:
    model, rule = entrant.model, entrant.rule

    def one(
        scenario: str,
        path: str,
        run: Run,
        some: Batches = batches,
        knob: float | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> Contender:
        key = (entrant.label, place.type, scenario, batch_size, path)
        if knob is not None:
            times.knobs[key] = knob
        times.expected[key] = entrant.expected.get(path, Expected())
        times.ids[key] = np.stack([ids.numpy(force=True) for _, ids in some])
        return Contender(key, run, some, (*key[:4], path if knob is None else knob), stopwatch)

    scenario = "single" if batch_size == 1 else "batch"
    if rule is None:
        return [one(scenario, entrant.path, lambda inputs, ids: model.backbone.plain(inputs))]
    found = []
    for target, knob in entrant.knobs.items():
        watch = Stopwatch(rule, clocks) if batch_size > 1 else None
        run = partial(_dynamic, model, watch or rule, knob, False)
        found.append(one(scenario, target, run, knob=knob, stopwatch=watch))
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
