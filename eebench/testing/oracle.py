"""Set-up for a method's own tests, and the one they all make: what replay says is what inference that stops does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eebench.api import Backbone, ExitRule, Inputs, Method, Phase, Task, TrainStep
from eebench.engine.model import EarlyExitModel, assemble
from eebench.engine.train import freeze
from eebench.measure.replay import replay as engine_replay

__all__ = [
    "CLASSES",
    "Bound",
    "assert_replay_is_dynamic",
    "build",
    "classes_for",
    "compare",
    "gradients",
    "inputs_for",
    "pick",
    "replay",
    "trace",
    "train_step",
]

CLASSES = 3
SAMPLES = 66  # more than one batch at every size below

IN_ORDER = torch.arange(1000)
SHUFFLED = torch.randperm(1000, generator=torch.Generator().manual_seed(4))
RUNS = [  # batch size, order, whether finished rows wait; order means nothing at batch 1
    (1, SHUFFLED, False),
    (7, IN_ORDER, False),
    (7, SHUFFLED, False),
    (7, SHUFFLED, True),
    (64, IN_ORDER, False),
    (64, SHUFFLED, False),
]


def inputs_for(backbone: Backbone, samples: int = SAMPLES) -> Inputs:
    """Random inputs of the backbone's kind, the same at every call."""
    generator = torch.Generator().manual_seed(1)
    if backbone.modality == "text":
        words = torch.randint(1, 50, (samples, 9), generator=generator)
        lengths = torch.randint(2, 10, (samples, 1), generator=generator)
        mask = torch.arange(9)[None] < lengths
        return {"input_ids": words * mask, "attention_mask": mask.long()}
    rows, columns = backbone.layouts[0].grid or (0, 0)
    return torch.randn(samples, 1, 2 * rows, 2 * columns, generator=generator)


def pick(inputs: Inputs, rows: Tensor) -> Inputs:
    """The samples at ``rows``, in that order."""
    return {k: v[rows] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[rows]


class Bound:
    """A method and the task it is for."""

    def __init__(self, method: Method, task: Task) -> None:
        self.method = method
        self.task = task

    def rule(self) -> ExitRule:
        """Its rule for the task."""
        return self.method.rule(self.task)

    def phases(self) -> Sequence[Phase]:
        """Its phases for the task."""
        return self.method.phases(self.task)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method, name)


def build(
    cls: type[Method], backbone: Backbone, task: Task | None = None, *, noise: float = 0.3, **options: Any
) -> tuple[Bound, EarlyExitModel]:
    """A method on a backbone, in eval mode. ``noise`` shakes the fresh heads so that samples and exits differ."""
    method = Bound(cls(**options), task or Task(classes=CLASSES))
    torch.manual_seed(2)
    model = assemble(method.method, backbone, method.task)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
    return method, model.eval().requires_grad_(False)


@torch.no_grad()
def trace(model: EarlyExitModel, rule: ExitRule, inputs: Inputs) -> tuple[dict[str, np.ndarray], Tensor]:
    """Everyone goes on to the end: what the rule saw, each (N, E-1), and all exits' logits (N, E, K)."""
    visits = model.trace(inputs)
    ids = torch.arange(len(visits[0].features.tokens))
    seen = [rule.observe(visit.output, position, ids) for position, visit in enumerate(visits[:-1])]
    columns = {name: torch.stack([s[name] for s in seen], 1).numpy() for name in seen[0]}
    return columns, torch.stack([visit.logits for visit in visits], 1)


def replay(rule: ExitRule, seen: Mapping[str, np.ndarray], knob: float) -> np.ndarray:
    """Where each sample stops, (N,): sample by sample, one row at a time, the first stop wins. The slow oracle."""
    samples, inner = next(iter(seen.values())).shape[:2]
    where = np.full(samples, inner)
    for sample in range(samples):
        state: dict[str, Any] = {}
        for position in range(inner):
            row = {name: values[sample : sample + 1, position] for name, values in seen.items()}
            stop, state = rule.step(state, row, knob)
            if bool(stop[0]):
                where[sample] = position
                break
    return where


