"""Where cells are made: a model trained on one seed, traced, costed, and stored whole, or found finished."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor

from eebench.api import Backbone, ExitOutput, ExitRule, Method, Phase, Recipe, Rows
from eebench.engine.costing import Costing, parameters
from eebench.engine.features import FeatureCache
from eebench.engine.model import EarlyExitModel, assemble
from eebench.engine.optimise import BACKBONE_LR_SCALE
from eebench.engine.trace import collect
from eebench.engine.train import backbone_phase, fit
from eebench.errors import UserError
from eebench.files import read_json, write_json
from eebench.plugins.registry import Chosen
from eebench.progress import Reporter
from eebench.runs.cell import Cell
from eebench.runs.fingerprint import method_sha256
from eebench.runs.prepare import Prepared
from eebench.runs.store import Store
from eebench.schema import BACKBONE, static_label

__all__ = ["Workshop", "open_backbone", "open_model", "open_static"]

LOGITS_LIMIT = 4 << 30  # bytes of logits a split may keep on disk; beyond it calibration by temperature is left out


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
        done = self._finished(chosen.label, chosen.trained, seed, code)
        if done is not None:
            return done
        prepared = self.prepared
        started = time.perf_counter()
        method, task = chosen.method, prepared.data.task
        start = self._start(chosen, seed, base)
        if start is None:
            torch.manual_seed(seed)
            backbone = prepared.backbone()
        torch.manual_seed(_seed_of(chosen.trained, "build", seed))  # initial weights do not depend on what ran before
        if start is not None:
            backbone = open_backbone(prepared, start)
        model = assemble(method, backbone, task).to(prepared.device)
        phases = [
            self._train(
                chosen.label, seed, model, phase, recipe, _seed_of(chosen.trained, phase.name, seed), self.cache
            )
            for phase, recipe in prepared.recipes(chosen, method.phases(task), _width(backbone))
        ]
        cell_id = prepared.cell_id(chosen.trained, seed, code)
        return self._keep(cell_id, chosen.label, seed, model, chosen.rule(task), phases, started)

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
        started = time.perf_counter()
        model = EarlyExitModel(backbone, {}).to(self.prepared.device)
        try:
            phases = [self._train(label, seed, model, backbone_phase(), recipe, seed, None)]
        except FloatingPointError as error:
            raise UserError(f"training the {label} diverged: {error}; try an --lr below {recipe.lr:g}") from error
        return self._keep(self.prepared.cell_id(label, seed, code), label, seed, model, None, phases, started)

    def _train(
        self,
        label: str,
        seed: int,
        model: EarlyExitModel,
        phase: Phase,
        recipe: Recipe,
        phase_seed: int,
        cache: FeatureCache | None,
    ) -> dict[str, Any]:
        """One phase, and what the record says about it."""
        with self.reporter.task(f"{label} seed {seed}: {phase.name}, {recipe.epochs} epochs") as update:
            history = fit(
                model,
                phase,
                recipe,
                self.prepared.data,
                seed=phase_seed,
                device=self.prepared.device,
                cache=cache,
                progress=update,
            )
        validated = phase.epoch_end is not None or recipe.selects
        return {"phase": phase.name, **asdict(recipe), **asdict(history), "sees_validation": validated}

    def _finished(self, label: str, trained: str, seed: int, code: str) -> Cell | None:
        cell_id = self.prepared.cell_id(trained, seed, code)
        path = None if self.force else self.store.cell(cell_id)
        if path is None:
            return None
        self.reporter.say(f"{label} seed {seed}: reused")
        return Cell(cell_id, label, seed, path, float(read_json(path / "cell.json")["seconds"]), reused=True)

    def _keep(
        self,
        cell_id: str,
        label: str,
        seed: int,
        model: EarlyExitModel,
        rule: ExitRule | None,
        phases: Sequence[dict[str, Any]],
        started: float,
    ) -> Cell:
        """Trace, count, and write the cell whole."""
        data, device = self.prepared.data, self.prepared.device
        total, backbone, each = parameters(model)
        with self.store.writing(cell_id) as folder:
            save_model(model, str(folder / "weights.safetensors"))
            uncounted: dict[str, int] = {}
            counter = Costing(copy.deepcopy(model).cpu(), data)
            for name, split in (("val", data.val), ("test", data.test)):
                size = 4 * len(split) * len(model.blocks) * data.task.outputs
                file = folder / f"logits-{name}.npy" if size <= LOGITS_LIMIT else None
                trace = collect(model, rule or _NEVER, split, data.task, device=device, logits_file=file)
                trace.save(folder, name)
                costs, uncounted = counter(split)
                np.savez(folder / f"costs-{name}.npz", **vars(costs))
            seconds = time.perf_counter() - started
            facts = {
                "id": cell_id,
                "label": label,
                "seed": seed,
                "seconds": seconds,
                "blocks": model.blocks,
                "params": total,
                "params_backbone": backbone,
                "params_exits": each,
                "phases": phases,
                "uncounted": uncounted,
            }
            write_json(folder / "cell.json", facts)
        return Cell(cell_id, label, seed, self.store.path / "cells" / cell_id, seconds, reused=False)


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


_NEVER = _Never()


def _width(backbone: Backbone) -> int:
    return max(layout.dim for layout in backbone.layouts)


def _seed_of(label: str, part: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{label}|{part}|{seed}".encode()).digest()[:4], "big")
