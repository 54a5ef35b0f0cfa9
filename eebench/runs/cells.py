"""One cell: a method (or the plain backbone) trained on one seed, traced, costed, and stored whole."""

from __future__ import annotations

import copy
import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_model, save_model

from eebench.api import Backbone, ExitRule, Method
from eebench.data.base import Data, Split
from eebench.engine.features import FeatureCache
from eebench.engine.macs import ExitCosts, exit_costs
from eebench.engine.model import EarlyExitModel
from eebench.engine.trace import Trace, collect
from eebench.engine.train import backbone_phase, fit
from eebench.errors import UserError
from eebench.files import read_json, write_json
from eebench.plugins.registry import Chosen
from eebench.progress import Reporter
from eebench.runs.fingerprint import method_sha256
from eebench.runs.prepare import Prepared
from eebench.runs.score import Costs
from eebench.runs.store import Store

__all__ = [
    "Cell",
    "Costing",
    "backbone_cell",
    "method_cell",
    "open_model",
    "parameters",
    "text_of_length",
]

BACKBONE = "backbone"
LOGITS_LIMIT = 4 << 30  # bytes of logits a split may keep on disk; beyond it calibration by temperature is left out


@dataclass(frozen=True)
class Cell:
    """A finished cell on disk."""

    id: str
    label: str
    seed: int
    path: Path
    seconds: float
    reused: bool

    def trace(self, split: str) -> Trace:
        """The stored trace of ``val`` or ``test``."""
        return Trace.load(self.path, split)

    def costs(self, split: str) -> Costs:
        """MACs per exit on a split."""
        with np.load(self.path / f"costs-{split}.npz", allow_pickle=False) as file:
            return Costs(**{name: file[name] for name in file.files})

    @property
    def facts(self) -> dict:
        """What cell.json says: parameters, phases with their losses, operators left uncounted."""
        return read_json(self.path / "cell.json")


def backbone_cell(prepared: Prepared, store: Store, seed: int, reporter: Reporter, *, force: bool = False) -> Cell:
    """The plain backbone, trained once per (backbone, data set, seed): every method starts from it."""
    cell_id = prepared.cell_id(BACKBONE, seed, "")
    done = None if force else _finished(store, cell_id, BACKBONE, seed)
    if done is not None:
        reporter.say(f"{BACKBONE} seed {seed}: reused")
        return done
    started = time.perf_counter()
    torch.manual_seed(seed)
    model = EarlyExitModel(prepared.backbone(), {}).to(prepared.device)
    plan = prepared.base_plan(_width(model.backbone))
    with reporter.task(f"{BACKBONE} seed {seed}: {plan.epochs} epochs") as update:
        try:
            losses = fit(
                model, backbone_phase(), plan, prepared.data, seed=seed, device=prepared.device, progress=update
            )
        except FloatingPointError as error:
            raise UserError(f"training the backbone diverged: {error}; try an --lr below {plan.lr:g}") from error
    phases = [{"phase": "backbone", **asdict(plan), "losses": losses}]
    return _store(prepared, store, cell_id, BACKBONE, seed, model, None, phases, started)


def method_cell(
    prepared: Prepared,
    store: Store,
    chosen: Chosen,
    base: Cell,
    seed: int,
    cache: FeatureCache,
    reporter: Reporter,
    *,
    force: bool = False,
) -> Cell:
    """Train a method's phases from the backbone's checkpoint, trace it and count its MACs."""
    cell_id = prepared.cell_id(chosen.trained, seed, method_sha256(chosen.cls))
    done = None if force else _finished(store, cell_id, chosen.label, seed)
    if done is not None:
        reporter.say(f"{chosen.label} seed {seed}: reused")
        return done
    started = time.perf_counter()
    method = chosen.create(prepared.data.task)
    torch.manual_seed(_seed_of(chosen.trained, "build", seed))  # initial weights do not depend on what ran before
    backbone = open_backbone(prepared, base)
    model = EarlyExitModel(backbone, method.build(backbone)).to(prepared.device)
    phases = []
    for phase, plan in prepared.plans(method, _width(backbone)):
        with reporter.task(f"{chosen.label} seed {seed}: {phase.name}, {plan.epochs} epochs") as update:
            losses = fit(
                model,
                phase,
                plan,
                prepared.data,
                seed=_seed_of(chosen.trained, phase.name, seed),
                device=prepared.device,
                cache=cache,
                progress=update,
            )
        validated = phase.epoch_end is not None
        phases.append({"phase": phase.name, **asdict(plan), "losses": losses, "sees_validation": validated})
    return _store(prepared, store, cell_id, chosen.label, seed, model, method.rule(), phases, started)


