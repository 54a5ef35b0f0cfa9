"""The frozen description of a run: what is compared, on what, with which budget. Its hash names the run."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from eebench.errors import UserError
from eebench.schema import PROTOCOL_VERSION
from eebench.targets import Target

__all__ = ["BUDGETS", "NOT_IN_A_CELL", "Budget", "RunSpec", "make_spec"]


NOT_IN_A_CELL = frozenset(
    "plugins methods match_exits seeds thresholds targets choose level static search device"
    " latency_batch_sizes latency_samples latency_seconds energy shift slowdown".split()
)
"""Fields of a spec that no trained cell depends on: what is replayed, chosen and timed, not what is trained."""


class Budget(BaseModel):
    """How long to train. Every method gets the same number of passes over the data (``paper``: its own recipe).

    Passes are ``samples / training samples``, kept within [min_epochs, max_epochs].
    """

    model_config = ConfigDict(frozen=True)

    scratch: int  # samples seen by a backbone that starts from nothing
    pretrained: int  # samples seen by a backbone that starts from pre-trained weights
    method: float = 0.5  # a method's passes as a share of the backbone's
    min_epochs: int = 1
    max_epochs: int = 100
    max_samples: int | None = None  # use at most this many training samples (smoke: does it run?)
    warning: str = ""

    def epochs(self, samples: int, *, pretrained: bool) -> int:
        """Passes over ``samples`` training samples for the backbone."""
        wanted = round((self.pretrained if pretrained else self.scratch) / samples)
        return min(max(wanted, self.min_epochs), self.max_epochs)

    def method_epochs(self, samples: int, *, pretrained: bool) -> int:
        """Passes for every method, whatever its phases."""
        share = 1.0 if pretrained else self.method
        return max(self.min_epochs, round(share * self.epochs(samples, pretrained=pretrained)))


BUDGETS = {
    "smoke": Budget(
        scratch=128,
        pretrained=128,
        method=1.0,
        max_epochs=1,
        max_samples=128,
        warning="budget smoke trains on 128 samples for one epoch: it shows that everything runs, never who is better",
    ),
    "quick": Budget(scratch=66_000, pretrained=16_000, min_epochs=2, max_epochs=40),
    "standard": Budget(scratch=480_000, pretrained=160_000, min_epochs=10),
    "paper": Budget(scratch=480_000, pretrained=160_000, min_epochs=10),
    "none": Budget(
        scratch=0,
        pretrained=0,
        min_epochs=0,
        max_epochs=0,
        warning="budget none trains nothing: published weights are evaluated as they are, beside no static model",
    ),
}


def _said(default: Any, description: str, **bounds: Any) -> Any:
    """A field with its meaning, which is its help on the command line and its description in the JSON schema."""
    return Field(default, description=description, **bounds)


class RunSpec(BaseModel):
    """One run. Everything that changes a result is in here; where it is written is not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[str, ...] = _said(("all",), "Methods, with options: pabee[patience=3], lgvit.")
    backbone: str = _said("vit_micro", "See 'eebench list backbones'.", min_length=1)
    dataset: str = _said("mnist5k", "See 'eebench list datasets'.", min_length=1)
    seeds: tuple[int, ...] = _said((0,), "Training seeds.")
    budget: Literal["smoke", "quick", "standard", "paper", "none"] = _said("quick", "How long everything trains.")
    weights: str = _said(
        "none",
        "none, timm, a .safetensors file or state dict, or METHOD:FILE as its authors published it.",
        min_length=1,
    )
    data_dir: str | None = _said(None, "Where the data set lies.")
    target: str | None = _said(None, "A numeric CSV column to predict instead of 'label'.")
    augment: Literal["none", "shift", "crop", "crop+mirror", "randaugment"] | None = _said(
        None, "What is done to training images at random, instead of the data set's default."
    )
    limit: int | None = _said(None, "Most training samples: a fixed choice, class by class.", ge=2)
    image_size: int | None = _said(None, "Side of the input image in pixels.", gt=0, le=2048)
    patch_size: int | None = _said(None, "Side of a patch in pixels.", gt=0, le=2048)
    pool: Literal["auto", "cls", "mean"] = _said(
        "auto", "Text: what exits and classifier read: cls, mean, or what the checkpoint says (auto)."
    )
    max_length: int | None = _said(
        None, "Text: truncate to this many tokens instead of as many as the backbone takes.", gt=0
    )
    thresholds: tuple[float, ...] | None = _said(
        None, "Knob values to replay instead of each rule's own grid (not for whole-number knobs)."
    )
    match_exits: tuple[int, ...] | None = _said(
        None, "Blocks behind which every method gets its exits, as far as it can be told."
    )
    targets: tuple[str, ...] | None = _said(
        None,
        "What knobs are chosen for: drop_1 (points), macs_50 (per cent), ms_2.5; by default those that the validation "
        "data can resolve.",
    )
    choose: Literal["upper", "naive"] = _said(
        "upper", "How a drop is judged: upper (its upper confidence bound) or naive (the drop seen)."
    )
    level: float = _said(0.9, "Confidence of that bound.", gt=0.5, lt=1)
    static: tuple[float, ...] = _said((0.25, 0.5, 0.75, 1.0), "Depths of the smaller static models, as shares.")
    lr: float | None = _said(None, "Learning rate, instead of the default for the width.", gt=0, allow_inf_nan=False)
    batch_size: int | None = _said(None, "Training batch size.", gt=0, le=1_000_000)
    epochs: int | None = _said(None, "Passes over the data, instead of the budget's.", gt=0, le=100_000)
    search: int | None = _said(
        None,
        "Trials a method of rates and loss weights, chosen on validation data (eebench[search]).",
        gt=0,
        le=100_000,
    )
    device: str = _said("auto", "auto, cpu or cuda.")
    threads: int | None = _said(None, "CPU threads; recorded.", gt=0, le=1024)
    latency_batch_sizes: tuple[int, ...] = _said((1,), "Batch sizes to time.")
    latency_samples: int | None = _said(None, "Test samples to time.", gt=0, le=1_000_000)
    latency_seconds: float | None = _said(
        None, "How long rounds of timing may go on while results are noisy.", ge=0, allow_inf_nan=False
    )
    plugins: tuple[str, ...] = _said(
        (),
        "Filled in by the run: files and classes that brought what no installed package has, and their hashes.",
    )
    energy: bool = _said(False, "Joules a sample as well (NVIDIA GPU, eebench[energy]).")
    shift: bool = _said(False, "Read operating points under corruptions of the test split as well: images, or typos.")
    slowdown: bool = _said(False, "Probe methods with noise that pushes samples to late exits as well (images).")

    @field_validator("data_dir", "dataset", "backbone", "weights", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @field_validator(
        "methods", "seeds", "latency_batch_sizes", "thresholds", "targets", "static", "match_exits", mode="before"
    )
    @classmethod
    def _one(cls, value: Any) -> Any:
        """A single value stands for a list of one; methods may come as on the command line, ``"pabee,lgvit"``."""
        return (value,) if isinstance(value, (str, int, float)) else value

    @field_validator("seeds", "methods", "latency_batch_sizes", "thresholds", "targets", "match_exits")
    @classmethod
    def _not_empty(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if value is not None and not value:
            raise ValueError("must not be empty")
        if value is not None and len(set(value)) < len(value):
            raise ValueError("names something twice")
        return value

    @field_validator("seeds")
    @classmethod
    def _not_negative(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 0:
            raise ValueError("must not be negative")
        if max(value) >= 2**63:
            raise ValueError("must be below 2^63")
        return value

    @field_validator("latency_batch_sizes", "match_exits")
    @classmethod
    def _positive(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and min(value) < 1:
            raise ValueError("must be at least 1")
        return value

    @field_validator("thresholds")
    @classmethod
    def _finite(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and not all(map(math.isfinite, value)):
            raise ValueError("must be finite numbers")
        return value

    @field_validator("targets")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else tuple(Target.parse(name).name for name in value)

    @field_validator("static")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share <= 1 for share in value):
            raise ValueError("must be shares of the depth above 0 and up to 1")
        return tuple(sorted(set(value)))

    def static_blocks(self, depth: int) -> list[int]:
        """How many blocks the static models have, ascending."""
        return sorted({max(1, math.floor(share * depth + 0.5)) for share in self.static})

    @property
    def sha256(self) -> str:
        """Fingerprint of the spec and of the protocol it was run under."""
        text = json.dumps([PROTOCOL_VERSION, self.model_dump(mode="json")], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def run_name(self) -> str:
        """Folder name of the run: readable first, then the hash that makes it unique."""
        clean = [part.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1] for part in (self.dataset, self.backbone)]
        words = "-".join([*(re.sub(r"[^\w.+=-]", "-", part)[:60] for part in clean), self.budget])
        return f"{words}-{self.sha256[:8]}"


def make_spec(**values: Any) -> RunSpec:
    """A RunSpec from typed values; the first thing wrong becomes a one-line UserError."""
    try:
        return RunSpec(**{k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = first["loc"][0] if first["loc"] else "spec"
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"--{str(where).replace('_', '-')}: {reason} (got {first['input']!r})") from None
