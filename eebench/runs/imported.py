"""Exit rules of models that eebench never ran: by name, over what their arrays hold."""

from __future__ import annotations

from torch import Tensor

from eebench.api import ExitOutput, ExitRule, Knob
from eebench.errors import UserError, did_you_mean
from eebench.plugins.registry import Registry
from eebench.record import RunRecord
from eebench.rules import Above, Confidence, Entropy
from eebench.runs.finished import task_of

__all__ = ["METHOD", "RULES", "Scores", "rule_of"]

METHOD = "method"
"""Name of the rule that is the installed method's own."""

FARTHEST = 1e9  # no imported score lies beyond


def _margin(output: ExitOutput) -> Tensor:
    """Gap between the two largest softmax probabilities, (B,)."""
    assert output.logits is not None
    top = output.logits.softmax(-1).topk(2).values
    return top[:, 0] - top[:, 1]


class Scores(Above):
    """Stop when the score that was imported with the predictions is strictly above the threshold."""

    def __init__(self) -> None:
        super().__init__(lambda output: output.signal, Knob("threshold", never=FARTHEST, always=-FARTHEST))  # type: ignore[arg-type, return-value]


RULES = {
    "confidence": Confidence,
    "entropy": Entropy,
    "margin": lambda: Above(_margin, Knob("margin", never=1.0, always=-1.0)),
    "scores": Scores,
}
"""Rules that need no installed method."""


def rule_of(record: RunRecord, label: str, registry: Registry | None = None) -> tuple[ExitRule, float | None]:
    """The rule of a run's method, imported or not, and the knob where it was pinned.

    Args:
        record: of the run.
        label: the method's in the run.
        registry: where methods come from; the installed ones when not given.

    Raises:
        UserError: no such method is installed, or a rule that an imported run names is not known.
    """
    name = METHOD if record.imported is None else record.imported.rules.get(label, METHOD)
    if name == METHOD:
        chosen = (registry or Registry.installed()).choose(label)[0]
        return chosen.rule(task_of(record)), chosen.pinned
    if name not in RULES:
        raise UserError(f"the run names a rule '{name}' for {label}{did_you_mean(name, RULES)}")
    return RULES[name](), None
