"""One training loop for every phase of every method, and for the backbone itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from eebench.api import ExitOutput, Features, Phase, Recipe, TrainStep, Visit
from eebench.data.base import Batch, Data, batches
from eebench.engine.features import FeatureCache
from eebench.engine.model import EarlyExitModel

__all__ = [
    "BACKBONE_LR_SCALE",
    "Plan",
    "backbone_phase",
    "default_lr",
    "fit",
    "phase_plans",
    "share_epochs",
    "steps_per_epoch",
    "trains_backbone",
]

BACKBONE_LR_SCALE = 0.3
"""A method's phases start from a trained backbone: its weights move at this share of the heads' learning rate."""


@dataclass(frozen=True)
class Plan:
    """How one phase is optimised."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.05
    optimizer: str = "adamw"
    momentum: float = 0.9
    schedule: str = "cosine"
    warmup: float = 0.1
    clip: float | None = 1.0
    backbone_lr_scale: float = 1.0


def default_lr(width: int, *, pretrained: bool) -> float:
    """AdamW learning rate at batch 32: 1e-4 from pre-trained weights, else 1e-3 at 64 channels, falling as 1/sqrt."""
    return 1e-4 if pretrained else 1e-3 * math.sqrt(64 / max(width, 64))


def share_epochs(shares: Sequence[float], total: int) -> list[int]:
    """Whole epochs for each phase, which sum to ``total``: largest remainders, but one epoch at least.

    More phases than epochs make more epochs than there are; whoever shares them out says so.

    Args:
        shares: of the phases, summing to 1.
        total: epochs the method has.
    """
    epochs = [max(1, math.floor(share * total + 1e-9)) for share in shares]
    while sum(epochs) < total:
        lacking = [share * total - has for share, has in zip(shares, epochs, strict=True)]
        epochs[lacking.index(max(lacking))] += 1
    while sum(epochs) > max(total, len(epochs)):
        beyond = [has - share * total if has > 1 else -math.inf for share, has in zip(shares, epochs, strict=True)]
        epochs[beyond.index(max(beyond))] -= 1
    return epochs


def phase_plans(phases: Sequence[Phase], total_epochs: int, base: Plan, *, paper: bool) -> list[Plan]:
    """Each phase's plan: its share of the budget's epochs, or the paper's own recipe under ``--budget paper``."""
    plans = []
    for phase, epochs in zip(phases, share_epochs([p.share for p in phases], total_epochs), strict=True):
        r: Recipe | None = phase.paper if paper else None
        if r is None:
            lr = base.lr * phase.lr_scale
            plans.append(replace(base, epochs=epochs, lr=lr, backbone_lr_scale=BACKBONE_LR_SCALE))
            continue
        own = (r.epochs, r.batch_size, r.lr, r.weight_decay, r.optimizer, r.momentum, r.schedule, r.warmup, r.clip)
        plans.append(Plan(*own))
    return plans


def backbone_phase() -> Phase:
    """Plain training of the backbone: the loss of its own classifier, everything trained."""
    return Phase("backbone", lambda step: step.loss(step.visits[-1].logits, step.targets).mean())


def trains_backbone(model: EarlyExitModel, phase: Phase) -> bool:
    """Whether a phase moves any backbone parameter."""
    return any(phase.trains(name) for name, _ in model.named_parameters() if name.startswith("backbone."))


