"""LGViT as a plugin: options, exits, rule, the two training stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from eebench.api import Backbone, ExitHead, ExitRule, Method, Phase, Range, Released, Task, TrainStep, only
from eebench.rules import Confidence
from eebench_methods.common import exit_blocks
from eebench_methods.lgvit import recipes
from eebench_methods.lgvit.heads import LGViTExit, default_blocks, head_plan, is_pyramid
from eebench_methods.lgvit.losses import alternating_weighted, heterogeneous_loss, homogeneous_loss, prediction_kl
from eebench_methods.lgvit.released import translate

__all__ = ["LGViT"]


@dataclass(frozen=True)
class LGViT(Method):
    """Local perception heads early, global aggregation heads late, two-stage training, confidence rule.

    Xu et al., "LGViT: Dynamic Early Exiting for Accelerating Vision Transformer", ACM Multimedia 2023.

    Attributes:
        blocks: exit blocks, such as ``4+6+8+10``; by default LGViT's eight, scaled to the backbone's depth.
        heads: local heads then global ones (``both``), or one kind at every exit.
        gah: what a global head does with its grid: pick every s-th patch (``stride``) or average windows (``avg``).
        kd: what the prediction distillation is divided by: B·K as released (``batch_classes``) or B (``batch``).
        kd_weight: share of prediction distillation against cross-entropy in stage 2.
        temperature: of that distillation.
        hete: weight of the heterogeneous feature loss.
        homo: weight of the homogeneous feature loss.
        detach_teachers: no gradient into the homogeneous loss's teachers.
        gram_norm: Gram matrices as means over tokens, not sums.
        target_norm: the heterogeneous loss's target after the backbone's final norm.
    """

    name = "lgvit"
    needs = frozenset({"classes", "grid"})
    papers = recipes.PAPERS
    space = MappingProxyType(
        {
            "kd_weight": Range(0.0, 1.0),
            "hete": Range(1e-3, 0.1, log=True),
            "homo": Range(1e-3, 0.1, log=True),
        }
    )

    blocks: tuple[int, ...] | None = None
    heads: Literal["both", "local", "global"] = "both"
    gah: Literal["stride", "avg"] = "stride"
    kd: Literal["batch", "batch_classes"] = "batch_classes"
    kd_weight: float = 0.3
    temperature: float = 2.0
    hete: float = 0.01
    homo: float = 0.01
    detach_teachers: bool = False
    gram_norm: bool = False
    target_norm: bool = False

    def build(self, backbone: Backbone, task: Task) -> Mapping[int, ExitHead]:
        """One exit a position; shallower ones local, deeper ones global."""
        blocks = exit_blocks(self.blocks or tuple(default_blocks(backbone.layouts)), backbone.depth)
        plan = head_plan(len(blocks), pyramid=is_pyramid(backbone.layouts), heads=self.heads)
        return {
            block: LGViTExit(kind, backbone.layouts[block - 1], task.outputs, average=self.gah == "avg")
            for block, kind in zip(blocks, plan, strict=True)
        }

    def rule(self, task: Task) -> ExitRule:
        """Largest class probability above one threshold."""
        return Confidence()

    def phases(self, task: Task) -> Sequence[Phase]:
        """End to end, then self-distillation of the exits alone."""
        return [
            Phase("end to end", alternating_weighted, share=0.5),
            Phase("self-distillation", self.distillation, trains=only("exits."), share=0.5),
        ]

    def released(self, state: Mapping[str, Tensor], backbone: Backbone) -> Released:
        """The authors' own state dicts: DeiT, ViT and Swin (repository falcon-xu/LGViT)."""
        net, exits, left = translate(state, sorted(self.build(backbone, Task(classes=2))))
        return Released(net, exits, left)

    def distillation(self, step: TrainStep) -> Tensor:
        """Stage 2: cross-entropy and imitation of the final logits at every exit, plus the two feature losses."""
        *early, last = step.visits
        teacher = last.logits.detach()
        loss = last.logits.new_zeros(())
        for visit in early:
            hard = step.loss(visit.logits, step.targets).mean()
            soft = prediction_kl(visit.logits, teacher, self.temperature, self.kd)
            loss = loss + (1 - self.kd_weight) * hard + self.kd_weight * soft
        exits = [(visit.head.mix, visit.output.aux["tokens"]) for visit in early if isinstance(visit.head, LGViTExit)]
        final = step.backbone.norm(last.features) if self.target_norm else last.features
        hete = heterogeneous_loss(exits, final.map.detach())
        homo = homogeneous_loss(exits, detach=self.detach_teachers, normalise=self.gram_norm)
        return loss + self.hete * hete + self.homo * homo
