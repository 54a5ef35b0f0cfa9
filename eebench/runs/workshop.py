"""Where cells are made: a model trained on one seed, traced, costed, and stored whole, or found finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from safetensors.torch import load_model
from torch import Tensor

from eebench.api import Backbone, ExitOutput, ExitRule, Method, Recipe, Rows
from eebench.engine.features import FeatureCache
from eebench.engine.model import EarlyExitModel, assemble
from eebench.engine.optimise import BACKBONE_LR_SCALE
from eebench.engine.train import backbone_phase
from eebench.errors import UserError
from eebench.files import read_json
from eebench.plugins.chosen import Chosen
from eebench.progress import Reporter
from eebench.runs.cell import Cell
from eebench.runs.fingerprint import method_sha256
from eebench.runs.making import Making, Stage
from eebench.runs.prepare import Prepared
from eebench.runs.released import load_exits
from eebench.runs.store import Store
from eebench.schema import BACKBONE, static_label

__all__ = ["NEVER", "Workshop", "open_backbone", "open_model", "open_static"]


class Workshop:
    """Makes the cells of one run, or finds them finished.

    Args:
        prepared: the run.
        store: where cells lie.
        reporter: hears what is trained and what is reused.
        force: make finished cells again.
    """

    def __init__(self, prepared: Prepared, store: Store, reporter: Reporter, *, force: bool = False) -> None:
        self.prepared, self.store, self.reporter, self.force = prepared, store, reporter, force
        self.cache = FeatureCache()  # of the frozen backbone; the methods of a seed share it

    def backbone(self, seed: int) -> Cell:
        """The plain backbone, trained once per (backbone, data set, seed): every method starts from it.

        Raises:
            UserError: training diverged.
        """
        self.cache = FeatureCache()
        done = self._finished(BACKBONE, BACKBONE, seed, "")
        if done is not None:
            return done
        torch.manual_seed(seed)
        backbone = self.prepared.backbone()
        return self._plain(BACKBONE, seed, backbone, self.prepared.common_recipe(_width(backbone)))

    def static(self, seed: int, blocks: int, base: Cell) -> Cell:
        """A smaller model of the same architecture, trained alone with the passes of backbone plus method.

        At full depth it is the plain backbone trained on with a method's passes ("trained longer").

        Args:
            seed: of the training.
            blocks: how many of the backbone's first blocks it keeps.
            base: the trained plain backbone.
        """
        label = static_label(blocks)
        done = self._finished(label, label, seed, "")
        if done is not None:
            return done
        prepared = self.prepared
        if blocks == prepared.depth:
            backbone = open_backbone(prepared, base)
            recipe = prepared.common_recipe(_width(backbone))
            recipe = replace(recipe, epochs=prepared.method_epochs(), lr=recipe.lr * BACKBONE_LR_SCALE)
        else:
            torch.manual_seed(_seed_of(label, "build", seed))
            backbone = prepared.backbone(blocks)
            recipe = prepared.common_recipe(_width(backbone))
            recipe = replace(recipe, epochs=recipe.epochs + prepared.method_epochs())
        return self._plain(label, seed, backbone, recipe)

    def method(self, chosen: Chosen, seed: int, base: Cell) -> Cell:
        """Train a method's phases from the backbone's checkpoint, trace it and count its MACs."""
        code = method_sha256(type(chosen.method))
        if chosen.label in self.prepared.tuned:
            code += self.prepared.tuned[chosen.label].code
        done = self._finished(chosen.label, chosen.trained, seed, code)
        if done is not None:
            return done
        prepared = self.prepared
        method, task = chosen.method, prepared.data.task
        start = self._start(chosen, seed, base)
        if start is None:
            torch.manual_seed(seed)
            backbone = prepared.backbone()
        torch.manual_seed(_seed_of(chosen.trained, "build", seed))  # initial weights do not depend on what ran before
        if start is not None:
            backbone = open_backbone(prepared, start)
        model = assemble(method, backbone, task).to(prepared.device)
        if prepared.released is not None:
            load_exits(model, prepared.released, prepared.spec.weights)
        recipes = prepared.recipes(chosen, method.phases(task), _width(backbone))
        stages = [(phase, recipe, _seed_of(chosen.trained, phase.name, seed)) for phase, recipe in recipes]
        cell_id = prepared.cell_id(chosen.trained, seed, code)
        return self._make(cell_id, chosen.label, seed, model, chosen.rule(task), stages, self.cache)

    def _start(self, chosen: Chosen, seed: int, base: Cell) -> Cell | None:
        """The backbone a method starts from; None: its starting weights."""
        stage = self.prepared.backbone_stage(chosen)
        if isinstance(stage, str):
            return base if stage == "trained" else None
        code = hashlib.sha256(json.dumps(asdict(stage), sort_keys=True).encode()).hexdigest()
        done = self._finished(BACKBONE, BACKBONE, seed, code)
        if done is not None:
            return done
        torch.manual_seed(seed)
        return self._plain(BACKBONE, seed, self.prepared.backbone(), stage, code)

    def _plain(self, label: str, seed: int, backbone: Backbone, recipe: Recipe, code: str = "") -> Cell:
        """Train a model without exits and keep it."""
        model = EarlyExitModel(backbone, {}).to(self.prepared.device)
        cell_id = self.prepared.cell_id(label, seed, code)
        try:
            return self._make(cell_id, label, seed, model, NEVER, [(backbone_phase(), recipe, seed)], None)
        except FloatingPointError as error:
            raise UserError(f"training the {label} diverged: {error}; try an --lr below {recipe.lr:g}") from error

    def _make(
        self,
        cell_id: str,
        label: str,
        seed: int,
        model: EarlyExitModel,
        rule: ExitRule,
        stages: Sequence[Stage],
        cache: FeatureCache | None,
    ) -> Cell:
        """Train, trace and count, going on where an earlier process was stopped; then put the cell in its place.

        Published weights are traced as they are.
        """
        stages = stages if self.prepared.released is None else []
        try:
            with self.store.making(cell_id, fresh=self.force) as folder:
                making = Making(folder, self.prepared.data, self.prepared.device, self.reporter, f"{label} seed {seed}")
                making.train(model, stages, cache)
                self.prepared.notes += making.notes
                seconds = making.finish(model, rule, {"id": cell_id, "label": label, "seed": seed})
        except FloatingPointError:
            self.store.abandon(cell_id)  # from its last checkpoint it would diverge again
            raise
        return Cell(cell_id, label, seed, self.store.path / "cells" / cell_id, seconds, reused=False)

    def _finished(self, label: str, trained: str, seed: int, code: str) -> Cell | None:
        cell_id = self.prepared.cell_id(trained, seed, code)
        path = None if self.force else self.store.cell(cell_id)
        if path is None:
            return None
        self.reporter.say(f"{label} seed {seed}: reused")
        return Cell(cell_id, label, seed, path, float(read_json(path / "cell.json")["seconds"]), reused=True)


def open_backbone(prepared: Prepared, base: Cell) -> Backbone:
    """The trained backbone of a cell, on the run's device, ready to be trained on."""
    return _opened(EarlyExitModel(prepared.backbone(), {}), base).backbone.to(prepared.device)


