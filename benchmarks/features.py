"""Training on a frozen backbone: features computed once and shared, against a pass over the backbone every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.harness import Result, Settings, quiet
from eebench import backbones, data
from eebench.api import Features, Inputs, Recipe
from eebench.data.base import Data, Split
from eebench.engine.features import FeatureCache
from eebench.engine.model import EarlyExitModel, assemble
from eebench.engine.train import fit
from eebench.plugins.chosen import Chosen
from eebench.plugins.registry import Registry

__all__ = ["run"]

METHODS = "sdn[training=ic_only],jei_dnn,ztw"
CPU = torch.device("cpu")
Embed = Callable[[Inputs], Features]
TOLERANCE = 1e-3


@dataclass
class Trained:
    """What came of training all the methods."""

    seconds: float
    passes: float  # over the backbone with the train split's samples
    logits: list[Tensor]  # each method's on the test split, (E, N, K)


def run(settings: Settings) -> Iterator[Result]:
    """Methods one after the other on one backbone, as a run trains them: sharing a cache, and without."""
    digits = data.load("digits")
    if settings.quick:
        digits.train = Split([digits.train.inputs[i] for i in range(64)], digits.train.targets[:64])
    chosen = Registry.installed().choose("sdn[training=ic_only],ztw" if settings.quick else METHODS)
    epochs = 2 if settings.quick else 5
    without, shared = _train(chosen, digits, epochs, None), _train(chosen, digits, epochs, FeatureCache())
    case = f"{', '.join(c.label for c in chosen)} on vit_micro and digits, {epochs} epochs a phase"
    passes = {"passes_without": round(without.passes, 2), "seconds": shared.seconds, "seconds_without": without.seconds}
    yield Result("features", f"{case}: passes over the backbone", round(shared.passes, 4), "passes", 1.0, detail=passes)
    yield Result("features", f"{case}: training time, shared over not", shared.seconds / without.seconds, "x")
    gap = max(float((a - b).abs().max()) for a, b in zip(shared.logits, without.logits, strict=True))
    yield Result("features", f"{case}: largest difference of a logit", gap, "", TOLERANCE)


def _train(chosen: list[Chosen], digits: Data, epochs: int, cache: FeatureCache | None) -> Trained:
    seconds, rows, answers = 0.0, 0, []
    for one in chosen:
        torch.manual_seed(0)
        backbone = backbones.create("vit_micro", outputs=10, image_size=8, patch_size=2, channels=1)
        model = assemble(one.method, backbone, digits.task)
        embed = backbone.embed

        def counted(inputs: Inputs, embed: Embed = embed, model: EarlyExitModel = model) -> Features:
            nonlocal rows
            rows += len(inputs) if model.training else 0  # a phase's look at the validation split is in eval mode
            return embed(inputs)

        backbone.embed = counted  # type: ignore[method-assign]
        with quiet():
            started = time.perf_counter()
            for phase in one.method.phases(digits.task):
                fit(
                    model, phase, Recipe(epochs=epochs, batch_size=64, lr=1e-3), digits, seed=1, device=CPU, cache=cache
                )
            seconds += time.perf_counter() - started
        with torch.inference_mode():
            visits = model.trace(torch.stack([digits.test.inputs[i] for i in range(len(digits.test))]))
        answers.append(torch.stack([visit.logits for visit in visits]))
    return Trained(seconds, rows / len(digits.train), answers)
