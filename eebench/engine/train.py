"""One training loop for every phase of every method, and for the backbone itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eebench.api import Features, Phase, Recipe, Task, TrainStep, Visit
from eebench.data.base import Batch, Data, steps
from eebench.engine.accumulate import Room, accumulate
from eebench.engine.checkpoint import Checkpoints, Snapshot, random_state, restore_random_state
from eebench.engine.features import FeatureCache, lengths_of
from eebench.engine.model import EarlyExitModel
from eebench.engine.optimise import make_optimizer, rate_factor, steps_per_epoch
from eebench.engine.requests import requests
from eebench.engine.state import moved_state, put_back
from eebench.engine.training_cost import PeakMemory, TrainingCost, feature_macs
from eebench.engine.validation import validation_score, validation_visits

__all__ = ["History", "backbone_phase", "fit", "freeze", "set_rate", "smoothed", "trains_backbone"]


@dataclass
class History:
    """What became of a phase, epoch by epoch."""

    losses: list[float] = field(default_factory=list)  # mean training loss of every epoch
    scores: list[float] = field(default_factory=list)  # validation score of every epoch, where one is chosen by it
    parts: int = 1  # the most parts that a step's samples were computed in, their gradients added up
    fitted: int | None = None  # the most samples computed at once after memory had run out; None: it never did
    best: int | None = None  # the epoch (from 0) whose weights were kept; None: the last one's
    cost: TrainingCost = field(default_factory=TrainingCost)

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
    checkpoints: Checkpoints | None = None,
) -> History:
    """Train one phase in place.

    With ``checkpoints`` a phase that was cut off goes on from its last state there, if there is one of this phase: on
    the CPU with bit for bit the weights that an undisturbed training ends with. What the model is at the start does not
    matter then, apart from what no phase has trained.

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
        checkpoints: where states are written, and the last one is found.

    Returns:
        Losses and scores by epoch.

    Raises:
        ValueError: the phase trains nothing, or its loss is no scalar.
        FloatingPointError: the loss is not finite.
    """
    with PeakMemory(device) as memory:
        return _Training(model, phase, recipe, data, seed, device, cache, checkpoints, memory).run(progress)


class _Training:
    """One phase while it is trained: where it is, and everything that a later step depends on."""

    def __init__(
        self,
        model: EarlyExitModel,
        phase: Phase,
        recipe: Recipe,
        data: Data,
        seed: int,
        device: torch.device,
        cache: FeatureCache | None,
        checkpoints: Checkpoints | None,
        memory: PeakMemory,
    ) -> None:
        self.model, self.phase, self.recipe, self.data = model, phase, recipe, data
        self.seed, self.device, self.checkpoints, self.memory = seed, device, checkpoints, memory
        found = None if checkpoints is None else checkpoints.take(lambda facts: facts.get("phase") == phase.name)
        if checkpoints is not None and found is not None:
            put_back(model, found.part("model."))
            checkpoints.moved |= {name.removeprefix("model.") for name in found.tensors if name.startswith("model.")}
        self.frozen = freeze(model, phase)
        self.cache = cache if cache is not None and self.frozen and cache.fits(model, data) else None
        torch.manual_seed(seed)  # after the cache is filled: whether an earlier phase filled it must not show
        self.optimizer = make_optimizer(model, recipe)
        self.per_epoch = steps_per_epoch(len(data.train), recipe.batch_size)
        lengths = lengths_of(model.backbone, data.train)
        self.steps = partial(steps, data.train, model.backbone.prepare, recipe.batch_size, lengths=lengths)
        self.factor = rate_factor(recipe, self.per_epoch)
        self.loss = smoothed(data.task, recipe.label_smoothing)
        self.history = History()
        self.room = Room()
        self.kept: dict[str, Tensor] = {}  # the best epoch's parameters and buffers
        self.index = self.epoch = self.batch = 0  # steps done, epochs done, and batches done in this epoch
        self.losses: list[Tensor] = []  # of this epoch
        if checkpoints is not None:
            checkpoints.moved |= {name for name, p in model.named_parameters() if p.requires_grad}
            size = sum(t.nbytes for t in self._state().values())
            checkpoints.expect((4 if recipe.selects else 3) * size)  # weights, Adam's two moments, the best epoch's
        if found is not None:
            self._restore(found)
        elif self.cache is not None:
            self.history.cost.features = feature_macs(model, data)

    def run(self, progress: Callable[[int, int, float], None]) -> History:
        """Everything that is left to do."""
        recipe, history = self.recipe, self.history
        with requests.listening():
            while self.epoch < recipe.epochs and not (recipe.patience and history.waited >= recipe.patience):
                for parts in self.steps(device=self.device, seed=self.seed, epoch=self.epoch, start=self.batch):
                    self._step(parts)
                    self._report(progress)
                    self._heed()
                self._end_epoch()
                self._heed(epoch_ended=True)
        put_back(self.model, self.kept)
        self.model.eval().requires_grad_(False)
        history.cost.saw(self.memory)
        return history

    def _step(self, parts: list[Batch]) -> None:
        with self.history.cost.step(self.index, sum(len(part.targets) for part in parts)):
            loss, computed = accumulate(parts, self._loss_of, self.optimizer.zero_grad, self.room)
        self.history.parts = max(self.history.parts, computed)
        self.history.fitted = self.room.samples
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.grad is not None], self.recipe.clip)
        set_rate(self.optimizer, self.factor(self.index))
        self.optimizer.step()
        self.losses.append(loss)
        self.index += 1
        self.batch += 1

    def _loss_of(self, part: Batch) -> Tensor:
        visits = _visits(self.model, part, self.frozen, self.cache)
        at = (self.index, self.epoch, self.recipe.epochs, self.batch)
        step = TrainStep(visits, part.targets, self.loss, self.model.backbone, *at)
        loss = self.phase.loss(step)
        if loss.ndim:
            shape = tuple(loss.shape)
            raise ValueError(f"the loss of phase '{self.phase.name}' has shape {shape}, it must be a scalar")
        return loss

    def _report(self, progress: Callable[[int, int, float], None]) -> None:
        total = self.per_epoch * self.recipe.epochs
        said = self.index % 10 == 0 or self.index == total
        progress(self.index, total, float(self.losses[-1]) if said else math.nan)

    def _end_epoch(self) -> None:
        model, phase, recipe, history = self.model, self.phase, self.recipe, self.history
        history.losses.append(float(torch.stack(self.losses).mean()))
        if not math.isfinite(history.losses[-1]):
            raise FloatingPointError(
                f"the loss of phase '{phase.name}' is {history.losses[-1]} in epoch {self.epoch + 1}"
            )
        if phase.epoch_end is not None or recipe.selects:
            with history.cost.validating():
                visits, targets = validation_visits(model, self.data, recipe.batch_size, self.device)
            if phase.epoch_end is not None:
                phase.epoch_end(visits, targets)
            if recipe.selects:
                history.scores.append(validation_score(phase, visits, targets, self.data.task))
                if history.best is None or history.scores[-1] > history.scores[history.best]:
                    history.best = self.epoch
                    self.kept = {name: t.detach().clone() for name, t in self._state().items()}
            freeze(model, phase)
        self.epoch += 1
        self.batch, self.losses = 0, []

    def _heed(self, *, epoch_ended: bool = False) -> None:
        """Write a state when one is due or asked for, and stop when that is asked for."""
        if requests.pending or (self.checkpoints is not None and self.checkpoints.due(epoch_ended=epoch_ended)):
            self._save()
            requests.heed()

    def _state(self) -> dict[str, Tensor]:
        trained = {name for name, p in self.model.named_parameters() if p.requires_grad}
        return moved_state(self.model, trained if self.checkpoints is None else self.checkpoints.moved)

    def _save(self) -> None:
        if self.checkpoints is None:
            return
        drawn, random = random_state(self.device)
        tensors = {f"model.{name}": t for name, t in self._state().items()}
        tensors |= {f"best.{name}": t for name, t in self.kept.items()}
        tensors |= {f"random.{name}": t for name, t in drawn.items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": t for name, t in values.items() if t is not None}
        if self.losses:
            tensors["losses"] = torch.stack(self.losses)
        self.history.cost.saw(self.memory)
        facts: dict[str, Any] = {"index": self.index, "epoch": self.epoch, "batch": self.batch}
        facts |= {"history": asdict(self.history), "room": asdict(self.room)}
        self.checkpoints.write(tensors, {"phase": self.phase.name, "random": random, **facts})

    def _restore(self, found: Snapshot) -> None:
        facts = found.facts
        self.index, self.epoch, self.batch = facts["index"], facts["epoch"], facts["batch"]
        self.history, self.room = History(**facts["history"]), Room(**facts["room"])
        self.history.cost = TrainingCost(**facts["history"]["cost"])
        self.kept = {name: t.to(self.device) for name, t in found.part("best.").items()}
        if "losses" in found.tensors:
            self.losses = list(found.tensors["losses"].to(self.device))
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in found.part("optimizer.").items():
            number, _, key = name.partition(".")
            own = parameters[int(number)]
            if tensor.shape == own.shape:  # laid out as the parameter is: fused optimisers pair memory, not indices
                tensor = torch.empty_like(own, dtype=tensor.dtype).copy_(tensor)
            state.setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        restore_random_state(found.part("random."), facts["random"], self.device)


def smoothed(task: Task, smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The task's loss of each sample, its labels smoothed: (logits (B, K), targets) -> (B,)."""
    if smoothing == 0 or task.kind == "regression":
        return task.loss
    return lambda logits, targets: F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every group's learning rate: its own full one times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def freeze(model: EarlyExitModel, phase: Phase) -> bool:
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