def fit(
    model: EarlyExitModel,
    phase: Phase,
    plan: Plan,
    data: Data,
    *,
    seed: int,
    device: torch.device,
    cache: FeatureCache | None = None,
    progress: Callable[[int, int, float], None] = lambda done, total, loss: None,
) -> list[float]:
    """Train one phase in place.

    Args:
        model: on ``device``.
        phase: what is trained, and on which loss.
        plan: epochs, batch size, optimiser.
        data: its train split is trained on; its val split feeds ``phase.epoch_end``.
        seed: orders the data and seeds dropout.
        device: where.
        cache: features of the frozen backbone; used when the phase trains none of it and the data do not change.
        progress: called after every batch with (batches done, batches in all, loss).

    Returns:
        Mean loss of every epoch.

    Raises:
        ValueError: the phase trains nothing, or its loss is no scalar.
        FloatingPointError: the loss is not finite.
    """
    torch.manual_seed(seed)
    frozen = _freeze(model, phase)
    optimizer = _optimizer(model, plan)
    per_epoch = steps_per_epoch(len(data.train), plan.batch_size)
    total = per_epoch * plan.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _schedule(plan, total))
    use_cache = cache is not None and frozen and cache.fits(model, data)
    history: list[float] = []
    index = 0
    for epoch in range(plan.epochs):
        losses = []
        for number, batch in enumerate(_epoch(model, data, plan, seed, epoch, device)):
            visits = _visits(model, batch, frozen, cache if use_cache else None)
            loss = phase.loss(TrainStep(visits, batch.targets, data.task.loss, index, epoch, plan.epochs, number))
            if loss.ndim:
                raise ValueError(f"the loss of phase '{phase.name}' has shape {tuple(loss.shape)}, it must be a scalar")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if plan.clip is not None:
                nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], plan.clip)
            optimizer.step()
            schedule.step()
            index += 1
            losses.append(loss.detach())
            progress(index, total, float(losses[-1]) if index % 10 == 0 or index == total else math.nan)
        history.append(float(torch.stack(losses).mean()))
        if not math.isfinite(history[-1]):
            raise FloatingPointError(f"the loss of phase '{phase.name}' is {history[-1]} in epoch {epoch + 1}")
        if phase.epoch_end is not None:
            phase.epoch_end(*_validate(model, data, plan.batch_size, device))
            _freeze(model, phase)
    model.eval().requires_grad_(False)
    return history


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Batches an epoch of ``data.base.batches`` has: a last batch of a single sample joins the one before."""
    whole, rest = divmod(samples, batch_size)
    return max(1, whole + (rest > (1 if whole else 0)))


def _freeze(model: EarlyExitModel, phase: Phase) -> bool:
    """Set what is trained; True when the backbone is not. Modules that train nothing are put in eval mode."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(bool(phase.trains(name)))
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"phase '{phase.name}' trains no parameter")
    model.train()
    frozen = not any(p.requires_grad for p in model.backbone.parameters())
    if frozen:
        model.backbone.eval()
    for head in model.exits.children():
        if not any(p.requires_grad for p in head.parameters()):
            head.eval()
    return frozen


def _visits(model: EarlyExitModel, batch: Batch, frozen: bool, cache: FeatureCache | None) -> list[Visit]:
    if not frozen:
        return model.trace(batch.inputs)
    if cache is not None:
        return model.visit(cache.rows(batch.ids, model.blocks))
    with torch.no_grad():
        behind = backbone_features(model, batch.inputs)
    return model.visit(behind)


def backbone_features(model: EarlyExitModel, inputs: Tensor | dict[str, Tensor]) -> dict[int, Features]:
    """Features behind every exit's block, no exit run."""
    features = model.backbone.embed(inputs)
    behind = {}
    for number in range(1, model.backbone.depth + 1):
        features = model.backbone.block(number, features)
        if number in model.blocks:
            behind[number] = features
    return behind


def _epoch(
    model: EarlyExitModel, data: Data, plan: Plan, seed: int, epoch: int, device: torch.device
) -> Iterator[Batch]:
    return batches(data.train, model.backbone.prepare, plan.batch_size, device=device, seed=seed, epoch=epoch)


@torch.no_grad()
def _validate(model: EarlyExitModel, data: Data, batch_size: int, device: torch.device) -> tuple[list[Visit], Tensor]:
    model.eval()
    parts: list[list[Visit]] = []
    targets = []
    for batch in batches(data.val, model.backbone.prepare, 4 * batch_size, device=device):
        parts.append(model.trace(batch.inputs))
        targets.append(batch.targets)
    visits = []
    for same in zip(*parts, strict=True):
        logits = torch.cat([visit.logits for visit in same])
        signals = [visit.output.signal for visit in same]
        signal = None if signals[0] is None else torch.cat([s for s in signals if s is not None])
        first = same[0]
        empty = first.features.rows(torch.empty(0, dtype=torch.int64, device=logits.device))
        visits.append(Visit(first.block, first.head, empty, ExitOutput(logits, signal)))
    return visits, torch.cat(targets)


def _optimizer(model: EarlyExitModel, plan: Plan) -> torch.optim.Optimizer:
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    params = [
        {
            "params": members,
            "lr": plan.lr * (plan.backbone_lr_scale if of_backbone else 1.0),
            "weight_decay": plan.weight_decay if matrix else 0.0,  # biases and norms are not decayed
        }
        for (of_backbone, matrix), members in groups.items()
    ]
    # fused: one kernel for all tensors, a tenth of a step's time on small models
    if plan.optimizer == "sgd":
        return torch.optim.SGD(params, lr=plan.lr, momentum=plan.momentum, fused=True)
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    return kinds[plan.optimizer](params, lr=plan.lr, fused=True)


def _schedule(plan: Plan, total: int) -> Callable[[int], float]:
    warm = round(plan.warmup * total)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        left = 1 - (step - warm) / max(1, total - warm)
        if plan.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (1 - left)))
        return left if plan.schedule == "linear" else 1.0

    return factor
