"""LGViT's losses: alternating end-to-end training, then self-distillation.

Source: LGViT repository, modeling_highway_deit.py (train strategies ``alternating_weighted``, ``distillation_LGViT``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from eebench.api import TrainStep
from eebench.parts import joint_loss
from eebench_methods.lgvit.heads import GlobalAggregation, LocalPerception

__all__ = ["alternating_weighted", "feature_kl", "gram", "heterogeneous_loss", "homogeneous_loss", "prediction_kl"]

Exits = Sequence[tuple[LocalPerception | GlobalAggregation, Tensor]]
"""Every early exit's head and the tokens (B, n, D) it made, shallow to deep."""


def alternating_weighted(step: TrainStep) -> Tensor:
    """Even steps: the last exit's loss alone. Odd steps: sum of m·L_m / sum of m over all exits, m the block number."""
    if step.index % 2 == 0:
        return step.loss(step.visits[-1].logits, step.targets).mean()
    return joint_loss(step, [visit.block for visit in step.visits])


def prediction_kl(
    student: Tensor, teacher: Tensor, temperature: float = 2.0, per: Literal["batch", "batch_classes"] = "batch"
) -> Tensor:
    """T²·KL(softmax(teacher/T) ‖ softmax(student/T)) of logits (B, K), divided by B, or by B·K: a scalar in nats."""
    log_p, log_q = (F.log_softmax(logits / temperature, -1) for logits in (teacher, student))
    count = teacher.numel() if per == "batch_classes" else len(teacher)
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True) * temperature**2 / count


def feature_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(teacher) ‖ softmax(student)) over channels of tokens (B, n, D), summed over tokens, mean over B."""
    return F.kl_div(F.log_softmax(student, -1), F.log_softmax(teacher, -1), reduction="batchmean", log_target=True)


def gram(tokens: Tensor, *, normalise: bool = False) -> Tensor:
    """Channel by channel products summed over tokens: (B, n, D) → (B, D, D); the mean over tokens if ``normalise``."""
    product = tokens.transpose(1, 2) @ tokens
    return product / tokens.shape[1] if normalise else product


def heterogeneous_loss(exits: Exits, target: Tensor) -> Tensor:
    """The first and last exit of each kind imitate the last block's patches, given as a grid (B, D, H, W).

    The target is thinned as the exit's own head thins its input. Where widths or grids change on the way (Swin), an
    exit whose tokens have not the target's shape is left out; no such exit at all gives 0.
    """
    loss = target.new_zeros(())
    for kind in (LocalPerception, GlobalAggregation):
        group = [(head, tokens) for head, tokens in exits if isinstance(head, kind)]
        for head, tokens in group if len(group) < 3 else (group[0], group[-1]):
            wanted = head.reduce(target)
            if wanted.shape == tokens.shape:
                loss = loss + feature_kl(tokens, wanted)
    return loss


def homogeneous_loss(exits: Exits, *, detach: bool = False, normalise: bool = False) -> Tensor:
    """Each exit imitates the last one of its kind: local ones by their tokens, global ones by Gram matrix (both MSE).

    Where widths or grids change on the way, the teacher is the last exit of the kind whose tokens (local) or channels
    (global) can be compared; an exit without one is left out.

    Args:
        exits: see ``Exits``.
        detach: no gradient into the teachers (the released code lets it flow both ways).
        normalise: Gram matrices as means over tokens (the released code sums, though exits differ in tokens).
    """
    loss = exits[0][1].new_zeros(())
    for kind in (LocalPerception, GlobalAggregation):
        views = [tokens for head, tokens in exits if isinstance(head, kind)]
        if kind is GlobalAggregation:
            views = [gram(tokens, normalise=normalise) for tokens in views]
        for i, view in enumerate(views):
            teacher = next((v for v in reversed(views[i + 1 :]) if v.shape == view.shape), None)
            if teacher is not None:
                loss = loss + F.mse_loss(view, teacher.detach() if detach else teacher)
    return loss
