"""An exported model run by numpy and ONNX Runtime alone. No torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eebench.decisions import Step
from eebench.deploy.drive import Held, NumpyEngine, drive
from eebench.deploy.folder import Deployment, read
from eebench.deploy.samples import RESIZE, Images, Texts
from eebench.deploy.sessions import Opener, on_host
from eebench.errors import UserError, did_you_mean, shown
from eebench.raw import Raw

__all__ = ["Answer", "Exported", "Runner", "needs_of", "needs_of_graphs"]

PIXELS, IDS = "pixels", "ids"


@dataclass(frozen=True)
class Answer:
    """What a deployed model says of B samples, in their order."""

    labels: list[str]  # class names, or class numbers as text where there are none; empty for regression
    probabilities: np.ndarray  # (B, K); for regression the values, (B, 1)
    block: np.ndarray  # (B,) int64, the block behind which each sample stopped, counted from 1
    logits: np.ndarray  # (B, K)


class Exported:
    """What every runner of an exported folder has in common: samples in, operating points, answers out.

    Attributes:
        deployment: what the folder says of itself.
        folder: where it lies.
    """

    def __init__(self, folder: str | Path, format: str) -> None:
        self.folder = Path(folder)
        self.deployment: Deployment = read(folder)
        if self.deployment.format != format:
            other = "TorchRunner" if self.deployment.format == "torch" else "Runner"
            raise UserError(f"{shown(self.folder)} was exported as {self.deployment.format}: open it with {other}")
        self._step = _step_of(self.folder, self.deployment)
        self._inputs = self.deployment.segments[0].takes
        self._resize = np.load(self.folder / RESIZE) if (self.folder / RESIZE).exists() else None

    def __repr__(self) -> str:
        of = self.deployment
        return f"<{of.method}: {len(of.segments)} segments, {of.format}; {of.knob_name} = {of.knob}>"

    @property
    def blocks(self) -> np.ndarray:
        """(E,) block number of each exit."""
        return np.array(self.deployment.blocks)

    @property
    def knobs(self) -> dict[str, float]:
        """Knobs by operating point, as validation data chose them."""
        return dict(self.deployment.knobs)

    def __call__(self, samples: Any, knob: float | str | None = None, *, prepared: bool = False) -> Answer:
        """Answer some samples.

        Args:
            samples: one or a list of them, raw: PIL images, arrays, file names or strings. They go through the
                preprocessing that the run's own data went through.
            knob: where to stop: a number, or the name of an operating point. None: what was exported.
            prepared: the samples are a batch as the network takes it: an array (B, C, H, W), normalised, or the
                tokenizer's arrays by name.

        Raises:
            UserError: samples that are no samples, or no such operating point.
        """
        logits, exits = self.decide(samples if prepared else self.prepare(samples), knob)
        if self.deployment.regression:
            return Answer([], logits, self.blocks[exits], logits)
        shifted = np.exp(logits - logits.max(1, keepdims=True))
        names = self.deployment.labels
        said = [names[k] if names else str(k) for k in logits.argmax(1).tolist()]
        return Answer(said, shifted / shifted.sum(1, keepdims=True), self.blocks[exits], logits)

    def prepare(self, samples: Any) -> dict[str, np.ndarray]:
        """Raw samples as a batch by name.

        Raises:
            UserError: samples that are no samples.
        """
        of = self.deployment
        if of.preprocessing is None or (of.modality == "text" and of.text is None):
            raise UserError("this model does not say how raw samples are prepared: pass prepared=True and arrays")
        if of.modality == "text":
            raw = Raw.from_dict(of.preprocessing)
            return Texts(self.folder, raw, of.text or {}, {*self._inputs}).batch(samples)
        return {PIXELS: Images.from_dict(of.preprocessing).batch(samples, self._resize)}

    def decide(
        self,
        batch: np.ndarray | Mapping[str, np.ndarray],
        knob: float | str | None = None,
        *,
        ids: np.ndarray | None = None,
        wait: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits (B, K) and exits (B,), counted from 0, of a prepared batch.

        Args:
            batch: images (B, C, H, W), or arrays by name.
            knob: as of a call.
            ids: (B,) int64 names of the samples, for rules that draw random numbers; 0 to B - 1 when not given.
            wait: rows that stop stay in the batch until its last one stops.

        Raises:
            UserError: arrays of another shape, or no such operating point.
        """
        arrays = self._checked(batch)
        size = len(next(iter(arrays.values())))
        arrays[IDS] = np.arange(size) if ids is None else np.asarray(ids, dtype=np.int64)
        return self._drive(arrays, size, self._knob(knob), wait)

    def _drive(self, arrays: Held, size: int, knob: float, wait: bool) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def _knob(self, knob: float | str | None) -> float:
        of = self.deployment
        if of.rule is None:
            return 0.0
        if knob is None:
            return float(of.knob or 0.0)
        if not isinstance(knob, str):
            return float(knob)
        if knob not in of.knobs:
            raise UserError(f"no operating point '{knob}'{did_you_mean(knob, of.knobs)}")
        return of.knobs[knob]

    def _checked(self, batch: np.ndarray | Mapping[str, np.ndarray]) -> Held:
        given = dict(batch) if isinstance(batch, Mapping) else {PIXELS: batch}
        wanted = {name: expected for name, expected in self._inputs.items() if name != IDS}
        if "attention_mask" in wanted and "input_ids" in given:
            given.setdefault("attention_mask", np.ones_like(given["input_ids"]))
        found: Held = {}
        sizes: dict[int | str, int] = {}
        for name, (shape, kind) in wanted.items():
            if name not in given:
                raise UserError(f"the batch has no '{name}'; this model takes {', '.join(wanted)}")
            array = np.asarray(given[name])
            fits = array.ndim == len(shape) and all(
                size == sizes.setdefault(expected, size) if isinstance(expected, str) else size == expected
                for size, expected in zip(array.shape, shape, strict=True)
            )
            if not fits:
                raise UserError(f"'{name}' has shape {array.shape}; this model takes ({', '.join(map(str, shape))})")
            if array.dtype.kind not in "biuf" or not len(array):
                raise UserError(f"'{name}' holds {f'{array.dtype}, no numbers' if len(array) else 'no samples'}")
            found[name] = np.ascontiguousarray(array, dtype=kind)
        return found


