"""What inference holds in memory: every tensor of one sample's way through the network, counted exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from eebench.api import ExitRule, Inputs
from eebench.data.base import Data
from eebench.engine.features import lengths_of
from eebench.engine.model import EarlyExitModel

__all__ = ["inference_bytes", "live_bytes", "state_bytes"]


def inference_bytes(model: EarlyExitModel, rule: ExitRule, data: Data) -> int:
    """Parameters and buffers, and the most that tensors take at once while one sample never stops early.

    Going on to the last exit, every exit being asked on the way, is what memory must suffice for whatever the knob. A
    text is the longest of the test split. Workspaces inside an operator are not seen.
    """
    lengths = lengths_of(model.backbone, data.test)
    row = 0 if lengths is None else int(lengths.argmax())
    device = next(model.parameters()).device
    inputs = model.backbone.prepare([data.test.inputs[row]])
    moved = {k: v.to(device) for k, v in inputs.items()} if isinstance(inputs, dict) else inputs.to(device)
    knob = rule.knob.never if len(model.blocks) > 1 else 0.0
    was = model.training
    model.eval()
    tensors = live_bytes(model, lambda x: model.dynamic(x, rule, knob), moved)
    model.train(was)
    return state_bytes(model) + tensors


def state_bytes(model: torch.nn.Module) -> int:
    """Parameters and buffers, each storage once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _state(model)}
    return sum(storages.values())


@torch.no_grad()
def live_bytes(model: torch.nn.Module, run: Callable[[Any], Any], inputs: Inputs) -> int:
    """The largest sum of storages alive at once while ``run(inputs)`` goes on, the inputs among them, weights not.

    Args:
        model: whose parameters and buffers are not counted.
        run: what is watched. Operators are watched one by one, so without inference mode, which hides what they are
            made of.
        inputs: what it is called with.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a whole layer as one operator would hide its tensors
    try:
        with _Alive(_state(model), tree_iter(inputs)) as alive:
            run(inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return alive.most


def _state(model: torch.nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


class _Alive(TorchDispatchMode):
    """Storages that operators made and nobody has let go, by address, each once however many views there are."""

    def __init__(self, known: Iterable[Tensor], inputs: Iterable[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = {t.untyped_storage().data_ptr() for t in known}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0
        self._meet(inputs)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator and see what is alive just after it: its inputs, what it made, what others still hold."""
        answer = func(*args, **(kwargs or {}))
        self._meet(tree_iter(answer))
        return answer

    def _meet(self, values: Iterable[Any]) -> None:
        self.alive = {key: held for key, held in self.alive.items() if not held[0].expired()}
        for value in values:
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()
            if storage.data_ptr() not in self.known:
                self.alive.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