def open_backbone(prepared: Prepared, base: Cell) -> Backbone:
    """The trained backbone of a cell, on the device."""
    model = EarlyExitModel(prepared.backbone(), {})
    load_model(model, str(base.path / "weights.safetensors"))
    return model.backbone.to(prepared.device)


def open_model(prepared: Prepared, cell: Cell, method: Method | None) -> EarlyExitModel:
    """A finished cell's model in eval mode, on the CPU; ``method`` None for the plain backbone."""
    backbone = prepared.backbone()
    model = EarlyExitModel(backbone, {} if method is None else method.build(backbone))
    load_model(model, str(cell.path / "weights.safetensors"))
    return model.eval().requires_grad_(False)


def parameters(model: EarlyExitModel) -> tuple[int, int, list[int]]:
    """All parameters, the backbone's, and those each exit adds (shared ones at the first exit that has them)."""
    seen: set[int] = {id(p) for p in model.backbone.parameters()}
    backbone = sum(p.numel() for p in model.backbone.parameters())
    each = []
    for head in model.exits.children():
        fresh = {id(p): p.numel() for p in head.parameters() if id(p) not in seen}
        seen |= fresh.keys()
        each.append(sum(fresh.values()))
    return backbone + sum(each), backbone, each


def _finished(store: Store, cell_id: str, label: str, seed: int) -> Cell | None:
    path = store.cell(cell_id)
    if path is None:
        return None
    return Cell(cell_id, label, seed, path, float(read_json(path / "cell.json")["seconds"]), reused=True)


def _store(
    prepared: Prepared,
    store: Store,
    cell_id: str,
    label: str,
    seed: int,
    model: EarlyExitModel,
    rule: ExitRule | None,
    phases: list[dict],
    started: float,
) -> Cell:
    data, device = prepared.data, prepared.device
    total, backbone, each = parameters(model)
    with store.writing(cell_id) as folder:
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
    return Cell(cell_id, label, seed, store.path / "cells" / cell_id, seconds, reused=False)


class Costing:
    """Costs of a split: one count for images; for text, at each sample's own length, without padding.

    A transformer's MACs are a polynomial of degree 2 in its length (linear layers, and attention's square), so three
    counts give every length exactly.
    """

    def __init__(self, model: EarlyExitModel, data: Data) -> None:
        self.model = model.eval()
        self.text = data.modality == "text"
        self._first = model.backbone.prepare([data.test.inputs[0]])
        self._fits: dict[str, np.ndarray] = {}
        self.uncounted: dict[str, int] = {}
        if self.text:
            assert isinstance(self._first, dict)
            lengths = (4, 8, 16)  # short, so that every model has positions for them
            counts = [self._columns(exit_costs(model, text_of_length(self._first, n))) for n in lengths]
            for name in counts[0]:
                self._fits[name] = np.polyfit(lengths, np.stack([c[name] for c in counts]), 2)
        else:
            self._counted = self._columns(exit_costs(model, self._first))

    def _columns(self, costs: ExitCosts) -> dict[str, np.ndarray]:
        self.uncounted = costs.uncounted
        columns = {name: getattr(costs, name) for name in ("backbone", "heads", "gates", "static")}
        return columns | {"plain": np.array([costs.plain])}

    def __call__(self, split: Split) -> tuple[Costs, dict[str, int]]:
        if not self.text:
            return Costs(**{name: column[None] for name, column in self._counted.items()}), self.uncounted
        lengths = self.model.backbone.lengths(list(split.inputs))  # type: ignore[operator]
        powers = np.stack([lengths**2, lengths, np.ones_like(lengths)], 1).astype(float)
        return Costs(**{name: powers @ fit for name, fit in self._fits.items()}), self.uncounted


def text_of_length(inputs: dict[str, torch.Tensor], length: int) -> dict[str, torch.Tensor]:
    """One sample of exactly ``length`` tokens: what the tokens say does not change what they cost."""
    return {name: column[:1, :1].expand(1, length).contiguous() for name, column in inputs.items()}


class _Never(ExitRule):
    """For a model with its last exit alone: nothing is ever asked."""

    def observe(self, output, exit, ids):
        return {}

    def step(self, state, seen, knob):
        raise AssertionError("a model without inner exits asks nobody")

    def grid(self, seen):
        return []


_NEVER = _Never()


def _width(backbone: Backbone) -> int:
    return max(layout.dim for layout in backbone.layouts)


def _seed_of(label: str, part: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{label}|{part}|{seed}".encode()).digest()[:4], "big")
