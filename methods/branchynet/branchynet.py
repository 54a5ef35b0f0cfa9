"""BranchyNet (Teerapittayanon, McDanel and Kung, ICPR 2016, arXiv 1709.01686): branches, joint loss, entropy rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from eebench.api import (
    Backbone,
    ExitHead,
    ExitRule,
    Features,
    Layout,
    Method,
    Phase,
    Task,
    TrainStep,
)
from eebench.errors import UserError
from eebench.parts import LinearExit, joint_loss
from eebench.rules import Entropy
from eebench_methods.branchynet import recipes
from eebench_methods.common import exit_blocks, linear_exits, needs_norm

__all__ = ["BlockExit", "BranchyNet", "MlpExit", "branch_weights"]


def branch_weights(exits: int, kind: str) -> list[float]:
    """One loss weight an exit: 1 for each, or (``early``) evenly from 1.0 down to 0.3 (paper, section V-A)."""
    if kind == "equal" or exits == 1:
        return [1.0] * exits
    return [1.0 - 0.7 * number / (exits - 1) for number in range(exits)]


class MlpExit(LinearExit):
    """A branch with an MLP of its own, around a skip, on the pooled vector: [LayerNorm, MLP] → linear exit."""

    def __init__(self, layout: Layout, outputs: int, *, norm: bool, mlp_ratio: float) -> None:
        super().__init__(layout, outputs, norm=norm)
        self.mlp = nn.Sequential(nn.LayerNorm(layout.dim), Mlp(layout.dim, int(mlp_ratio * layout.dim)))

    def answer(self, features: Features) -> Tensor:
        """MLP around a skip, then norm and classifier."""
        pooled = features.pooled
        return self.classifier(self.norm(pooled + self.mlp(pooled)))


class BlockExit(LinearExit):
    """A branch with a transformer block of its own on all tokens: block → linear exit."""

    def __init__(self, layout: Layout, outputs: int, *, heads: int, mlp_ratio: float) -> None:
        super().__init__(layout, outputs, norm=True)
        self.block = Block(layout.dim, heads, mlp_ratio, qkv_bias=True)

    def answer(self, features: Features) -> Tensor:
        """The block on all tokens, then the linear exit."""
        mask = None if features.mask is None else features.mask[:, None, None, :]
        return super().answer(Features(self.block(features.tokens, mask), features.layout, features.mask))


@dataclass(frozen=True)
class BranchyNet(Method):
    """Linear exits trained jointly with the trained backbone; stop when the entropy is low.

    Attributes:
        blocks: blocks with an exit; every block but the last when none are given.
        weights: what exits weigh in the loss: all the same (``equal``), or 1 at the first exit falling evenly to 0.3
            at the last (``early``).
        deep: what exits in the first third of the network run before their classifier: an ``mlp`` on the pooled
            vector, a transformer ``block`` on all tokens, or nothing.
    """

    name = "branchynet"
    needs = frozenset({"classes"})
    papers = recipes.PAPERS
    space = MappingProxyType({"weights": ("equal", "early")})

    blocks: tuple[int, ...] | None = None
    weights: Literal["equal", "early"] = "equal"
    deep: Literal["mlp", "block"] | None = None

    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """Exits by block, deeper ones in the first third if asked for; the last exit is the backbone's own.

        Raises:
            UserError: impossible positions, or deeper exits asked for where no exit is in the first third.
        """
        blocks = exit_blocks(self.blocks, backbone.depth)
        exits = linear_exits(backbone, task.outputs, blocks)
        if self.deep is None:
            return exits
        early = [block for block in blocks if 3 * block <= backbone.depth]
        if not early:
            raise UserError(
                f"deep={self.deep}: it deepens exits in the first third of the {backbone.depth} blocks, "
                f"and the first exit is behind block {blocks[0]}"
            )
        return {**exits, **{block: self._deep(backbone, block, task.outputs) for block in early}}

    def _deep(self, backbone: Backbone, block: int, outputs: int) -> ExitHead:
        layout, ratio = backbone.layouts[block - 1], backbone.mlp_ratio
        if self.deep == "mlp":
            return MlpExit(layout, outputs, norm=needs_norm(backbone), mlp_ratio=ratio)
        return BlockExit(layout, outputs, heads=backbone.heads[block - 1], mlp_ratio=ratio)

    def rule(self, task: Task) -> ExitRule:
        """Entropy in nats below the threshold, the same for all exits."""
        return Entropy()

    def phases(self, task: Task) -> Sequence[Phase]:
        """One joint phase from the trained backbone."""
        return [Phase("joint", self.loss)]

    def loss(self, step: TrainStep) -> Tensor:
        """Weighted mean over exits of the cross-entropy."""
        return joint_loss(step, branch_weights(len(step.visits), self.weights))
