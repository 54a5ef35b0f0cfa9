"""Does an exported model decide and answer as live inference does, on the whole test split? Counted and said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eebench.api import ExitRule
from eebench.data.base import Split, batches, content_sha256
from eebench.deploy.runner import Exported
from eebench.deploy.segments import named
from eebench.engine.features import lengths_of
from eebench.engine.model import EarlyExitModel
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.record import read_record
from eebench.runs.deployed import load
from eebench.runs.plugged import recorded
from eebench.runs.prepare import load_data
from eebench.runs.spec import make_spec
from eebench.timing.times import differs

__all__ = ["NEAR", "Agreement", "agreement", "compare_exported"]

NEAR = 1e-4
"""A score so near to the knob, or two largest logits so near, may fall on either side in other arithmetic."""


@dataclass(frozen=True)
class Agreement:
    """A test split by both: samples, and how many stop elsewhere or are answered otherwise."""

    samples: int
    elsewhere: int  # stop at another exit
    otherwise: int  # stop at the same exit with another answer
    near: int  # of these, with a score within NEAR of the knob or of another answer
    logits: float  # largest difference of a logit where both stop at the same exit

    @property
    def agrees(self) -> bool:
        """Whether nothing differs but what rounding explains."""
        return self.elsewhere + self.otherwise <= self.near

    def __str__(self) -> str:
        if not self.elsewhere + self.otherwise:
            said = "all stop at the same exit with the same answer"
        else:
            said = f"{self.elsewhere} stop elsewhere and {self.otherwise} are answered otherwise"
            said += f", {self.near} of them within {NEAR:g} of the knob or of another answer"
        return f"{self.samples} test samples: {said}; logits differ by at most {self.logits:.1e}"


def agreement(
    run: str | Path,
    method: str,
    runner: Exported,
    *,
    seed: int | None = None,
    plugins: Sequence[str | Path] | None = None,
) -> Agreement:
    """Compare an exported model with the run's own, on the test split, which is read again.

    Args:
        run: the run directory.
        method: its label in the run.
        runner: the exported model.
        seed: of the training.
        plugins: files with methods, backbones or data sets that are not installed.

    Raises:
        UserError: the data set is not there, or is another one by now.
    """
    record = read_record(Path(run))
    files = [Path(p) for p in plugins or []] or recorded(record.spec.get("plugins", []))
    loaded, _ = load_data(make_spec(**record.spec), Registry.installed(files))
    if content_sha256(loaded) != record.data.content_sha256:
        raise UserError(
            f"data set '{record.data.name}' is not what it was when the run was made: nothing to compare on"
        )
    deployed = load(run, method, seed=seed, plugins=plugins)
    return compare_exported(deployed.model, deployed.rule, runner, loaded.test)


@torch.inference_mode()
def compare_exported(
    model: EarlyExitModel,
    rule: ExitRule | None,
    runner: Any,
    split: Split,
    *,
    knob: float | None = None,
    size: int = 32,
) -> Agreement:
    """Both on every sample of a split, in batches.

    Args:
        model: in eval mode, on the CPU.
        rule: its rule; None for a model that stops nowhere.
        runner: the exported model.
        split: the samples.
        knob: at which; the exported one when not given.
        size: samples a batch at most.
    """
    at = runner.deployment.knob if knob is None else knob
    columns: list[tuple[np.ndarray, ...]] = []
    for batch in batches(split, model.backbone.prepare, size, lengths=lengths_of(model.backbone, split)):
        arrays = {name: column.numpy() for name, column in named(batch.inputs).items()}
        logits, exits = runner.decide(arrays, at, ids=batch.ids.numpy())
        if rule is None:
            live = model.backbone.plain(batch.inputs).numpy()
            stops, near = np.zeros_like(exits), _undecided(live)
        else:
            decided = model.dynamic(batch.inputs, rule, float(at), batch.ids)
            live, stops = decided.logits.numpy(), decided.exit.numpy()
            near = _undecided(live) | _near(model, rule, float(at), batch)
        columns.append((logits, exits, live, stops, near))
    logits, exits, live, stops, near = (np.concatenate(each) for each in zip(*columns, strict=True))
    elsewhere = exits != stops
    said = (logits[:, 0], live[:, 0]) if live.shape[1] == 1 else (logits.argmax(1), live.argmax(1))
    otherwise = differs(*said) & ~elsewhere
    apart = np.abs(logits - live)[~elsewhere]
    return Agreement(
        samples=len(exits),
        elsewhere=int(elsewhere.sum()),
        otherwise=int(otherwise.sum()),
        near=int((near & (elsewhere | otherwise)).sum()),
        logits=float(apart.max()) if apart.size else 0.0,
    )


def _undecided(logits: np.ndarray) -> np.ndarray:
    """(B,) whether the two largest logits are nearly equal."""
    if logits.shape[1] == 1:
        return np.zeros(len(logits), dtype=bool)
    second, first = np.sort(logits, 1)[:, -2:].T
    return first - second < NEAR


def _near(model: EarlyExitModel, rule: ExitRule, knob: float, batch: Any) -> np.ndarray:
    """(B,) whether a knob or an exit's answer a little off would have stopped a sample elsewhere."""
    off = 0.0 if rule.knob.integer else NEAR  # whole numbers have no neighbours that a score could be rounded to
    low, high = (model.dynamic(batch.inputs, rule, at, batch.ids).exit.numpy() for at in (knob - off, knob + off))
    near = low != high
    for visit in model.walk(batch.inputs):
        if visit.output.logits is not None:
            near |= _undecided(visit.output.logits.numpy())
    return near