def open_static(prepared: Prepared, cell: Cell, blocks: int) -> EarlyExitModel:
    """A static model's cell in eval mode, on the CPU."""
    backbone = prepared.backbone(None if blocks == prepared.depth else blocks)
    return _opened(EarlyExitModel(backbone, {}), cell).eval().requires_grad_(False)


def open_model(prepared: Prepared, cell: Cell, method: Method | None) -> EarlyExitModel:
    """A finished cell's model in eval mode, on the CPU; ``method`` None for the plain backbone."""
    backbone = prepared.backbone()
    model = EarlyExitModel(backbone, {}) if method is None else assemble(method, backbone, prepared.data.task)
    return _opened(model, cell).eval().requires_grad_(False)


def _opened(model: EarlyExitModel, cell: Cell) -> EarlyExitModel:
    load_model(model, str(cell.weights))
    return model


class _Never(ExitRule):
    """For a model with its last exit alone: nothing is ever asked."""

    def observe(self, output: ExitOutput, exit: int, ids: Tensor) -> dict[str, Tensor]:
        return {}

    def step(self, state: Rows, seen: Rows, knob: float) -> tuple[Any, Rows]:
        raise AssertionError("a model without inner exits asks nobody")

    def grid(self, seen: Mapping[str, Any]) -> Sequence[float]:
        return []


NEVER = _Never()


def _width(backbone: Backbone) -> int:
    return max(layout.dim for layout in backbone.layouts)


def _seed_of(label: str, part: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{label}|{part}|{seed}".encode()).digest()[:4], "big")
