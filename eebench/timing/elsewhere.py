"""What is timed in other runtimes than eager PyTorch, beside it in the same rounds: batches as everybody's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import Tensor

from eebench.api import Inputs
from eebench.timing.entrant import Entrant, Opened
from eebench.timing.rounds import Contender, Key, Run
from eebench.timing.times import Expected, Times

__all__ = ["elsewhere"]


def elsewhere(
    entrant: Entrant, batch_size: int, batches: Sequence[tuple[Inputs, Tensor]], eager: Times
) -> list[tuple[Contender, Times]]:
    """The plain network or every operating point of an entrant in each runtime that it is open in, on the CPU.

    Args:
        entrant: who.
        batch_size: samples a batch.
        batches: what eager PyTorch is timed on.
        eager: its timings; what is listed is noted in those beside it.

    Returns:
        Who is timed, and where the readings belong.
    """
    found = []
    scenario = "single" if batch_size == 1 else "batch"
    for name, opened in entrant.runtimes.items():
        times = eager.beside(name)
        runs: list[tuple[str, float | None, Run]]
        if entrant.rule is None:
            runs = [(entrant.path, None, partial(_plain, opened))]
        else:
            runs = [(target, knob, partial(_dynamic, opened, knob)) for target, knob in entrant.knobs.items()]
        for path, knob, run in runs:
            key: Key = (entrant.label, "cpu", scenario, batch_size, path)
            if knob is not None:
                times.knobs[key] = knob
            times.expected[key] = entrant.expected.get(path, Expected())
            times.ids[key] = np.stack([ids.numpy(force=True) for _, ids in batches])
            twin = (name, *key[:4], path if knob is None else knob)
            found.append((Contender(key, run, batches, twin, runtime=name), times))
    return found


def _plain(opened: Opened, inputs: Inputs, ids: Tensor) -> object:
    return opened.plain(inputs)


def _dynamic(opened: Opened, knob: float, inputs: Inputs, ids: Tensor) -> object:
    return opened.dynamic(inputs, ids, knob)
