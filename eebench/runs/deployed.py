"""A trained model of a finished run, ready to answer raw samples: what was measured is what is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eebench import backbones
from eebench.api import Backbone, ExitRule
from eebench.data.preprocessing import Preprocessing
from eebench.discovery import Plugin
from eebench.engine.model import EarlyExitModel, assemble
from eebench.errors import UserError
from eebench.plugins.registry import Registry
from eebench.record import RunRecord
from eebench.rules import Thresholds
from eebench.runs.finished import finished_cell, task_of
from eebench.runs.plugged import missing, recorded
from eebench.schema import BACKBONE, STATIC

__all__ = ["ENCODER", "Answer", "Deployed", "backbone_of", "load"]

ENCODER = "encoder"
"""Folder of a text run with configuration and tokenizer of its encoder; its weights lie in the cells."""


@dataclass(frozen=True)
class Answer:
    """What a deployed model says of B samples, in their order."""

    labels: list[str]  # class names, or class numbers as text where the data set has none; empty for regression
    probabilities: Tensor  # (B, K); for regression the values, (B, 1)
    block: Tensor  # (B,) int64, the block behind which each sample stopped, counted from 1 as in the tables
    logits: Tensor  # (B, K)


@dataclass(frozen=True, repr=False)
class Deployed:
    """A trained method, static model or plain backbone as a run measured it."""

    label: str
    model: EarlyExitModel  # in eval mode, on the CPU
    rule: ExitRule | None  # None: nothing is decided, every sample runs to the end
    knobs: dict[str, float]  # by operating point, as validation data chose them
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        knobs = ", ".join(f"{target}={knob:g}" for target, knob in self.knobs.items())
        return f"<{self.label}: {len(self.model.blocks)} exits{f'; {knobs}' if knobs else ''}>"

    def __call__(
        self, samples: Any, knob: float | str | Sequence[float | None] | None = None, *, prepared: bool = False
    ) -> Answer:
        """Answer some samples.

        Args:
            samples: one or a list of them, raw: PIL images, arrays, file names or strings. They go through the very
                preprocessing that the run's data set went through.
            knob: where to stop: a number, or the name of an operating point (``drop_1``). None: the first one. A list:
                one threshold for each exit but the last, on the largest softmax probability whatever the method's own
                rule looks at, as ``eebench.tune`` with a budget solves them; None or infinity where nobody stops.
            prepared: the samples are what the network takes, as the run's data set yields them: tensors (C, H, W),
                normalised, or texts.

        Raises:
            UserError: samples that are no samples, no such operating point, or thresholds that do not fit the exits.
        """
        if knob is not None and not isinstance(knob, (str, int, float)):
            return replace(self, rule=self._thresholds(knob), knobs={})(samples, 0.0, prepared=prepared)
        inputs = self._inputs(samples, prepared)
        with torch.inference_mode():
            if self.rule is None:
                logits = self.model.backbone.plain(inputs)
                blocks = torch.full((len(logits),), self.model.blocks[-1])
            else:
                decision = self.model.dynamic(inputs, self.rule, self._knob(knob))
                logits = decision.logits
                blocks = torch.tensor(self.model.blocks)[decision.exit]
        regression = logits.shape[1] == 1
        probabilities = logits if regression else logits.softmax(1)
        said = [] if regression else [self._name(int(number)) for number in logits.argmax(1)]
        return Answer(said, probabilities, blocks, logits)

    def _thresholds(self, given: Sequence[float | None]) -> Thresholds:
        """A rule of one threshold an exit."""
        exits = len(self.model.blocks) - 1
        try:
            values = [math.inf if value is None else float(value) for value in given]
            if self.rule is None or len(values) != exits:
                raise UserError(
                    f"{self.label}: a list of thresholds has one for each of its {exits} exits before the last, "
                    f"not {len(values)}"
                )
            return Thresholds(values)
        except (TypeError, ValueError):
            raise UserError(f"{self.label}: thresholds must be numbers, or None where nobody stops") from None

    def _name(self, number: int) -> str:
        return self.labels[number] if self.labels else str(number)

    def _knob(self, knob: float | str | None) -> float:
        if knob is None:
            if not self.knobs:
                raise UserError(f"{self.label} has no operating point: give a knob")
            return next(iter(self.knobs.values()))
        if not isinstance(knob, str):
            return float(knob)
        if knob not in self.knobs:
            raise UserError(f"no operating point '{knob}'; there are {', '.join(self.knobs)}")
        return self.knobs[knob]

    def _inputs(self, samples: Any, prepared: bool) -> Any:
        if prepared:
            listed = samples if isinstance(samples, (list, tuple)) else list(samples)
        else:
            if self.preprocessing is None:
                raise UserError("this run does not say how raw samples are prepared: pass prepared=True and tensors")
            listed = self.preprocessing.apply(samples)
        if not listed:
            raise UserError("no samples")
        device = next(self.model.parameters()).device
        inputs = self.model.backbone.prepare(listed)
        return {k: v.to(device) for k, v in inputs.items()} if isinstance(inputs, dict) else inputs.to(device)


def load(
    run: str | Path,
    method: str,
    *,
    seed: int | None = None,
    plugins: Sequence[str | Path | type] | None = None,
    knob: Sequence[float | None] | None = None,
) -> Deployed:
    """A trained model of a finished run, ready to be called; the data set is not needed.

    Args:
        run: the run directory.
        method: its label in the run; ``backbone`` for the plain one, ``static[blocks=3]`` for a smaller model.
        seed: of the training; the run's first when not given.
        plugins: files with methods or backbones that are not installed, or such classes themselves; when not given,
            the files of the run, as far as they lie where they lay, unchanged.
        knob: thresholds, one for each exit but the last, in place of the method's own rule and operating points; see
            :meth:`Deployed.__call__`. What they do is then the operating point ``given``.

    Raises:
        UserError: no such method or seed in the run, no weights there, or thresholds that do not fit its exits.
    """
    import pandas as pd
    from safetensors.torch import load_model

    path = Path(run)
    record, cell = finished_cell(path, method, seed)
    if not cell.weights.exists():
        raise UserError(f"the weights of '{method}' are not in {cell.path}; run the benchmark here first")
    task = task_of(record)
    given: list[Plugin] = [Path(p) if isinstance(p, str) else p for p in plugins or []]
    stamps = record.spec.get("plugins", [])
    registry = Registry.installed(given or recorded(stamps))
    try:
        backbone = backbone_of(record, path, task.outputs, registry)
        chosen = None if _alone(method) else registry.choose(method)[0]
    except UserError as error:
        lacking = missing(stamps, [p for p in registry.plugins if isinstance(p, Path)])
        hint = f"; the run had {', '.join(lacking)}: give plugins=[...]" if lacking else ""
        raise UserError(f"{error}{hint}") from error
    rule: ExitRule | None = None
    knobs: dict[str, float] = {}
    if chosen is None:
        blocks = int(cell.facts["blocks"][-1])
        model = EarlyExitModel(backbone if blocks == record.backbone.depth else backbone.shorten(blocks), {})
    else:
        model, rule = assemble(chosen.method, backbone, task), chosen.rule(task)
        points = pd.read_csv(path / "operating_points.csv")
        mine = points[(points["method"] == method) & (points["seed"] == cell.seed) & (points["kind"] == "dynamic")]
        knobs = {target: float(knob) for target, knob in zip(mine["target"], mine["knob"], strict=True)}
    load_model(model, str(cell.weights))
    described = record.data.preprocessing
    preprocessing = None if described is None else Preprocessing.from_dict(described)
    labels = tuple(task.labels) or (preprocessing.labels if preprocessing else ())
    found = Deployed(method, model.eval().requires_grad_(False), rule, knobs, preprocessing, labels)
    return found if knob is None else replace(found, rule=found._thresholds(knob), knobs={"given": 0.0})


def _alone(method: str) -> bool:
    """Whether it is a model without exits."""
    return method == BACKBONE or method.startswith(f"{STATIC}[")


def backbone_of(record: RunRecord, path: Path, outputs: int, registry: Registry) -> Backbone:
    """A fresh backbone as the run in ``path`` had it."""
    data = record.data
    if (path / ENCODER).is_dir():
        from eebench.backbones.text import create_text

        facts = record.backbone
        folder, pool = str(path / ENCODER), facts.pool or "cls"
        return create_text(folder, outputs=outputs, max_tokens=facts.max_tokens, pool=pool, allow_random=True)
    return backbones.create(
        record.backbone.name,
        outputs=outputs,
        image_size=data.image_size,
        patch_size=data.patch_size,
        channels=data.channels,
        pool=(record.backbone.pool or "cls") if data.modality == "text" else "auto",
        max_length=record.backbone.max_tokens if data.modality == "text" else None,
        plugins=registry.plugins,
    )
