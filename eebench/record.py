"""``run.json`` as a model: written through it, read through it, so that both sides mean the same."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from eebench.errors import UserError
from eebench.schema import SCHEMA_VERSION

__all__ = [
    "BackboneFacts",
    "CellFacts",
    "DataFacts",
    "ImportFacts",
    "MacFacts",
    "RunRecord",
    "TaskFacts",
    "TimingFacts",
    "read_record",
]


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TaskFacts(_Facts):
    """What was predicted and how it was scored."""

    kind: Literal["classification", "regression"]
    classes: int
    metric: str
    labels: list[str] = []


class DataFacts(_Facts):
    """The data set and how it was split."""

    name: str
    modality: Literal["vision", "text"]
    task: TaskFacts
    n_train: int
    n_val: int
    n_test: int
    split_sha256: str
    content_sha256: str
    image_size: int | None
    patch_size: int | None
    channels: int
    notes: list[str] = []
    preprocessing: dict[str, Any] | None = None  # what a sample goes through before the model
    augment: str = "none"  # what is done to training samples at random
    official: list[str] = []  # splits (val, test) that the data set brought, rather than eebench made
    copies: dict[str, int] = {}  # samples left out as copies of another split's: {"train/test": 3, …}


class BackboneFacts(_Facts):
    """The plain backbone."""

    name: str
    depth: int
    pool: Literal["cls", "mean"] | None = None  # what exits and classifier read
    max_tokens: int | None = None  # text: longer ones were truncated
    params_m: float
    gmacs: float
    weights: str
    weights_sha256: str
    loaded: list[str] = []


class MacFacts(_Facts):
    """How multiply-accumulates were counted."""

    counter: str
    convention: str
    uncounted: dict[str, int] = {}


class CellFacts(_Facts):
    """What became of one cell: a method, a static model or the plain backbone on one seed."""

    id: str | None  # the name of its folder in the run's
    label: str
    method: str
    seed: int
    status: Literal["done", "failed", "skipped", "missing"]  # missing: of an unfinished run, not made yet
    reason: str | None = None
    seconds: float | None = None
    reused: bool = False
    params_m: float | None = None
    phases: list[dict[str, Any]] = []
    uncounted: dict[str, int] = {}
    blocks: list[int] = []
    dead_exits: list[int] = []  # blocks whose exit is not clearly better than the majority class on validation data
    live: dict[str, Any] | None = None  # live inference compared with the replay
    card: dict[str, Any] | None = None
    recipe: str | None = None  # whose recipe trained it
    search: dict[str, Any] | None = None  # trials, their seconds, what was chosen and its value beside the default's

    @field_validator("id")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        """A folder of the run's own, whoever wrote run.json: nothing is read from elsewhere."""
        if value is not None and (
            not value or value != PurePath(value).name or value.startswith(".") or not value.isprintable()
        ):
            raise ValueError("is no name of a cell's folder")
        return value


class TimingFacts(_Facts):
    """How it was while one seed was timed on one device."""

    seed: int
    device: Literal["cpu", "cuda"]
    threads: int
    basis: Literal["wall", "cpu"]  # whose time the speed-ups at batch 1 go by
    load_before: float | None
    load_after: float | None
    others_cores: list[float]  # cores that other processes used, a round each
    seconds: float
    rounds: int
    runtimes: list[str] = ["eager"]  # that were asked for


class ImportFacts(_Facts):
    """Where numbers come from that eebench did not measure itself: models that it never ran, costs as declared."""

    format_version: int
    by: str | None = None
    source: str | None = None  # in the words of whoever made them
    rules: dict[str, str] = {}  # method -> its exit rule, see eebench.runs.imported


class RunRecord(_Facts):
    """A whole run, apart from its tables."""

    schema_version: int = SCHEMA_VERSION
    protocol_version: int
    run: str
    command: str | None
    spec: dict[str, Any]
    spec_sha256: str
    started: str
    finished: str
    seconds: float
    environment: dict[str, Any]
    data: DataFacts
    backbone: BackboneFacts
    macs: MacFacts
    timing: list[TimingFacts] = []
    cells: list[CellFacts]
    notes: list[str] = Field(default_factory=list)  # what a reader of the results must know
    checksums: dict[str, str] = {}  # SHA-256 of tables, raw timings, manifests of cells and kept traces, by name
    imported: ImportFacts | None = None

    def done(self, label: str) -> dict[int, CellFacts]:
        """Finished cells of one label, by seed."""
        return {cell.seed: cell for cell in self.cells if cell.label == label and cell.status == "done"}


def read_record(run: Path) -> RunRecord:
    """The record of a run directory.

    Raises:
        UserError: no run.json, one that is damaged, or one of another schema version.
    """
    path = run / "run.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable JSON: {error}") from None
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version}; this eebench reads version {SCHEMA_VERSION}: run the benchmark"
            " again, or use the eebench that wrote it"
        )
    try:
        return RunRecord.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} is damaged: {where}: {first['msg']}") from None
