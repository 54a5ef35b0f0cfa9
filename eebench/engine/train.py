"""One training loop for every phase of every method, and for the backbone itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eebench.api import ExitOutput, Features, Phase, Recipe, Task, TrainStep, Visit
from eebench.data.base import Batch, Data, batches, steps
from eebench.engine.accumulate import accumulate
from eebench.engine.features import FeatureCache, lengths_of
from eebench.engine.model import EarlyExitModel
from eebench.engine.optimise import make_optimizer, rate_factor, steps_per_epoch
from eebench.measure.quality import score

__all__ = ["History", "backbone_phase", "fit", "trains_backbone"]


@dataclass
class History:
    """What became of a phase, epoch by epoch."""

    losses: list[float] = field(default_factory=list)  # mean training loss of every epoch
    scores: list[float] = field(default_factory=list)  # validation score of every epoch, where one is chosen by it
    parts: int = 1  # the most parts that a step's samples were computed in, their gradients added up
    best: int | None = None  # the epoch (from 0) whose weights were kept; None: the last one's

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        return 0 if self.best is None else len(self.scores) - 1 - self.best


def backbone_phase() -> Phase:
    """Plain training of the backbone: the loss of its own classifier, everything trained."""
    return Phase("backbone", lambda step: step.loss(step.visits[-1].logits, step.targets).mean())


def trains_backbone(model: EarlyExitModel, phase: Phase) -> bool:
    """Whether a phase moves any backbone parameter."""
    return any(phase.trains(name) for name, _ in model.named_parameters() if name.startswith("backbone."))


def fit(
    model: EarlyExitModel,
    phase: Phase,
    recipe: Recipe,
    data: Data,
    *,
    seed: int,
    device: torch.device,
    cache: FeatureCache | None = None,
    progress: Callable[[int, int, float], None] = lambda done, total, loss: None,
) -> History:
    """Train one phase in place.

    Args:
        model: on ``device``.
        phase: what is trained, and on which loss.
        recipe: epochs, batch size, optimiser and the rest.
        data: its train split is trained on; its val split feeds ``phase.epoch_end`` and chooses an epoch if the recipe
            wants that.
        seed: orders the data and seeds dropout.
        device: where.
        cache: features of the frozen backbone; used when the phase trains none of it and the data do not change.
        progress: called after every batch with (batches done, batches in all, loss).

    Returns:
        Losses and scores by epoch.

    Raises:
        ValueError: the phase trains nothing, or its loss is no scalar.
        FloatingPointError: the loss is not finite.
    """
    frozen = _freeze(model, phase)
    use_cache = cache is not None and frozen and cache.fits(model, data)
    torch.manual_seed(seed)  # after the cache is filled: whether an earlier phase filled it must not show
    optimizer = make_optimizer(model, recipe)
    per_epoch = steps_per_epoch(len(data.train), recipe.batch_size)
    factor = rate_factor(recipe, per_epoch)
    total = per_epoch * recipe.epochs
    task_loss = smoothed(data.task, recipe.label_smoothing)
    history = History()
    kept: dict[str, Tensor] = {}
    index = 0
    lengths = lengths_of(model.backbone, data.train)
    load = partial(steps, data.train, model.backbone.prepare, recipe.batch_size, device=device, lengths=lengths)
    for epoch in range(recipe.epochs):
        losses = []
        for number, parts in enumerate(load(seed=seed, epoch=epoch)):

            def loss_of(batch: Batch, number: int = number, epoch: int = epoch, index: int = index) -> Tensor:
                visits = _visits(model, batch, frozen, cache if use_cache else None)
                step = TrainStep(visits, batch.targets, task_loss, model.backbone, index, epoch, recipe.epochs, number)
                return _scalar(phase, phase.loss(step))

            loss, computed = accumulate(parts, loss_of, optimizer.zero_grad)
            history.parts = max(history.parts, computed)
            if recipe.clip is not None:
                nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], recipe.clip)
            set_rate(optimizer, factor(index))
            optimizer.step()
            index += 1
            losses.append(loss)
            progress(index, total, float(losses[-1]) if index % 10 == 0 or index == total else math.nan)
        history.losses.append(float(torch.stack(losses).mean()))
        if not math.isfinite(history.losses[-1]):
            raise FloatingPointError(f"the loss of phase '{phase.name}' is {history.losses[-1]} in epoch {epoch + 1}")
        if phase.epoch_end is not None or recipe.selects:
            visits, targets = _validate(model, data, recipe.batch_size, device)
            if phase.epoch_end is not None:
                phase.epoch_end(visits, targets)
            if recipe.selects:
                history.scores.append(_score(phase, visits, targets, data.task))
                if history.best is None or history.scores[-1] > history.scores[history.best]:
                    history.best, kept = epoch, {name: t.detach().clone() for name, t in state_of(model).items()}
            _freeze(model, phase)
        if recipe.patience is not None and history.waited >= recipe.patience:
            break
    put_back(model, kept)
    model.eval().requires_grad_(False)
    return history


def smoothed(task: Task, smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The task's loss of each sample, its labels smoothed: (logits (B, K), targets) -> (B,)."""
    if smoothing == 0 or task.kind == "regression":
        return task.loss
    return lambda logits, targets: F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every group's learning rate: its own full one times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by name, what several modules share only once."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


@torch.no_grad()
def put_back(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Copy stored parameters and buffers into the model."""
    own = state_of(model)
    for name, value in state.items():
        own[name].copy_(value)


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


def _scalar(phase: Phase, loss: Tensor) -> Tensor:
    if loss.ndim:
        raise ValueError(f"the loss of phase '{phase.name}' has shape {tuple(loss.shape)}, it must be a scalar")
    return loss


@torch.no_grad()
def _validate(model: EarlyExitModel, data: Data, batch_size: int, device: torch.device) -> tuple[list[Visit], Tensor]:
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


def _score(phase: Phase, visits: list[Visit], targets: Tensor, task: Task) -> float:
    """The task's metric on validation data, of the phase's own answers or as the mean over exits."""
    answers = [visit.logits for visit in visits] if phase.answers is None else [phase.answers(visits)]
    truth = targets.cpu().numpy()
    said = [a[:, 0] if task.kind == "regression" else a.argmax(-1) for a in answers]
    return sum(score(task.metric, one.cpu().numpy(), truth) for one in said) / len(said)
