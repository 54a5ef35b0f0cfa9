"""A finished run from Python: its tables, and its trained models ready to stop early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eebench.api import ExitRule, Task
from eebench.engine.model import Decision, EarlyExitModel, assemble
from eebench.errors import UserError, did_you_mean
from eebench.plugins.registry import Registry
from eebench.record import RunRecord, read_record
from eebench.runs.cell import Cell
from eebench.schema import BACKBONE, TABLES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Deployed", "finished_cell", "load", "read", "task_of"]


def read(run: str | Path) -> dict[str, pd.DataFrame]:
    """The tables of a finished run by name (see ``eebench.schema.TABLES``); nothing is computed.

    ``.attrs["path"]`` of each is the run directory, ``.attrs["failed"]`` the methods that failed, with their reasons.

    Raises:
        UserError: no run directory.
    """
    import pandas as pd

    path = Path(run)
    record = read_record(path)
    failed = {c.label: c.reason for c in record.cells if c.status == "failed"}
    frames = {name: pd.read_csv(path / f"{name}.csv") for name in TABLES if (path / f"{name}.csv").exists()}
    for frame in frames.values():
        frame.attrs |= {"path": str(path), "failed": failed}
    return frames


@dataclass(frozen=True)
class Deployed:
    """A trained method as a run measured it."""

    model: EarlyExitModel  # in eval mode, on the CPU
    rule: ExitRule
    knobs: dict[str, float]  # by operating point, as validation data chose them

    def __call__(self, samples: Sequence[Any], knob: float) -> Decision:
        """Answer some samples, stopping early at ``knob``: logits (B, K) and the exit of each.

        Args:
            samples: as the run's data set has them: texts, or image tensors (C, H, W) normalised as in training.
            knob: one of ``knobs``, one from ``eebench.runs.tune.tune``, or any other.
        """
        import torch

        device = next(self.model.parameters()).device
        inputs = self.model.backbone.prepare(samples)
        moved = {k: v.to(device) for k, v in inputs.items()} if isinstance(inputs, dict) else inputs.to(device)
        with torch.inference_mode():
            return self.model.dynamic(moved, self.rule, knob)


def load(
    run: str | Path, method: str, *, seed: int | None = None, plugins: Sequence[str | Path] | None = None
) -> Deployed:
    """A trained method of a finished run, ready to be called; the data set is not needed.

    Args:
        run: the run directory.
        method: its label in the run.
        seed: of the training; the run's first when not given.
        plugins: files with methods or backbones that are not installed.

    Raises:
        UserError: no such method or seed in the run, or its weights are not there.
    """
    import pandas as pd
    from safetensors.torch import load_model

    from eebench import backbones

    path = Path(run)
    record, cell = finished_cell(path, method, seed)
    if not cell.weights.exists():
        raise UserError(f"the weights of '{method}' are not in {cell.path}; run the benchmark here first")
    registry = Registry.installed([Path(p) for p in plugins or []])
    (chosen,) = registry.choose(method)
    task, data = task_of(record), record.data
    backbone = backbones.create(
        record.backbone.name,
        outputs=task.outputs,
        image_size=data.image_size,
        patch_size=data.patch_size,
        channels=data.channels,
        pool=(record.backbone.pool or "cls") if data.modality == "text" else "auto",
        max_length=record.backbone.max_tokens if data.modality == "text" else None,
        plugins=registry.files,
    )
    model = assemble(chosen.method, backbone, task)
    load_model(model, str(cell.weights))
    points = pd.read_csv(path / "operating_points.csv")
    mine = points[(points["method"] == method) & (points["seed"] == cell.seed) & (points["kind"] == "dynamic")]
    knobs = {target: float(knob) for target, knob in zip(mine["target"], mine["knob"], strict=True)}
    return Deployed(model.eval().requires_grad_(False), chosen.rule(task), knobs)


def finished_cell(run: Path, method: str, seed: int | None) -> tuple[RunRecord, Cell]:
    """The run's record, and the cell of a method that finished in it.

    Raises:
        UserError: no such method or seed.
    """
    record = read_record(run)
    labels = {cell.label for cell in record.cells if cell.status == "done" and cell.label != BACKBONE}
    if method not in labels:
        raise UserError(f"the run has no finished method '{method}'{did_you_mean(method, labels)}")
    cells = record.done(method)
    wanted = next(iter(cells)) if seed is None else seed
    if wanted not in cells:
        raise UserError(f"'{method}' was run with seeds {sorted(cells)}, not {wanted}")
    found = cells[wanted]
    assert found.id is not None
    return record, Cell(found.id, method, wanted, run / "cells" / found.id, found.seconds or 0.0, found.reused)


def task_of(record: RunRecord) -> Task:
    """The task a run was about."""
    task = record.data.task
    return Task(task.kind, task.classes, task.metric, tuple(task.labels))
