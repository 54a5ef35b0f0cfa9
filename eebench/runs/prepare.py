"""From a spec to everything a run needs, every mistake found before any work: methods, data, backbone, the plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch

from eebench import backbones, data
from eebench.api import Backbone, PaperRecipe, Phase, Recipe, Released
from eebench.backbones.weights import load_weights, weights_sha256
from eebench.data.base import Data, content_sha256
from eebench.discovery import Plugin
from eebench.engine.model import assemble
from eebench.engine.optimise import common_recipe, overridden, phase_recipes, share_epochs
from eebench.errors import UserError
from eebench.plugins.chosen import Chosen
from eebench.plugins.needs import unmet
from eebench.plugins.registry import Registry
from eebench.runs.choose import default_targets
from eebench.runs.fingerprint import engine_sha256, method_sha256
from eebench.runs.inputs import device_of, normalised, refuse, truncated
from eebench.runs.plugged import stamp
from eebench.runs.recipes import COMMON, Fitted, Setting, Tuned, fit_papers
from eebench.runs.released import load_exits, load_released, read_released, released_path
from eebench.runs.remarks import remarks
from eebench.runs.spec import BUDGETS, NOT_IN_A_CELL, Budget, RunSpec
from eebench.schema import PROTOCOL_VERSION
from eebench.targets import Target

__all__ = ["Prepared", "load_data", "prepare"]


@dataclass
class Prepared:
    """A run that can start."""

    spec: RunSpec
    methods: list[Chosen]
    data: Data
    budget: Budget
    device: torch.device
    skips: dict[str, str]  # method label -> why it makes no sense here
    weight_lines: list[str]
    weights: str  # where the backbone's starting weights come from: none, timm, a file, "its own"
    weights_sha: str
    data_sha: str
    depth: int  # blocks of the backbone
    pool: str  # what its exits and its classifier read: the class token or the mean
    max_tokens: int | None  # text: longer ones are truncated
    backbone_code: str  # fingerprint of its adapter's source; "" for eebench's own, which the engine's covers
    notes: list[str] = field(default_factory=list)  # what a reader of the results must know
    plugins: list[Plugin] = field(default_factory=list)  # which may bring the backbone
    fitted: dict[str, Fitted] = field(default_factory=dict)  # under --budget paper: whose recipe trains a method
    tuned: dict[str, Tuned] = field(default_factory=dict)  # under --search: what is tried, then what was chosen
    released: Released | None = None  # under --budget none: published weights

    @property
    def targets(self) -> list[Target]:
        """What operating points are chosen for, the headline's first."""
        return [Target.parse(name) for name in self.spec.targets or ()]

    @property
    def pretrained(self) -> bool:
        """Whether the backbone starts from pre-trained weights."""
        return self.weights != "none"

    def backbone(self, blocks: int | None = None) -> Backbone:
        """A fresh backbone with its starting weights, or its first ``blocks`` alone. Seed torch before calling."""
        backbone, _ = _backbone(self.spec, self.data, self.plugins, self.released)
        return backbone if blocks is None else backbone.shorten(blocks)

    def common_recipe(self, width: int) -> Recipe:
        """The budget's recipe, which the backbone and every method share."""
        spec = self.spec
        epochs = spec.epochs or self.budget.epochs(len(self.data.train), pretrained=self.pretrained)
        return common_recipe(width, pretrained=self.pretrained, epochs=epochs, batch_size=spec.batch_size, lr=spec.lr)

    def method_epochs(self) -> int:
        """Passes over the data that each method's phases share."""
        return self.spec.epochs or self.budget.method_epochs(len(self.data.train), pretrained=self.pretrained)

    def recipes(self, chosen: Chosen, phases: Sequence[Phase], width: int) -> list[tuple[Phase, Recipe]]:
        """A method's phases, each with its recipe: the common one, or its paper's under ``--budget paper``.

        What was asked for explicitly (epochs, learning rate, batch size) means the same under either. A search's choice
        comes on top.
        """
        tuned = self.tuned.get(chosen.label, Tuned())
        return [(phase, tuned.recipe(recipe)) for phase, recipe in self._untuned(chosen, phases, width)]

    def _untuned(self, chosen: Chosen, phases: Sequence[Phase], width: int) -> list[tuple[Phase, Recipe]]:
        spec, paper = self.spec, self.paper(chosen)
        if paper is None:
            common = phase_recipes(phases, self.method_epochs(), self.common_recipe(width))
            return list(zip(phases, common, strict=True))
        epochs: list[int | None] = [None] * len(phases)
        if spec.epochs is not None:
            epochs = [*share_epochs([phase.share for phase in phases], spec.epochs)]
        own = []
        for phase, asked in zip(phases, epochs, strict=True):
            lr = None if spec.lr is None else spec.lr * phase.lr_scale
            recipe = paper.phases[phase.name].on(self.data.name)
            own.append((phase, overridden(recipe, epochs=asked, lr=lr, batch_size=spec.batch_size)))
        return own

    def backbone_stage(self, chosen: Chosen) -> Recipe | Literal["trained", "untrained"]:
        """What a method starts from: the run's trained backbone, the starting weights, or a stage of its own."""
        paper, spec = self.paper(chosen), self.spec
        if paper is None or isinstance(paper.backbone, str):
            return "trained" if paper is None or paper.backbone == "trained" else "untrained"
        recipe = paper.backbone.on(self.data.name)
        return overridden(recipe, epochs=spec.epochs, lr=spec.lr, batch_size=spec.batch_size)

    def paper(self, chosen: Chosen) -> PaperRecipe | None:
        """The paper's recipe that trains a method."""
        return self.fitted[chosen.label].paper if chosen.label in self.fitted else None

    def whose(self, label: str) -> str:
        """Whose recipe trains a method, in words."""
        return self.fitted[label].words if label in self.fitted else COMMON

    def cell_id(self, label: str, seed: int, code: str) -> str:
        """Name of a cell: readable, then a hash of everything that made it.

        Args:
            label: the method's, or ``backbone``.
            seed: of the training.
            code: fingerprint of the method's source, see :mod:`eebench.runs.fingerprint`.
        """
        s = self.spec
        made_of = {
            "protocol": PROTOCOL_VERSION,
            "eebench": version("eebench"),
            "torch": torch.__version__.partition("+")[0],
            "device": self.device.type,
            "engine": engine_sha256(),
            "label": label,
            "seed": seed,
            "code": code,
            "split": self.data.split_hash,
            "data": self.data_sha,
            "weights": self.weights_sha,
            "pool": self.pool,
            "backbone": self.backbone_code,
            "preprocessing": None if self.data.preprocessing is None else self.data.preprocessing.to_dict(),
            "spec": s.model_dump(mode="json", exclude=set(NOT_IN_A_CELL)),
        }
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]
        slug = "".join(c if c.isalnum() or c in "_-." else "-" for c in label).strip("-")[:60]
        return f"{slug}-s{seed}-{digest}"