class Runner(Exported, NumpyEngine):
    """An exported model in ONNX Runtime: ``Runner(folder)(samples)``.

    Args:
        folder: what ``eebench export --format onnx`` wrote.
        threads: that compute. 1: the caller's own. More: one pool for all segments. ONNX Runtime has one such pool a
            process, so that the first number above 1 holds for every runner after it, and sessions that other code
            opens from then on must have ``use_per_session_threads`` off.
        providers: ONNX Runtime's execution providers, in order of preference; the CPU when not given.
        bind: leave what one segment hands to the next on the device, and bring to the host what decides and what is
            answered. None: where the first provider is a GPU's. Rows that leave a batch are cut out on the host.

    Raises:
        UserError: no such folder, a file of it that is missing, cut or another's, no ONNX Runtime, or one that does not
            know the opset.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        threads: int = 1,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        bind: bool | None = None,
    ) -> None:
        super().__init__(folder, "onnx")
        of = self.deployment
        open_ = Opener(self.folder, of.opset, threads, providers, bind)
        self._segments = [open_(graph) for graph in of.segments]
        self._answers = [None if graph is None else open_(graph) for graph in of.answers]
        self.needs = needs_of(of)

    def _drive(self, arrays: Held, size: int, knob: float, wait: bool) -> tuple[np.ndarray, np.ndarray]:
        logits, exits = drive(self, len(self._segments), arrays, size, self._step, knob, wait=wait)
        return on_host(logits), exits

    def segment(self, position: int, held: Held) -> Held:
        """What a segment makes, by name."""
        return self._segments[position](held)

    def answer(self, position: int, held: Held) -> np.ndarray:
        """Logits of rows that stop at an exit that classifies only these."""
        session = self._answers[position]
        assert session is not None
        return on_host(session(held)["logits"])

    def take(self, array: Any, rows: np.ndarray) -> np.ndarray:
        """Some rows of an array, wherever it is; on the host."""
        return on_host(array)[rows]

    def host(self, array: Any) -> np.ndarray:
        """An array as numpy has it."""
        return on_host(array)

    def join(self, arrays: list[Any]) -> np.ndarray:
        """Arrays one behind the other, on the host."""
        return super().join([on_host(array) for array in arrays])


class _Takes(Protocol):
    """A graph, as far as its arguments go."""

    @property
    def takes(self) -> Mapping[str, Any]: ...


def needs_of(deployment: Deployment) -> list[frozenset[str]]:
    """By exit, the names that segments behind it read."""
    return needs_of_graphs(list(zip(deployment.segments, deployment.answers, strict=True)))


def needs_of_graphs(graphs: Sequence[tuple[_Takes, _Takes | None]]) -> list[frozenset[str]]:
    """The same of each exit's segment and the graph of its late classifier."""
    needs: list[frozenset[str]] = [frozenset()]
    for segment, answer in graphs[:0:-1]:
        needs.append(needs[-1] | {*segment.takes} | ({*answer.takes} if answer is not None else set()))
    return needs[::-1]


def _step_of(folder: Path, deployment: Deployment) -> Step:
    """What decides: data, or the folder's own Python file."""
    if deployment.rule is None:
        return _never
    decision = deployment.decision
    if decision is not None:
        return decision
    path = folder / deployment.rule["python"]
    spec = importlib.util.spec_from_file_location(f"eebench_exported_rule_{abs(hash(str(path)))}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.Rule().step
    except Exception as error:
        raise UserError(f"{shown(path)} cannot be loaded: {type(error).__name__}: {error}") from None


def _never(state: Held, seen: Held, knob: float) -> tuple[Any, Held]:
    raise AssertionError("a model of one segment decides nothing")
