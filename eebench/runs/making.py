"""One cell while it is made: phases trained, weights published, splits traced, each step done once whatever happens."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model

from eebench.api import ExitRule, Phase, Recipe
from eebench.data.base import Data, Split
from eebench.engine.checkpoint import Checkpoints
from eebench.engine.costing import Costing, parameters
from eebench.engine.features import FeatureCache
from eebench.engine.inference_memory import inference_bytes
from eebench.engine.model import EarlyExitModel
from eebench.engine.state import moved_state, put_back
from eebench.engine.trace import Trace, collect
from eebench.engine.train import fit
from eebench.errors import UserError
from eebench.files import durable, read_json, write_json
from eebench.progress import Reporter

__all__ = ["LOGITS_LIMIT", "Making", "Stage"]

LOGITS_LIMIT = 4 << 30  # bytes of logits a split may keep on disk; beyond it calibration by temperature is left out

Stage = tuple[Phase, Recipe, int]
"""A phase, how it is optimised, and its seed."""


class Making:
    """A cell in the making.

    Everything lies in its folder, so that another process goes on where this one was stopped: a training from its last
    checkpoint, without the phases done before; the tracing with the splits that are not traced yet.

    Args:
        folder: of the cell, empty or as it was left.
        data: what is trained on and traced.
        device: where.
        reporter: hears what goes on.
        title: how the cell is called there.
    """

    def __init__(self, folder: Path, data: Data, device: torch.device, reporter: Reporter, title: str) -> None:
        self.folder, self.data, self.device, self.reporter, self.title = folder, data, device, reporter, title
        self.started = time.perf_counter()
        self.phases: list[dict[str, Any]] = []
        self.spent = 0.0  # seconds, by whoever was stopped before
        self.notes: list[str] = []  # what a reader of the record must know

    def train(self, model: EarlyExitModel, stages: Sequence[Stage], cache: FeatureCache | None) -> None:
        """Train the phases that are not done, and publish the weights."""
        if self._published(model):
            self.reporter.say(f"{self.title}: trained before, going on with its traces")
            return
        checkpoints = Checkpoints(self.folder / "checkpoints")
        for damage in checkpoints.damaged:
            self.reporter.say(f"{self.title}: set aside a damaged checkpoint, {damage}")
        self._go_on(model, checkpoints)
        for phase, recipe, seed in stages[len(self.phases) :]:
            name = f"{self.title}: {phase.name}, {recipe.epochs} epochs"
            checkpoints.context = self._so_far
            with self.reporter.task(name) as update:
                history = fit(
                    model,
                    phase,
                    recipe,
                    self.data,
                    seed=seed,
                    device=self.device,
                    cache=cache,
                    progress=update,
                    checkpoints=checkpoints,
                )
            if history.fitted is not None:
                self._note_memory(phase, recipe, history.fitted)
            validated = phase.epoch_end is not None or recipe.selects
            facts = {"phase": phase.name, **asdict(recipe), **asdict(history), "sees_validation": validated}
            self.phases = [*self.phases, facts]
            if len(self.phases) < len(stages):
                checkpoints.write({f"model.{n}": t for n, t in moved_state(model, checkpoints.moved).items()}, {})
        self._publish(model)

    def _go_on(self, model: EarlyExitModel, checkpoints: Checkpoints) -> None:
        """Take over what an earlier process did: whole phases here, a part of one in ``fit``."""
        between = checkpoints.take(lambda facts: "index" not in facts)
        if between is not None:
            put_back(model, between.part("model."))
            checkpoints.moved |= between.part("model.").keys()
            facts = between.facts
        elif checkpoints.pending is not None:
            facts = checkpoints.pending.facts
        else:
            return
        self.phases, self.spent = facts["done"], facts["spent"]
        where = f"phase {len(self.phases) + 1}" + (f", epoch {facts['epoch'] + 1}" if "epoch" in facts else "")
        self.reporter.say(f"{self.title}: going on from {where}")

    def _note_memory(self, phase: Phase, recipe: Recipe, samples: int) -> None:
        note = (
            f"{self.title}: out of memory in phase '{phase.name}', so gradients of at most {samples} samples at once "
            f"are added up to steps of {recipe.batch_size}, as the recipe has them"
        )
        self.reporter.say(note)
        self.notes.append(note)

    def _so_far(self) -> dict[str, Any]:
        return {"done": self.phases, "spent": self._seconds()}

    def _seconds(self) -> float:
        return self.spent + time.perf_counter() - self.started

    def _publish(self, model: EarlyExitModel) -> None:
        path = self.folder / "weights.safetensors"
        temporary = self.folder / ".weights"
        save_model(model, str(temporary))
        durable(temporary)
        os.replace(temporary, path)
        facts = {"phases": self.phases, "seconds": self._seconds(), "sha256": _sha256(path)}
        durable(write_json(self.folder / "trained.json", facts))
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)

    def _published(self, model: EarlyExitModel) -> bool:
        path, facts = self.folder / "weights.safetensors", self.folder / "trained.json"
        if not (path.exists() and facts.exists()):
            return False
        try:
            known = read_json(facts)
        except UserError:
            return False
        if known["sha256"] != _sha256(path):
            return False
        load_model(model, str(path))
        model.eval().requires_grad_(False)
        self.phases, self.spent = known["phases"], known["seconds"]
        return True

    def finish(self, model: EarlyExitModel, rule: ExitRule, facts: dict[str, Any]) -> float:
        """Trace and count the splits that are not, and write ``cell.json``.

        Args:
            model: trained.
            rule: what its traces are for.
            facts: what cell.json says of the cell's identity.

        Returns:
            Seconds it took, those of stopped processes included.
        """
        total, backbone, each = parameters(model)
        counter = Costing(copy.deepcopy(model).cpu(), self.data)
        uncounted: dict[str, int] = {}
        for name, split in (("val", self.data.val), ("test", self.data.test)):
            costs, uncounted = counter(split)
            np.savez(self.folder / f"costs-{name}.npz", **vars(costs))
            if not self._traced(name):
                self._trace(model, rule, name, split)
        (self.folder / "trained.json").unlink(missing_ok=True)
        seconds = self._seconds()
        own: dict[str, Any] = {
            "params": total,
            "params_backbone": backbone,
            "params_exits": each,
            "blocks": model.blocks,
        }
        own["infer_bytes"] = inference_bytes(model, rule, self.data)
        about = {"seconds": seconds, "phases": self.phases, "uncounted": uncounted}
        write_json(self.folder / "cell.json", facts | own | about)
        return seconds

    def _trace(self, model: EarlyExitModel, rule: ExitRule, name: str, split: Split) -> None:
        """In a folder of its own first: a trace that is there is whole, its logits too."""
        making = self.folder / f"tracing-{name}"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        size = 4 * len(split) * len(model.blocks) * self.data.task.outputs
        logits = making / f"logits-{name}.npy" if size <= LOGITS_LIMIT else None
        trace = collect(model, rule, split, self.data.task, device=self.device, logits_file=logits)
        trace.save(making, name)
        for path in sorted(making.iterdir()):  # "logits-…" before "trace-…"
            durable(path)
            os.replace(path, self.folder / path.name)
        making.rmdir()

    def _traced(self, name: str) -> bool:
        try:
            Trace.load(self.folder, name)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return False
        return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
