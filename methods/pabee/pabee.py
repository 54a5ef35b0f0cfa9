"""PABEE (Zhou et al., BERT Loses Patience, NeurIPS 2020, arXiv 2006.04152): heads, loss and the patience rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from eebench.api import Backbone, ExitHead, ExitOutput, ExitRule, Knob, Method, Phase, Task
from eebench.rules import Decided, decisions
from eebench_methods.common import depth_weighted_loss, exit_blocks, linear_exits
from eebench_methods.pabee import recipes

__all__ = ["PABEE", "Patience"]


class Patience(Decided):
    """Stop when the last ``patience`` comparisons of neighbouring exits all agreed.

    Patience t therefore needs t + 1 exits in a row that say the same; 0 stops at the first exit. The count belongs to
    the sample, so the rule is the same at every batch size.

    Args:
        tolerance: None for classification (the classes are equal); on regression the values must differ by less,
            each compared with the exit right before it.

    Source: the paper, and repository JetRunner/PABEE, pabee/modeling_bert.py.
    """

    knob = Knob("patience", never=1000, always=0, integer=True)  # no backbone has a thousand exits

    def __init__(self, tolerance: float | None = None) -> None:
        self.tolerance = tolerance
        self.decision = decisions.Agreement(tolerance=tolerance)

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        """The predicted class, (B,) int64, or the predicted value, (B,) float."""
        assert output.logits is not None
        return {"said": output.logits.argmax(-1) if self.tolerance is None else output.logits[:, 0]}

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        """Every patience there is: 0 stops at once, and with E - 1 exits before the last E - 1 never stops."""
        return list(range(seen["said"].shape[1] + 1))


@dataclass(frozen=True)
class PABEE(Method):
    """Linear exits behind one pooler, trained jointly; stop when enough exits in a row agree.

    Attributes:
        blocks: blocks with an exit; every block but the last when none are given.
        last: the last exit: ``backbone`` keeps its trained classifier, ``own`` puts a fresh one behind the shared
            pooler, as the paper does.
        regression_threshold: on regression, two exits agree when their values differ by less (in the target's units).
    """

    name = "pabee"
    papers = recipes.PAPERS

    blocks: tuple[int, ...] | None = None
    last: Literal["backbone", "own"] = "backbone"
    regression_threshold: float = 0.1

    def __post_init__(self) -> None:
        if not self.regression_threshold > 0:
            raise ValueError("regression_threshold must be above 0")

    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """Exits by block; with ``last=own`` one at the last block as well."""
        blocks = exit_blocks(self.blocks, backbone.depth)
        if self.last == "own":
            blocks.append(backbone.depth)
        return linear_exits(backbone, task.outputs, blocks, pooler="shared")

    def rule(self, task: Task) -> ExitRule:
        """Patience, with a tolerance on regression."""
        return Patience(self.regression_threshold if task.kind == "regression" else None)

    def phases(self, task: Task) -> Sequence[Phase]:
        """One joint phase."""
        return [Phase("joint", depth_weighted_loss)]
