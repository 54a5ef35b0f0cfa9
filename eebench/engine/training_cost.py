"""What a training costs: multiply-accumulates of forward and backward passes, and the most memory in use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from eebench.api import Inputs
from eebench.data.base import Data
from eebench.engine.features import lengths_of
from eebench.engine.model import EarlyExitModel

__all__ = ["MacCounter", "PeakMemory", "TrainingCost", "feature_macs", "train_macs"]

FIRST, EVERY = 8, 31  # steps counted; 31 is odd, so that what alternates from step to step is met in every part
SAMPLED = 0.02  # seconds between two looks at a process's memory
PROBES = (4, 8, 16)  # tokens: a transformer's cost is a polynomial of degree 2 in its length


@dataclass
class TrainingCost:
    """What one phase took. Sums over steps, so that a training that was cut off goes on with them."""

    samples: int = 0  # trained on
    counted: float = 0.0  # multiply-accumulates of the steps that were counted, forward and backward
    counted_samples: int = 0  # in these steps
    validation: float = 0.0  # of one pass over the validation data
    validations: int = 0  # such passes
    features: float = 0.0  # of one pass of the frozen backbone over the training data; 0: nothing is cached
    peak_mb: float = field(default=0.0, compare=False)  # 10^6 bytes
    peak_kind: str = field(default="", compare=False)  # "allocated" by torch on CUDA; "resident", the whole process

    @property
    def macs(self) -> float:
        """Of all steps and validation passes; cached features are left to :func:`train_macs`."""
        a_sample = self.counted / self.counted_samples if self.counted_samples else 0.0
        return a_sample * self.samples + self.validation * self.validations

    @contextmanager
    def step(self, index: int, samples: int) -> Iterator[None]:
        """Around a training step on so many samples: the first eight are counted, then every 31st.

        Which ones does not depend on interruptions.
        """
        self.samples += samples
        if index >= FIRST and index % EVERY:
            yield
            return
        with MacCounter() as counter:
            yield
        self.counted, self.counted_samples = self.counted + counter.macs, self.counted_samples + samples

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Around a pass over the validation data; the first is counted, and the others cost the same."""
        self.validations += 1
        if self.validation:
            yield
            return
        with MacCounter() as counter:
            yield
        self.validation = counter.macs

    def saw(self, memory: PeakMemory) -> None:
        """Take in the most that was in use so far."""
        self.peak_mb, self.peak_kind = max(self.peak_mb, memory.peak / 1e6), memory.kind


def train_macs(costs: Sequence[TrainingCost]) -> float:
    """Multiply-accumulates of a cell's phases, in order. Neighbouring phases share one pass for cached features."""
    before = [0.0, *(cost.features for cost in costs)]
    cached = sum(cost.features for cost, last in zip(costs, before, strict=False) if not last)
    return sum(cost.macs for cost in costs) + cached


class MacCounter(TorchDispatchMode):
    """Counts matrix products, convolutions and attention of whatever runs inside, backward passes included.

    Formulas are torch's own (``torch.utils.flop_counter``), two of its operations being one multiply-accumulate. The
    backward pass of fused attention is charged five products, its scores being computed again.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator and add what it costs."""
        try:
            answer = func(*args, **(kwargs or {}))
        except BaseException:
            self.macs = 0.0  # memory has run out: the step starts again, in parts
            raise
        formula = _FORMULAS.get(getattr(func, "overloadpacket", func))
        if formula is not None:
            self.macs += formula(*args, **(kwargs or {}), out_val=answer) / 2
        return answer


def _cpu_attention(query: Any, key: Any, value: Any, *_: Any, out_val: Any = None, **__: Any) -> float:
    return float(sdpa_flop_count(query.shape, key.shape, value.shape))


def _cpu_attention_backward(
    grad: Any, query: Any, key: Any, value: Any, *_: Any, out_val: Any = None, **__: Any
) -> float:
    return float(sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape))


def _fused_attention(query: Any, key: Any, _: Any, width: int, heads: int, *__: Any, out_val: Any = None) -> float:
    (batch, length, _width), over = query.shape, key.shape[1]
    return 2.0 * batch * width * (2 * length * width + 2 * over * width + 2 * length * over)


def _fused_layer(source: Any, width: int, heads: int, *rest: Any, out_val: Any = None) -> float:
    hidden = rest[11].shape[0]  # of the first feed-forward weight
    feed_forward = 2.0 * source.shape[0] * source.shape[1] * 2 * width * hidden
    return _fused_attention(source, source, source, width, heads) + feed_forward


_FORMULAS: dict[Any, Callable[..., float]] = {  # torch's own list lacks the CPU's fused attention, and fused layers
    torch.ops.aten._native_multi_head_attention: _fused_attention,
    torch.ops.aten._transformer_encoder_layer_fwd: _fused_layer,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,
    **flop_registry,
}


@torch.no_grad()
def feature_macs(model: EarlyExitModel, data: Data) -> float:
    """Of one pass of the backbone's blocks over the training data, texts at their own lengths."""
    device = next(model.parameters()).device
    lengths = lengths_of(model.backbone, data.train)
    if lengths is None:
        return _blocks_macs(model, model.backbone.prepare([data.train.inputs[0]]), device) * len(data.train)
    found = [_blocks_macs(model, model.backbone.example(tokens), device) for tokens in PROBES]
    return float(np.polyval(np.polyfit(PROBES, found, 2), lengths).sum())


def _blocks_macs(model: EarlyExitModel, inputs: Inputs, device: torch.device) -> float:
    moved = {k: v.to(device) for k, v in inputs.items()} if isinstance(inputs, dict) else inputs.to(device)
    with MacCounter() as counter:
        features = model.backbone.embed(moved)
        for number in range(1, model.backbone.depth + 1):
            features = model.backbone.block(number, features)
    return counter.macs


class PeakMemory:
    """The most memory in use while the block runs, in bytes.

    On CUDA what torch had allocated at once on the device. On the CPU the resident memory of the whole process, Python,
    its libraries and the data included, looked at fifty times a second.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.kind = "allocated" if device.type == "cuda" else "resident"
        self._most = 0
        self._done = threading.Event()
        self._process = psutil.Process()
        self._watch = threading.Thread(target=self._look, daemon=True, name="peak memory")

    @property
    def peak(self) -> int:
        """So far."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        self._most = max(self._most, self._process.memory_info().rss)
        return self._most

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._watch.is_alive():
            self._watch.join()

    def _look(self) -> None:
        while not self._done.wait(SAMPLED):
            _ = self.peak
