"""What a phase sees of the validation split while it trains."""

from __future__ import annotations

import torch
from torch import Tensor

from eebench.api import ExitOutput, Phase, Task, Visit
from eebench.data.base import Data, batches
from eebench.engine.features import lengths_of
from eebench.engine.model import EarlyExitModel
from eebench.measure.quality import score

__all__ = ["validation_score", "validation_visits"]


@torch.no_grad()
def validation_visits(
    model: EarlyExitModel, data: Data, batch_size: int, device: torch.device
) -> tuple[list[Visit], Tensor]:
    """Every exit's outputs for the whole split, features left out, and the targets; the model ends in eval mode."""
    model.eval()
    parts: list[list[Visit]] = []
    targets, ids = [], []
    lengths = lengths_of(model.backbone, data.val)
    for batch in batches(data.val, model.backbone.prepare, 4 * batch_size, device=device, lengths=lengths):
        parts.append([_answered(visit) for visit in model.walk(batch.inputs)])
        targets.append(batch.targets)
        ids.append(batch.ids)
    order = torch.cat(ids).argsort()
    visits = []
    for same in zip(*parts, strict=True):
        logits = torch.cat([visit.logits for visit in same])[order]
        signals = [visit.output.signal for visit in same]
        signal = None if signals[0] is None else torch.cat([s for s in signals if s is not None])[order]
        first = same[0]
        visits.append(Visit(first.block, first.head, first.features, ExitOutput(logits, signal)))
    return visits, torch.cat(targets)[order]


def _answered(visit: Visit) -> Visit:
    """What an exit said, without the features it read: those of a whole split would not fit."""
    none = torch.empty(0, dtype=torch.int64, device=visit.features.tokens.device)
    return Visit(visit.block, visit.head, visit.features.rows(none), ExitOutput(visit.logits, visit.output.signal))


def validation_score(phase: Phase, visits: list[Visit], targets: Tensor, task: Task) -> float:
    """The task's metric on validation data, of the phase's own answers or as the mean over exits."""
    answers = [visit.logits for visit in visits] if phase.answers is None else [phase.answers(visits)]
    truth = targets.cpu().numpy()
    said = [a[:, 0] if task.kind == "regression" else a.argmax(-1) for a in answers]
    return sum(score(task.metric, one.cpu().numpy(), truth) for one in said) / len(said)
