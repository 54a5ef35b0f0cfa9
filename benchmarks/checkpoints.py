"""What resuming costs: the share of a training's time that goes into writing its state to disk."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Result, Settings
from eebench import backbones, data
from eebench.api import Backbone, Phase, Recipe
from eebench.data.base import Data, Split
from eebench.engine.checkpoint import Checkpoints
from eebench.engine.model import EarlyExitModel
from eebench.engine.train import fit
from eebench.parts import LinearExit, joint_loss

__all__ = ["run"]

CPU = torch.device("cpu")
MOST = 2.0  # per cent


class Timed(Checkpoints):
    """Knows how long it has written; the training's own clock is not asked, since others use the machine as well."""

    spent = 0.0
    written = 0

    def write(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
        """As ever, and timed."""
        started = time.perf_counter()
        path = super().write(tensors, facts)
        self.spent += time.perf_counter() - started
        self.written += 1
        return path


def run(settings: Settings) -> Iterator[Result]:
    """Train a small network in short epochs and a large one in long batches."""
    digits = data.load("digits")
    yield _cost("vit_micro on digits, short epochs", _micro, digits, 2 if settings.quick else 20)
    if not settings.quick:
        yield _cost("vit_s on random images, long batches", _small, _noise(digits, 24), 4)


def _cost(case: str, make: Callable[[], Backbone], images: Data, epochs: int) -> Result:
    torch.manual_seed(0)
    backbone = make()
    exits = {b: LinearExit(backbone.layouts[b - 1], 10, norm=True) for b in range(1, backbone.depth)}
    model = EarlyExitModel(backbone, {**exits})
    phase = Phase("joint", lambda step: joint_loss(step, [1.0] * len(step.visits)))
    recipe = Recipe(epochs=epochs, batch_size=8, lr=1e-4)
    with tempfile.TemporaryDirectory() as folder:
        keeper = Timed(Path(folder))
        started = time.perf_counter()
        fit(model, phase, recipe, images, seed=0, device=CPU, checkpoints=keeper)
        seconds = time.perf_counter() - started
        size = max((path.stat().st_size for path in Path(folder).iterdir()), default=0)
    value = 100 * keeper.spent / (seconds - keeper.spent)
    detail = {"training_s": round(seconds, 2), "states": keeper.written, "megabytes": round(size / 1e6, 1)}
    return Result("checkpoints", f"{case}: {keeper.written} states in {epochs} epochs", value, "%", MOST, detail=detail)


def _micro() -> Backbone:
    return backbones.create("vit_micro", outputs=10, image_size=8, patch_size=2, channels=1)


def _small() -> Backbone:
    return backbones.create("vit_s", outputs=10)


def _noise(like: Data, samples: int) -> Data:
    split = Split(torch.randn(samples, 3, 224, 224), np.arange(samples) % 10)
    return Data("noise", "vision", like.task, split, split, split)