def load_data(spec: RunSpec, registry: Registry) -> tuple[Data, list[str]]:
    """The data of a run, as its backbone takes them, and what the log says of that."""
    loaded = data.load(
        spec.dataset,
        data_dir=Path(spec.data_dir) if spec.data_dir else None,
        image_size=spec.image_size,
        target=spec.target,
        augment=spec.augment,
        limit=spec.limit,
        plugins=registry.plugins,
    )
    most = BUDGETS[spec.budget].max_samples
    if most is not None:
        loaded = loaded.fewer(most, most // 2, most // 2)
    return normalised(loaded, spec.backbone, spec.weights)


def prepare(spec: RunSpec, registry: Registry, announce: Callable[[str], None] = lambda words: None) -> Prepared:
    """Check everything and load the data; raise a one-line UserError at the first thing wrong.

    Args:
        spec: the run as asked for.
        registry: where its methods come from.
        announce: hears what is about to be imported, loaded or built: a stranger's code may end the process there.
    """
    for reason in registry.broken.values():
        raise UserError(reason)
    methods = registry.choose(",".join(spec.methods), spec.match_exits)
    if spec.energy and device_of(spec.device).type != "cuda":
        raise UserError("--energy reads an NVIDIA GPU's counter; there is none here (use --device cuda on one)")
    known = {"methods": tuple(m.label for m in methods), "plugins": tuple(stamp(p) for p in registry.plugins)}
    spec = spec.model_copy(update=known)
    budget = BUDGETS[spec.budget]
    device = device_of(spec.device)
    announce(f"loading data set '{spec.dataset}'")
    loaded, said = load_data(spec, registry)
    if spec.targets is None:
        spec = spec.model_copy(update={"targets": default_targets(len(loaded.val), spec.level)})
    refuse(spec, loaded)
    announce(f"building backbone '{spec.backbone}'")
    published = released_path(spec.weights, registry)
    plain = spec if published is None else spec.model_copy(update={"weights": "none"})
    backbone, lines = _backbone(plain, loaded, registry.plugins)
    released = read_released(spec.weights, spec.budget, registry, methods, backbone)
    if released is not None:
        backbone, lines = _backbone(spec, loaded, registry.plugins, released)
        load_exits(assemble(methods[0].method, backbone, loaded.task), released, spec.weights)
        spec = spec.model_copy(update={"static": ()})
    lines += said
    if backbone.modality != loaded.modality:
        raise UserError(
            f"backbone '{spec.backbone}' takes {backbone.modality}, but data set '{spec.dataset}' is {loaded.modality}"
        )
    lines += truncated(backbone, loaded)
    skips: dict[str, str] = {}
    for chosen in methods:
        announce(f"building method '{chosen.label}'")
        why = _skipped(chosen, backbone, loaded)
        skips |= {} if why is None else {chosen.label: why}
    weights, sha = _weights(spec, backbone, published)
    fitted: list[Fitted] = []
    if spec.budget == "paper":
        setting = Setting(loaded.modality, weights != "none", backbone.family, loaded.name)
        fitted = fit_papers([m for m in methods if m.label not in skips], registry, setting, loaded.task)
        own = iter(fitted)
        methods = [m if m.label in skips else next(own).chosen for m in methods]
        spec = spec.model_copy(update={"methods": tuple(m.label for m in methods)})
    prepared = Prepared(
        spec=spec,
        methods=methods,
        data=loaded,
        budget=budget,
        device=device,
        skips=skips,
        weight_lines=lines,
        weights=weights,
        weights_sha=sha,
        data_sha=content_sha256(loaded),
        depth=backbone.depth,
        pool=backbone.layouts[-1].pool,
        max_tokens=backbone.max_tokens,
        plugins=registry.plugins,
        backbone_code=_adapter_sha256(type(backbone)),
        released=released,
    )
    prepared.notes += [budget.warning] if budget.warning else []
    prepared.fitted = {one.chosen.label: one for one in fitted}
    prepared.notes += remarks(prepared)
    return prepared


def _weights(spec: RunSpec, backbone: Backbone, published: tuple[str, Path] | None) -> tuple[str, str]:
    """What the starting weights are called, and their fingerprint."""
    if backbone.own_weights is not None:
        return "its own", backbone.own_weights
    if spec.weights in ("none", "timm"):
        return spec.weights, spec.weights
    return spec.weights, weights_sha256(Path(spec.weights) if published is None else published[1])


def _adapter_sha256(cls: type[Backbone]) -> str:
    return "" if cls.__module__.partition(".")[0] == "eebench" else method_sha256(cls)


def _backbone(
    spec: RunSpec, loaded: Data, plugins: Sequence[Plugin], released: Released | None = None
) -> tuple[Backbone, list[str]]:
    image_size = spec.image_size or loaded.image_size
    patch_size = spec.patch_size or loaded.patch_size
    backbone = backbones.create(
        spec.backbone,
        outputs=loaded.task.outputs,
        image_size=image_size,
        patch_size=patch_size,
        channels=loaded.channels,
        pool=spec.pool,
        max_length=spec.max_length,
        plugins=plugins,
    )
    if released is None:
        lines = load_weights(backbone, spec.weights, name=spec.backbone)
    else:
        lines = load_released(backbone, released, name=spec.backbone, weights=spec.weights)
    return backbone, [*backbone.notes, *lines]


def _skipped(chosen: Chosen, backbone: Backbone, loaded: Data) -> str | None:
    """Why a method makes no sense here; None when it does, and can be built."""
    try:
        why = unmet(chosen.method, backbone, loaded.task)
        if why is not None:
            return why
        if len(assemble(chosen.method, backbone, loaded.task).blocks) < 2:
            return "it places no exit before the last block"
        chosen.rule(loaded.task)
        total = sum(phase.share for phase in chosen.method.phases(loaded.task))
    except UserError:
        raise
    except Exception as error:  # a stranger's method may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        name = chosen.label.partition("[")[0]
        raise UserError(f"method '{chosen.label}' cannot be built here: {reason}; try: eebench check {name}") from error
    if abs(total - 1) > 1e-6:
        raise UserError(f"method '{chosen.label}': the shares of its phases sum to {total:g}, not 1")
    return None
