"""Who is timed: a trained model with its operating points, and the same model in other runtimes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from eebench.api import ExitRule, Inputs
from eebench.engine.model import Decision, EarlyExitModel
from eebench.timing.times import Expected

__all__ = ["Entrant", "Opened"]


class Opened(Protocol):
    """A model in some runtime."""

    def plain(self, inputs: Inputs) -> Any:
        """The whole network's logits, of a model without a rule."""

    def dynamic(self, inputs: Inputs, ids: Tensor, knob: float) -> Decision:
        """Inference that really stops, rows leaving as they do."""


@dataclass
class Entrant:
    """A trained model to time.

    Args:
        label: as in the record.
        model: in eval mode.
        rule: its exit rule; None for the plain backbone and for static models, which have no exits.
        knobs: target → knob of its operating points.
        fixed: target → block of its operating points without a rule.
        path: what an entrant without a rule is called.
        expected: path → what is known of it beforehand.
        runtimes: the model opened in other runtimes than eager PyTorch, by name; timed on the CPU.
        unopened: why it could not be opened in others.
    """

    label: str
    model: EarlyExitModel
    rule: ExitRule | None
    knobs: dict[str, float] = field(default_factory=dict)
    fixed: dict[str, int] = field(default_factory=dict)
    path: str = "plain"
    expected: dict[str, Expected] = field(default_factory=dict)
    runtimes: dict[str, Opened] = field(default_factory=dict)
    unopened: dict[str, str] = field(default_factory=dict)
