"""Arrays of one imported model on one split, checked and turned into what eebench scores: a trace and its costs."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import log_softmax

from eebench.api import ExitOutput, ExitRule
from eebench.engine.trace import Trace
from eebench.errors import UserError, did_you_mean
from eebench.exchange.card import Card, ModelCard, TaskCard
from eebench.measure import calibration
from eebench.measure.costs import Costs
from eebench.runs.imported import FARTHEST

__all__ = ["COSTS", "Arrays", "read_split"]

COSTS = ("macs", "macs_backbone", "macs_heads", "macs_gates", "macs_fixed")
_SAMPLES = ("ids", "targets", "logits", "predictions", "confidences", "target_probability", "nll", "brier", "scores")
_KNOWN = (*_SAMPLES, *COSTS, "macs_plain")
CLOSE = 1e-3  # a confidence beside logits may differ so much: half precision, another library


@dataclass(frozen=True)
class Arrays:
    """One model on one split, and what of it was not declared."""

    trace: Trace
    costs: Costs
    logits: np.ndarray | None  # (E, N, K) float32
    parts: bool  # whether the shares of backbone, heads and gates are known
    fixed: bool  # whether the cost of an exit alone is known
    probabilities: bool  # whether the probability of the true class is known


def read_split(folder: Path, split: str, card: Card, model: ModelCard, rule: ExitRule | None) -> Arrays:
    """Read ``<split>.npz`` of a model.

    Args:
        folder: of the card.
        split: ``val`` or ``test``.
        card: what the arrays are about.
        model: which model.
        rule: its exit rule; None where nothing is decided.

    Raises:
        UserError: no such file, no npz, arrays that lack, contradict each other or the card, or hold no numbers.
    """
    path = folder / model.folder / f"{split}.npz"
    return _Reader(path, _load(path), card, model).read(rule)


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(f"there is no {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is no npz of plain arrays: {error}") from None
    for name in found:
        if name not in _KNOWN and not name.startswith("seen_"):
            raise UserError(f"{path} holds '{name}', which the format does not know{did_you_mean(name, _KNOWN)}")
    return found


class _Reader:
    """One file being read: everything that can be wrong with it is found here, before anything is written."""

    def __init__(self, path: Path, arrays: dict[str, np.ndarray], card: Card, model: ModelCard) -> None:
        self.path, self.arrays, self.card, self.model = path, arrays, card, model
        self.task: TaskCard = card.task
        self.exits = len(model.blocks)
        if "targets" not in arrays:
            raise self.wrong("lacks 'targets'")
        self.samples = len(arrays["targets"]) if arrays["targets"].ndim == 1 else -1
        if self.samples < 2:
            raise self.wrong("'targets' must be one number a sample, of at least 2 samples")

    def wrong(self, what: str) -> UserError:
        return UserError(f"{self.path}: {what}")

    def array(self, name: str, *shape: int) -> np.ndarray:
        """One array of numbers, all finite, of this shape (-1: any)."""
        values = self.arrays[name]
        if values.dtype.kind not in "fiub":
            raise self.wrong(f"'{name}' holds {values.dtype}, not numbers")
        wanted = "x".join("?" if n < 0 else str(n) for n in shape)
        if values.ndim != len(shape) or any(n >= 0 and n != m for n, m in zip(shape, values.shape, strict=True)):
            got = "x".join(map(str, values.shape))
            raise self.wrong(f"'{name}' is {got}, it must be {wanted} (samples, exits, classes)")
        if not np.isfinite(values).all():
            raise self.wrong(f"'{name}' holds {int((~np.isfinite(values)).sum())} values that are no finite numbers")
        return values

    def read(self, rule: ExitRule | None) -> Arrays:
        targets, ids = self._targets(), self._ids()
        logits = self._logits()
        columns = self._regression() if self.task.kind == "regression" else self._answers(logits, targets)
        costs, parts, fixed = self._costs()
        seen = {} if rule is None else self._seen(rule, logits, columns, ids)
        kept = None if logits is None else np.ascontiguousarray(logits.transpose(1, 0, 2))
        known = not np.isnan(columns["target_probability"]).any()
        trace = Trace(tuple(self.model.blocks), ids, targets, seen=seen, logits=kept, **columns)
        return Arrays(trace, costs, kept, parts, fixed, known)

    def _targets(self) -> np.ndarray:
        targets = self.array("targets", self.samples)
        if self.task.kind == "regression":
            return targets.astype(np.float32)
        return self._classes("targets", targets)

    def _classes(self, name: str, values: np.ndarray) -> np.ndarray:
        if values.dtype.kind == "f" and (values != np.round(values)).any():
            raise self.wrong(f"'{name}' must be class numbers")
        if values.min() < 0 or values.max() >= self.task.classes:
            odd = int(values.max()) if values.max() >= self.task.classes else int(values.min())
            raise self.wrong(f"'{name}' names class {odd}; the card has {self.task.classes} classes, from 0")
        return values.astype(np.int64)

    def _ids(self) -> np.ndarray:
        if "ids" not in self.arrays:
            return np.arange(self.samples)
        ids = self.array("ids", self.samples)
        if ids.dtype.kind not in "iu":
            raise self.wrong("'ids' must be whole numbers")
        if len(np.unique(ids)) < self.samples:
            raise self.wrong("'ids' names a sample twice")
        return ids.astype(np.int64)

    def _logits(self) -> np.ndarray | None:
        if "logits" not in self.arrays:
            return None
        width = 1 if self.task.kind == "regression" else self.task.classes
        return self.array("logits", self.samples, self.exits, width).astype(np.float32)

    def _regression(self) -> dict[str, np.ndarray]:
        if "predictions" in self.arrays:
            said = self.array("predictions", self.samples, self.exits).astype(np.float32)
        elif "logits" in self.arrays:
            said = self.array("logits", self.samples, self.exits, 1)[..., 0].astype(np.float32)
        else:
            raise self.wrong("lacks 'predictions'")
        loss = (said - self._targets()[:, None]) ** 2
        empty = np.zeros_like(said)
        return {"prediction": said, "nll": loss, "confidence": empty, "target_probability": empty, "brier": empty}

    def _answers(self, logits: np.ndarray | None, targets: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of a trace: worked out from logits, or as they were given."""
        shape = (self.samples, self.exits)
        if logits is None and not {"predictions", "confidences"} <= self.arrays.keys():
            raise self.wrong("holds neither 'logits' nor both 'predictions' and 'confidences'")
        found: dict[str, np.ndarray] = {}
        if logits is not None:
            by_exit = [_facts(logits[:, e], targets) for e in range(self.exits)]  # a whole split's would be large
            found = {name: np.stack([facts[name] for facts in by_exit], 1) for name in by_exit[0]}
        if "predictions" in self.arrays:
            said = self._classes("predictions", self.array("predictions", *shape))
            if logits is not None and (said != found["prediction"]).any():
                ties = np.take_along_axis(logits, said[..., None], 2)[..., 0] >= logits.max(-1) - CLOSE
                if not ties.all():
                    raise self.wrong("'predictions' are not the largest 'logits'")
            found["prediction"] = said
        for name, column, most in (
            ("confidences", "confidence", 1.0),
            ("target_probability", "target_probability", 1.0),
            ("nll", "nll", np.inf),
            ("brier", "brier", 2.0),
        ):
            if name in self.arrays:
                found[column] = self._between(name, most, found.get(column))
        for name in ("target_probability", "nll", "brier"):
            found.setdefault(name, np.full(shape, np.nan))
        kinds = {"prediction": np.int64}
        return {name: values.astype(kinds.get(name, np.float32)) for name, values in found.items()}

    def _between(self, name: str, most: float, worked_out: np.ndarray | None) -> np.ndarray:
        values = self.array(name, self.samples, self.exits)
        if values.min() < -1e-6 or values.max() > most + 1e-5:
            raise self.wrong(f"'{name}' must lie in [0, {most:g}], it goes from {values.min():g} to {values.max():g}")
        if worked_out is not None and np.abs(values - worked_out).max() > CLOSE * max(1.0, np.abs(worked_out).max()):
            raise self.wrong(f"'{name}' are not what the 'logits' say")
        return values

    def _costs(self) -> tuple[Costs, bool, bool]:
        """MACs per exit, (1, E) from the card or (N, E) from the file; whether parts and fixed costs are known."""
        found = {name: self._cost(name) for name in COSTS}
        total = found.pop("macs")
        backbone, heads, gates, fixed = found.values()
        given = [part for part in (backbone, heads, gates) if part is not None]
        if total is None and len(given) == 3:
            total = np.sum(given, axis=0)
        if total is None:
            raise self.wrong("no 'macs', neither here nor in the card: the cost of stopping at each exit")
        if (total <= 0).any():
            raise self.wrong("'macs' must be above 0")
        falls = np.flatnonzero((np.diff(total, axis=1) < 0).any(0))
        if len(falls):
            blocks = self.model.blocks[falls[0] : falls[0] + 2]
            raise self.wrong(f"'macs' fall from the exit behind block {blocks[0]} to that behind block {blocks[1]}")
        parts = len(given) == 3
        if parts and not np.allclose(np.sum(given, axis=0), total, rtol=1e-6):
            raise self.wrong("'macs_backbone', 'macs_heads' and 'macs_gates' do not add up to 'macs'")
        nothing = np.zeros_like(total)
        shares = given if parts else [total, nothing, nothing]
        plain = np.full((len(total), 1), self.card.backbone.macs)
        if "macs_plain" in self.arrays:
            plain = self.array("macs_plain", self.samples)[:, None].astype(np.float64)
        if self.model.plain:
            plain = total
        columns = [*shares, total if fixed is None else fixed, plain]
        rows = max(map(len, columns))
        spread = [np.broadcast_to(column, (rows, column.shape[1])) for column in columns]
        return Costs(*map(np.array, spread)), parts, fixed is not None

    def _cost(self, name: str) -> np.ndarray | None:
        declared = getattr(self.model, name)
        if name in self.arrays:
            if declared is not None:
                raise self.wrong(f"'{name}' is both here and in the card")
            values = self.array(name, self.samples, self.exits).astype(np.float64)
        elif declared is not None:
            values = np.array(declared, dtype=np.float64)[None]
        else:
            return None
        if not np.isfinite(values).all() or (values < 0).any():
            raise self.wrong(f"'{name}' must be numbers of at least 0")
        return values

    def _seen(
        self, rule: ExitRule, logits: np.ndarray | None, columns: dict[str, np.ndarray], ids: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What the rule looks at, (N, E - 1): brought along, or worked out from logits by the rule itself."""
        inner = self.exits - 1
        own = {name.removeprefix("seen_"): name for name in self.arrays if name.startswith("seen_")}
        if own:
            found = {}
            for short, name in own.items():
                extra = self.arrays[name].shape[2:]
                found[short] = np.asfortranarray(self.array(name, self.samples, inner, *extra))
            return found
        if self.model.rule == "scores":
            if "scores" not in self.arrays:
                raise self.wrong("rule 'scores' needs an array 'scores', one number a sample and exit but the last")
            scores = self.array("scores", self.samples, inner)
            if np.abs(scores).max() >= FARTHEST:
                raise self.wrong(f"'scores' must lie between {-FARTHEST:g} and {FARTHEST:g}")
            return {"score": np.asfortranarray(scores)}
        if logits is None:
            if self.model.rule == "confidence":
                return {"score": np.asfortranarray(columns["confidence"][:, :-1])}
            raise self.wrong(f"rule '{self.model.rule}' needs 'logits', or what it looks at as arrays 'seen_<name>'")
        return _observed(self, rule, logits, ids)


def _facts(logits: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of a trace at one exit, each (N,), from its logits (N, K)."""
    rows = np.arange(len(targets))
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    p = np.exp(log_p)
    return {
        "prediction": logits.argmax(1),
        "confidence": p.max(1),
        "target_probability": p[rows, targets],
        "nll": -log_p[rows, targets],
        "brier": calibration.brier_per_sample(p, targets),
    }


def _observed(reader: _Reader, rule: ExitRule, logits: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    import torch

    found: dict[str, list[np.ndarray]] = {}
    rows = torch.from_numpy(ids)
    try:
        for e in range(logits.shape[1] - 1):
            output = ExitOutput(logits=torch.from_numpy(np.ascontiguousarray(logits[:, e])))
            for name, values in rule.observe(output, e, rows).items():
                found.setdefault(name, []).append(values.numpy())
    except (AssertionError, AttributeError, TypeError, ValueError, RuntimeError):
        raise reader.wrong(
            f"the rule of '{reader.model.method}' looks at more than logits:"
            " add what it looks at as arrays 'seen_<name>'"
        ) from None
    return {name: np.asfortranarray(np.stack(values, 1)) for name, values in found.items()}
