"""A method set up on a tiny network, and how a check says that a promise does not hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eebench.api import Backbone, ExitRule, Inputs, Method, Phase, Task
from eebench.data.base import Data
from eebench.engine.model import EarlyExitModel, assemble
from eebench.engine.trace import Trace, collect
from eebench.errors import UserError
from eebench.plugins.chosen import Chosen
from eebench.plugins.needs import unmet
from eebench.testing.networks import tiny_backbone, tiny_data

__all__ = ["CPU", "KINDS", "Bench", "BrokenPromiseError", "must"]

KINDS = ("vit", "deit", "swin", "resnet", "text", "regression")
"""Networks of four classes to check a method on; ``regression`` is a value on text, on a ViT where a grid is needed."""

CPU = torch.device("cpu")
KNOBS = 7


class BrokenPromiseError(AssertionError):
    """A promise that does not hold, in words.

    Args:
        words: what is wrong.
        blame: the class or function whose code it is, if not the method's own class.
    """

    def __init__(self, words: str, blame: Any = None) -> None:
        super().__init__(words)
        self.blame = blame


def must(holds: bool, words: str, blame: Any = None) -> None:
    """Raise a BrokenPromiseError unless it holds."""
    if not holds:
        raise BrokenPromiseError(words, blame)


@dataclass
class Bench:
    """A method on a tiny backbone, its weights disturbed so that samples stop all over the place."""

    chosen: Chosen
    kind: str
    task: Task
    data: Data
    model: EarlyExitModel
    trace: Trace

    @classmethod
    def make(cls, chosen: Chosen, kind: str) -> Bench:
        """Build, disturb and trace.

        Raises:
            UserError: the method does not run here; the message is the reason.
        """
        torch.manual_seed(0)
        backbone, task = network(chosen.method, kind)
        why = unmet(chosen.method, backbone, task)
        if why is not None:
            raise UserError(why)
        data = tiny_data("text" if backbone.modality == "text" else kind if kind != "regression" else "vit", task)
        model = assemble(chosen.method, backbone, task).eval().requires_grad_(False)
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
        trace = collect(model, chosen.rule(task), data.test, task, device=CPU)
        return cls(chosen, kind, task, data, model, trace)

    @property
    def method(self) -> Method:
        """The method."""
        return self.chosen.method

    @property
    def rule(self) -> ExitRule:
        """A fresh rule."""
        return self.chosen.rule(self.task)

    def phases(self) -> list[Phase]:
        """Fresh phases."""
        return list(self.method.phases(self.task))

    def again(self, seed: int) -> EarlyExitModel:
        """The method on another network of the same kind, all weights as ``seed`` makes them."""
        torch.manual_seed(seed)
        backbone, task = network(self.method, self.kind)
        return assemble(self.method, backbone, task)

    def inputs(self, samples: int) -> Inputs:
        """The first test samples as one batch."""
        return self.take(torch.arange(samples))

    def take(self, ids: Tensor) -> Inputs:
        """Test samples as one batch, padded to the longest of them."""
        return self.model.backbone.prepare([self.data.test.inputs[int(i)] for i in ids])

    def knobs(self) -> list[float]:
        """A handful of the rule's own knob values, the extremes included."""
        rule = self.rule
        grid = sorted(rule.grid(self.trace.seen))
        picked = {grid[i] for i in np.linspace(0, len(grid) - 1, KNOBS).round().astype(int)}
        return sorted(picked | {k for k in (rule.knob.never, rule.knob.always) if k is not None})


def network(method: Method, kind: str) -> tuple[Backbone, Task]:
    """A fresh tiny network and its task."""
    if kind != "regression":
        return tiny_backbone(kind, 4), Task(classes=4)
    task = Task(kind="regression", classes=1, metric="pearson_spearman")
    return tiny_backbone("vit" if "grid" in method.needs else "text", 1), task
