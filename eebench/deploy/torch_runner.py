"""An exported model run by torch: its segments as ``torch.export`` programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eebench.deploy.drive import Held, drive
from eebench.deploy.folder import GraphFile
from eebench.deploy.runner import Exported, needs_of
from eebench.errors import UserError, shown

__all__ = ["TensorEngine", "TorchRunner"]


class TensorEngine:
    """The array part of an engine that computes on tensors."""

    def take(self, array: Tensor, rows: np.ndarray) -> Tensor:
        """Some rows of a tensor."""
        return array.index_select(0, torch.from_numpy(rows).to(array.device, non_blocking=True))

    def host(self, array: Tensor) -> np.ndarray:
        """As numpy has it, which on the CPU shares the tensor's memory."""
        return array.numpy(force=True)

    def join(self, arrays: list[Tensor]) -> Tensor:
        """Tensors one behind the other."""
        return arrays[0] if len(arrays) == 1 else torch.cat(arrays)


class TorchRunner(Exported, TensorEngine):
    """An exported model in torch: ``TorchRunner(folder)(samples)``.

    Args:
        folder: what ``eebench export --format torch`` wrote.

    Raises:
        UserError: no such folder, or a file of it that is missing, cut or another's.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, "torch")
        of = self.deployment
        self._segments = [_Program(self.folder, graph) for graph in of.segments]
        self._answers = [None if graph is None else _Program(self.folder, graph) for graph in of.answers]
        self.needs = needs_of(of)

    def _drive(self, arrays: Held, size: int, knob: float, wait: bool) -> tuple[np.ndarray, np.ndarray]:
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        with torch.inference_mode():
            logits, exits = drive(self, len(self._segments), tensors, size, self._step, knob, wait=wait)
        return logits.numpy(), exits

    def segment(self, position: int, held: Held) -> Held:
        """What a segment makes, by name."""
        return self._segments[position](held)

    def answer(self, position: int, held: Held) -> Tensor:
        """Logits of rows that stop at an exit that classifies only these."""
        program = self._answers[position]
        assert program is not None
        return program(held)["logits"]


class _Program:
    """One graph, opened."""

    def __init__(self, folder: Path, graph: GraphFile) -> None:
        path = folder / graph.file
        try:
            self._run = torch.export.load(path).module()
        except Exception as error:  # whatever a file of another version of torch makes it raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{shown(path)} cannot be opened by torch {torch.__version__}: {reason}") from None
        self._takes, self._gives = tuple(graph.takes), tuple(graph.gives)

    def __call__(self, held: Held) -> Held:
        return dict(zip(self._gives, self._run(*(held[name] for name in self._takes)), strict=True))
