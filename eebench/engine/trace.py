"""A trace: every exit's outputs for every sample of a split, computed once, stored small, replayed without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from eebench.api import ExitRule, Task
    from eebench.data.base import Split
    from eebench.engine.model import EarlyExitModel

__all__ = ["Trace", "collect"]


@dataclass(frozen=True)
class Trace:
    """What all exits said about a split: N samples, E exits (the last included), K classes."""

    blocks: tuple[int, ...]  # block number of each exit
    ids: np.ndarray  # (N,) positions in the split
    targets: np.ndarray  # (N,)
    prediction: np.ndarray  # (N, E) class index, or the value for regression
    confidence: np.ndarray  # (N, E) largest softmax probability; zeros for regression
    target_probability: np.ndarray  # (N, E) probability of the true class; zeros for regression
    nll: np.ndarray  # (N, E) task loss: cross-entropy in nats, or squared error
    brier: np.ndarray  # (N, E) sum over classes of (p - one-hot)^2; zeros for regression
    seen: dict[str, np.ndarray]  # the rule's observations, each (N, E - 1)
    logits: np.ndarray | None = None  # (E, N, K), on disk (memory-mapped) when loaded; None where not kept

    @property
    def correct(self) -> np.ndarray:
        """(N, E) bool."""
        return self.prediction == self.targets[:, None]

    def save(self, folder: Path, split: str) -> None:
        """Write ``trace-<split>.npz`` into ``folder``; logits are written by ``collect`` as they come."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        columns |= {f"seen_{name}": values for name, values in self.seen.items()}
        np.savez_compressed(folder / f"trace-{split}.npz", blocks=np.array(self.blocks), **columns)

    @classmethod
    def load(cls, folder: Path, split: str) -> Trace:
        """Read ``trace-<split>.npz``, and ``logits-<split>.npy`` if it is there; logits stay on disk until used."""
        with np.load(folder / f"trace-{split}.npz", allow_pickle=False) as file:
            columns = {name: file[name] for name in _COLUMNS}
            # exit by exit is how a replay reads them: keep every exit's column contiguous
            seen = {n.removeprefix("seen_"): np.asfortranarray(file[n]) for n in file.files if n.startswith("seen_")}
            blocks = tuple(int(b) for b in file["blocks"])
        path = folder / f"logits-{split}.npy"
        logits = np.load(path, mmap_mode="r", allow_pickle=False) if path.exists() else None
        return cls(blocks=blocks, seen=seen, logits=logits, **columns)


_COLUMNS = ("ids", "targets", "prediction", "confidence", "target_probability", "nll", "brier")


def collect(
    model: EarlyExitModel,
    rule: ExitRule,
    split: Split,
    task: Task,
    *,
    device: torch.device,
    batch_size: int = 64,
    logits_file: Path | None = None,
) -> Trace:
    """Run every exit on every sample, once, batch by batch.

    Memory: a few numbers a sample and exit. Logits are written to ``logits_file`` (a .npy of (E, N, K)) as they come,
    so that 50,000 samples x 12 exits x 1,000 classes (2.4 GB) never lie in memory; the trace maps the finished file.

    Raises:
        ValueError: an exit's logits are not (B, K).
    """
    import torch

    from eebench.data.base import batches
    from eebench.engine.features import lengths_of

    exits, samples = len(model.blocks), len(split)
    columns: dict[str, np.ndarray] = {
        name: np.zeros((samples, exits), dtype=np.float32)
        for name in ("prediction", "confidence", "target_probability", "nll", "brier")
    }
    if task.kind == "classification":
        columns["prediction"] = columns["prediction"].astype(np.int64)
    seen: dict[str, np.ndarray] = {}
    model.eval()
    with torch.inference_mode(), _logits_writer(logits_file, (exits, samples, task.outputs)) as keep:
        lengths = lengths_of(model.backbone, split)
        for batch in batches(split, model.backbone.prepare, batch_size, device=device, lengths=lengths):
            rows = batch.ids.cpu().numpy()
            answers = []
            for position, visit in enumerate(model.walk(batch.inputs)):
                answers.append(visit.logits)
                if answers[-1].shape != (len(batch.targets), task.outputs):
                    raise ValueError(
                        f"the exit behind block {visit.block} answers {tuple(answers[-1].shape)} for"
                        f" {len(batch.targets)} samples, it must be {(len(batch.targets), task.outputs)}"
                    )
                if position == exits - 1:
                    continue
                for name, values in rule.observe(visit.output, position, batch.ids).items():
                    array = values.cpu().numpy()
                    if name not in seen:
                        seen[name] = np.zeros((samples, exits - 1, *array.shape[1:]), dtype=array.dtype, order="F")
                    seen[name][rows, position] = array
            logits = torch.stack(answers).float()
            keep(rows, logits)
            for name, values in _facts(logits, batch.targets, task).items():
                columns[name][rows] = values.T.cpu().numpy()
    kept = None if logits_file is None else np.load(logits_file, mmap_mode="r", allow_pickle=False)
    return Trace(model.blocks, np.arange(samples), split.targets, seen=seen, logits=kept, **columns)


@contextmanager
def _logits_writer(
    path: Path | None, shape: tuple[int, int, int]
) -> Iterator[Callable[[np.ndarray, torch.Tensor], None]]:
    """``write(rows (B,), float32 logits (E, B, K))`` into a .npy of (E, N, K); nothing happens without a path.

    Plain writes rather than a writable memory map: pages written through a map count as the process's own memory.
    """
    if path is None:
        yield lambda *_: None
        return
    with path.open("wb") as file:
        kind = np.dtype(np.float32)
        descr = np.lib.format.dtype_to_descr(kind)
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
        start = file.tell()

        def write(rows: np.ndarray, logits: torch.Tensor) -> None:
            order = np.argsort(rows)
            runs = np.split(order, np.flatnonzero(np.diff(rows[order]) > 1) + 1)  # neighbours are written at once
            for number, of_exit in enumerate(logits.cpu().numpy()):
                for run in runs:
                    file.seek(start + (number * shape[1] + int(rows[run[0]])) * shape[2] * kind.itemsize)
                    file.write(of_exit[run].data)

        yield write


def _facts(logits: torch.Tensor, targets: torch.Tensor, task: Task) -> dict[str, torch.Tensor]:
    """The trace's columns, each (E, B), from all exits' logits (E, B, K) at once: many small operators are slow."""
    exits, samples, _ = logits.shape
    loss = task.loss(logits.flatten(0, 1), targets.repeat(exits)).view(exits, samples)
    if task.kind == "regression":
        return {"prediction": logits[..., 0], "nll": loss}
    p = logits.softmax(-1)
    confidence, prediction = p.max(-1)
    true = p.gather(-1, targets.expand(exits, samples)[..., None])[..., 0]
    brier = p.square().sum(-1) - 2 * true + 1
    return {"prediction": prediction, "confidence": confidence, "target_probability": true, "nll": loss, "brier": brier}
