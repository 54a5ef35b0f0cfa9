"""The card of a folder of predictions, what its arrays are about: format ``eebench-predictions``, version 1."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from eebench.errors import UserError
from eebench.files import read_json
from eebench.schema import BACKBONE, STATIC, static_label

__all__ = ["CARD", "FORMAT", "VERSION", "BackboneCard", "Card", "DataCard", "ModelCard", "TaskCard", "read_card"]

FORMAT, VERSION, CARD = "eebench-predictions", 1, "card.json"
LABEL = re.compile(r"[A-Za-z][\w.+\-]*(\[[^\[\]]+\])?")
CLASSIFY, REGRESS = ("accuracy", "mcc", "f1", "accuracy_f1"), ("pearson_spearman",)


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskCard(_Card):
    """What is predicted and how it is scored."""

    kind: Literal["classification", "regression"] = "classification"
    classes: int = Field(ge=1)
    metric: Literal["accuracy", "mcc", "f1", "accuracy_f1", "pearson_spearman"] = "accuracy"
    labels: list[str] = []

    @model_validator(mode="after")
    def _fits(self) -> TaskCard:
        if self.metric not in (REGRESS if self.kind == "regression" else CLASSIFY):
            raise ValueError(f"metric {self.metric} does not score {self.kind}")
        if self.classes < (1 if self.kind == "regression" else 2):
            raise ValueError("a classification needs at least 2 classes")
        if self.labels and len(self.labels) != self.classes:
            raise ValueError(f"{len(self.labels)} labels for {self.classes} classes")
        return self


class DataCard(_Card):
    """The samples: ``split_sha256`` where they are those of an eebench split, which makes runs comparable."""

    name: str = Field(min_length=1)
    modality: Literal["vision", "text"] = "vision"
    split_sha256: str | None = None
    content_sha256: str | None = None
    n_train: int | None = None


class BackboneCard(_Card):
    """The network without exits."""

    name: str = Field(min_length=1)
    depth: int = Field(ge=1)
    macs: float = Field(gt=0, allow_inf_nan=False)  # multiply-accumulates a sample (a mean, for text)
    params: int | None = Field(None, ge=0)
    weights: str = "unknown"
    weights_sha256: str = ""


class ModelCard(_Card):
    """One trained model: its arrays are ``<folder>/val.npz`` and ``<folder>/test.npz``.

    ``macs`` is what a sample costs that stops at each exit, everything on the way charged, in multiply-accumulates; the
    three parts, and what an exit costs alone (``macs_fixed``), where they are known. Costs that differ from sample to
    sample are arrays of the same names in the npz, (N, E), and are left out here.
    """

    method: str
    seed: int = Field(0, ge=0)
    folder: str = "."
    blocks: list[int] = Field(min_length=1)  # block behind which each exit sits, the last one included
    macs: list[float] | None = None
    macs_backbone: list[float] | None = None
    macs_heads: list[float] | None = None
    macs_gates: list[float] | None = None
    macs_fixed: list[float] | None = None
    params: int | None = Field(None, ge=0)
    params_exits: list[int] | None = None
    rule: str = "confidence"  # confidence, entropy, margin, scores, or method: the rule of the installed method
    title: str | None = None
    paper: str | None = None
    link: str | None = None
    sees_validation: bool = False  # training has looked at the validation samples

    @field_validator("method")
    @classmethod
    def _named(cls, value: str) -> str:
        if not LABEL.fullmatch(value):
            raise ValueError("write a name, or name[key=value]")
        return value

    @field_validator("folder")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = Path(value)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("must lie inside the folder of the card")
        return value

    @property
    def plain(self) -> bool:
        """Whether this is a network without exits: the plain backbone, or a static model."""
        return self.method == BACKBONE or self.method.startswith(f"{STATIC}[")

    @model_validator(mode="after")
    def _fits(self) -> ModelCard:
        exits = len(self.blocks)
        if self.blocks != sorted(set(self.blocks)) or self.blocks[0] < 1:
            raise ValueError(f"blocks must ascend from 1 up, not {self.blocks}")
        if self.plain and exits != 1:
            raise ValueError(f"{self.method} has one exit, the last")
        if not self.plain and exits < 2:
            raise ValueError("a method has at least two exits, the last included")
        if self.method.startswith(f"{STATIC}[") and self.method != static_label(self.blocks[0]):
            raise ValueError(f"write {static_label(self.blocks[0])} for a static model of {self.blocks[0]} blocks")
        for name in ("macs", "macs_backbone", "macs_heads", "macs_gates", "macs_fixed", "params_exits"):
            values = getattr(self, name)
            if values is not None and len(values) != exits:
                raise ValueError(f"{name} has {len(values)} numbers for {exits} exits")
        return self


class Card(_Card):
    """The whole folder."""

    format: Literal["eebench-predictions"]
    version: int
    by: str | None = None
    source: str | None = None  # where the numbers come from, in a sentence
    counter: str | None = None  # what counted the MACs
    task: TaskCard
    data: DataCard
    backbone: BackboneCard
    models: list[ModelCard] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Card:
        seen: set[tuple[str, int]] = set()
        for model in self.models:
            key = (model.method, model.seed)
            if key in seen:
                raise ValueError(f"{model.method} seed {model.seed} is there twice")
            seen.add(key)
            deepest = model.blocks[-1]
            if deepest > self.backbone.depth or (not model.plain and deepest != self.backbone.depth):
                raise ValueError(f"{model.method}: its last exit is behind block {deepest} of {self.backbone.depth}")
        if all(model.plain for model in self.models):
            raise ValueError("there is no early-exit method among the models")
        return self


def read_card(folder: Path) -> Card:
    """The card of a folder.

    Raises:
        UserError: no folder, no card, another format or version, or something in it that is wrong.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    path = folder / CARD
    if not path.is_file():
        raise UserError(f"{folder} holds no {CARD}: it is no folder of predictions")
    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(f'{path} is no card of predictions: it must say "format": "{FORMAT}"')
    if values.get("version") != VERSION:
        raise UserError(f"{path} has version {values.get('version')}; this eebench reads version {VERSION}")
    try:
        return Card.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {where + ': ' if where else ''}{reason}") from None
