"""What several built-in methods share: where exits go, and plain linear exits with their poolers."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from eebench.api import Backbone, TrainStep, inner_blocks
from eebench.errors import UserError
from eebench.parts import LinearExit, joint_loss

__all__ = ["depth_weighted_loss", "exit_blocks", "linear_exits", "needs_norm"]


def exit_blocks(asked: tuple[int, ...] | None, depth: int) -> list[int]:
    """Blocks that get an exit of the method's own, ascending: the asked-for ones, or every block but the last.

    Raises:
        UserError: no block, a repeated one, or one that is not before the last of ``depth`` blocks.
    """
    if asked is None:
        return inner_blocks(depth)
    blocks = sorted(set(asked))
    if not blocks or len(blocks) != len(asked) or not 1 <= blocks[0] <= blocks[-1] < depth:
        listed = "+".join(map(str, asked)) or "none"
        raise UserError(f"blocks={listed}: exits go behind different blocks from 1 to {depth - 1} here")
    return blocks


def needs_norm(backbone: Backbone) -> bool:
    """Whether exits normalise what they read.

    Vision transformers norm at the start of a block and hand on a residual stream that grows with depth; text encoders
    of the BERT family norm at a block's end.
    """
    return backbone.modality == "vision"


def linear_exits(
    backbone: Backbone, outputs: int, blocks: list[int], pooler: Literal["none", "own", "shared"] = "none"
) -> dict[int, LinearExit]:
    """Linear exits on the pooled vector, by block, each with a LayerNorm of its own where the backbone needs it.

    Args:
        backbone: whose blocks they read.
        outputs: K.
        blocks: where they go.
        pooler: BERT's pooler (a Linear and tanh) in no exit, in each, or one for all exits of the same width.
    """
    norm = needs_norm(backbone)
    heads = {
        block: LinearExit(backbone.layouts[block - 1], outputs, norm=norm, pooler=pooler != "none") for block in blocks
    }
    if pooler == "shared":
        shared: dict[int, nn.Sequential | nn.Identity] = {}
        for block, head in heads.items():
            head.pooler = shared.setdefault(backbone.layouts[block - 1].dim, head.pooler)
    return heads


def depth_weighted_loss(step: TrainStep) -> Tensor:
    """Sum over exits of m L_m / sum of m, with m the exit's block number: deeper exits weigh more.

    Sources: repository JetRunner/PABEE, pabee/modeling_bert.py, where every block has an exit, so that m counts exits
    too; repository falcon-xu/LGViT calls it ``weighted`` and takes block numbers.
    """
    return joint_loss(step, [visit.block for visit in step.visits])
