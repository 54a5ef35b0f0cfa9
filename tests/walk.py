"""Tiny backbones, and the check every method's test makes: what replay says is what dynamic inference does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from eebench.api import Backbone, ExitRule, Features, Inputs, Layout, Method, Phase, Task, TrainStep
from eebench.backbones.vit import ViT
from eebench.engine.model import EarlyExitModel, assemble
from eebench.measure.replay import replay as engine_replay

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


def tiny_vit(depth: int = 4, size: tuple[int, int] = (8, 8), outputs: int = CLASSES, layout: str = "cls") -> ViT:
    """A ViT of 32 channels and 2 heads on one-channel images; ``layout`` cls | dist | registers | mean."""
    torch.manual_seed(0)
    kind: type = VisionTransformerDistilled if layout == "dist" else VisionTransformer
    special: dict[str, dict[str, Any]] = {
        "registers": {"reg_tokens": 2},
        "mean": {"class_token": False, "global_pool": "avg"},
    }
    net = kind(
        img_size=size,
        patch_size=2,
        in_chans=1,
        num_classes=outputs,
        embed_dim=32,
        depth=depth,
        num_heads=2,
        mlp_ratio=2.0,
        **special.get(layout, {}),
    )
    return ViT(net)


class TinyText(Backbone):
    """A text-like network: padded sequences with a mask, a class token, LayerNorm at the end of each block."""

    modality = "text"
    mlp_ratio = 2.0

    def __init__(self, depth: int = 4, dim: int = 16, outputs: int = CLASSES) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(50, dim)
        self.own = nn.ModuleList([nn.Linear(dim, dim) for _ in range(depth)])
        self.others = nn.ModuleList([nn.Linear(dim, dim) for _ in range(depth)])
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(depth)])
        self.head = nn.Linear(dim, outputs)
        self.layouts = (Layout(dim, prefix=1, grid=None, cls=True),) * depth
        self.heads = (2,) * depth

    def embed(self, inputs: Inputs) -> Features:
        assert isinstance(inputs, dict)
        return Features(self.words(inputs["input_ids"]), self.layouts[0], inputs["attention_mask"].bool())

    def block(self, number: int, features: Features) -> Features:
        tokens, mask, i = features.tokens, features.mask, number - 1
        assert mask is not None
        real = mask[:, :, None].to(tokens.dtype)
        mean = (tokens * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        mixed = torch.tanh(self.own[i](tokens) + self.others[i](mean))
        return Features(self.norms[i](tokens + mixed), self.layouts[i], mask)

    def norm(self, features: Features) -> Features:
        return features

    def classify(self, features: Features) -> Tensor:
        return self.head(features.pooled)

    def plain(self, inputs: Inputs) -> Tensor:
        features = self.embed(inputs)
        for number in range(1, self.depth + 1):
            features = self.block(number, features)
        return self.classify(features)


class TinyPyramid(Backbone):
    """A Swin-like network: no class token; halfway the grid is halved and the channels doubled. Grid not square."""

    modality = "vision"
    mlp_ratio = 2.0

    def __init__(self, outputs: int = CLASSES) -> None:
        super().__init__()
        torch.manual_seed(0)
        wide = Layout(16, prefix=0, grid=(4, 2), cls=False)
        deep = Layout(32, prefix=0, grid=(2, 1), cls=False)
        self.layouts = (wide, wide, deep, deep)
        self.heads = (1, 1, 2, 2)
        self.patch = nn.Conv2d(1, 16, 2, 2)
        self.merge = nn.Conv2d(16, 32, 2, 2)
        self.mix = nn.ModuleList([nn.Conv2d(a.dim, a.dim, 3, padding=1, groups=a.dim) for a in self.layouts])
        self.head = nn.Linear(32, outputs)

    def embed(self, inputs: Inputs) -> Features:
        assert isinstance(inputs, Tensor)
        return Features(self.patch(inputs).flatten(2).transpose(1, 2), self.layouts[0])

    def block(self, number: int, features: Features) -> Features:
        image = self.merge(features.map) if number == 3 else features.map
        image = image + torch.tanh(self.mix[number - 1](image))
        return Features(image.flatten(2).transpose(1, 2), self.layouts[number - 1])

    def norm(self, features: Features) -> Features:
        return features

    def classify(self, features: Features) -> Tensor:
        return self.head(features.pooled)

    def plain(self, inputs: Inputs) -> Tensor:
        features = self.embed(inputs)
        for number in range(1, self.depth + 1):
            features = self.block(number, features)
        return self.classify(features)


BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "vit": lambda outputs: tiny_vit(outputs=outputs),
    "two prefix tokens": lambda outputs: tiny_vit(outputs=outputs, layout="dist"),
    "registers": lambda outputs: tiny_vit(outputs=outputs, layout="registers"),
    "no class token": lambda outputs: tiny_vit(outputs=outputs, layout="mean"),
    "grid not square": lambda outputs: tiny_vit(size=(8, 4), outputs=outputs),
    "pyramid": lambda outputs: TinyPyramid(outputs=outputs),
    "text": lambda outputs: TinyText(outputs=outputs),
}
"""Every kind of backbone a method must take, by what is special about it: outputs → backbone."""


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
    samples = len(logits)
    if knobs is None:
        knobs = spread([rule.knob.never, *rule.grid(seen), *([] if rule.knob.always is None else [rule.knob.always])])
    found = {}
    for knob in knobs:
        where = replay(rule, seen, knob)
        np.testing.assert_array_equal(engine_replay(rule, seen, knob), where)
        answers = logits[torch.arange(samples), torch.from_numpy(where)]
        for size, order, wait in RUNS:
            ids = order[order < samples]
            with torch.inference_mode():
                parts = [model.dynamic(pick(inputs, part), rule, knob, part, wait=wait) for part in ids.split(size)]
            np.testing.assert_array_equal(torch.cat([part.exit for part in parts]).numpy(), where[ids.numpy()])
            torch.testing.assert_close(torch.cat([p.logits for p in parts]), answers[ids], atol=1e-4, rtol=1e-4)
        found[knob] = where
    assert len(np.unique(np.concatenate(list(found.values())))) >= exits, "too few different exits over all knobs"
    assert any(len(np.unique(where)) > 1 for where in found.values()), "no knob parts the samples"
    return found


def train_step(
    model: EarlyExitModel, phase: Phase, inputs: Inputs, targets: Tensor, task: Task, *, index: int = 0, epoch: int = 0
) -> TrainStep:
    """What the phase's loss is handed, frozen and in train mode as the training loop has it."""
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(phase.trains(name))
        parameter.grad = None
    if not any(p.requires_grad for p in model.backbone.parameters()):  # as eebench.engine.train._freeze does
        model.backbone.eval()
    for head in model.exits.children():
        if not any(p.requires_grad for p in head.parameters()):
            head.eval()
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