def compare(
    model: EarlyExitModel,
    rule: ExitRule,
    take: Callable[[Tensor], Inputs],
    seen: Mapping[str, np.ndarray],
    logits: Tensor,
    knob: float,
) -> np.ndarray:
    """Inference that stops, in batches of several sizes and orders, against the slow replay at one knob value.

    Args:
        model: in eval mode.
        rule: its rule.
        take: ids of samples → these samples as one batch.
        seen: what the rule observed, each (N, E-1).
        logits: of every exit, (N, E, K).
        knob: the knob's value.

    Returns:
        Where each sample stops, (N,).

    Raises:
        AssertionError: they disagree, in words.
    """
    where = replay(rule, seen, knob)
    fast = engine_replay(rule, seen, knob)
    assert (fast == where).all(), f"knob {knob:g}: {(fast != where).sum()} samples stop elsewhere when replayed alone"
    answers = logits[torch.arange(len(logits)), torch.from_numpy(where)]
    for size, order, wait in RUNS:
        ids = order[order < len(logits)]
        with torch.inference_mode():
            parts = [model.dynamic(take(part), rule, knob, part, wait=wait) for part in ids.split(size)]
        at = f"knob {knob:g}, batch {size}{', waiting' * wait}"
        wrong = int((torch.cat([part.exit for part in parts]).numpy() != where[ids.numpy()]).sum())
        assert not wrong, f"{at}: {wrong} of {len(ids)} samples stop elsewhere"
        found = torch.cat([part.logits for part in parts])
        gap = float((found - answers[ids]).abs().max())
        assert torch.allclose(found, answers[ids], atol=1e-4, rtol=1e-4), f"{at}: logits differ by {gap:.2g}"
    return where


def spread(values: Iterable[float], count: int = 5) -> list[float]:
    """At most ``count`` of the values, the extremes among them, evenly by rank."""
    ordered = sorted(values)
    return [ordered[i] for i in sorted({round(x) for x in np.linspace(0, len(ordered) - 1, count)})]


def assert_replay_is_dynamic(
    model: EarlyExitModel, rule: ExitRule, inputs: Inputs, knobs: Sequence[float] | None = None, *, exits: int = 2
) -> dict[float, np.ndarray]:
    """Replay equals dynamic inference: exits exactly, logits to 1e-4, at batch sizes 1, 7, 64 and in two orders.

    Args:
        model: in eval mode.
        rule: its rule.
        inputs: the samples.
        knobs: knob values; spread over the rule's own grid, with its extremes, when not given.
        exits: how many different exits must be taken over all knobs, so that the test cannot pass on a dull model.

    Returns:
        Where each sample stops, by knob.
    """
    seen, logits = trace(model, rule, inputs)
    if knobs is None:
        knobs = spread([rule.knob.never, *rule.grid(seen), *([] if rule.knob.always is None else [rule.knob.always])])
    found = {knob: compare(model, rule, lambda ids: pick(inputs, ids), seen, logits, knob) for knob in knobs}
    assert len(np.unique(np.concatenate(list(found.values())))) >= exits, "too few different exits over all knobs"
    assert any(len(np.unique(where)) > 1 for where in found.values()), "no knob parts the samples"
    return found


def train_step(
    model: EarlyExitModel, phase: Phase, inputs: Inputs, targets: Tensor, task: Task, *, index: int = 0, epoch: int = 0
) -> TrainStep:
    """What the phase's loss is handed, frozen and in train mode as the training loop has it."""
    freeze(model, phase)
    model.zero_grad(set_to_none=True)
    return TrainStep(model.trace(inputs), targets, task.loss, model.backbone, index, epoch, epoch + 1, index)


def gradients(
    model: EarlyExitModel, phase: Phase, inputs: Inputs, targets: Tensor, task: Task, *, index: int = 0, epoch: int = 0
) -> dict[str, Tensor]:
    """Gradients of the phase's loss, by parameter; parameters without one, or with zeros, are left out."""
    phase.loss(train_step(model, phase, inputs, targets, task, index=index, epoch=epoch)).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().max() > 0)}


def classes_for(samples: int = SAMPLES, classes: int = CLASSES) -> Tensor:
    """Random class targets, (N,) int64."""
    return torch.randint(0, classes, (samples,), generator=torch.Generator().manual_seed(5))
