"""How much memory training will take, told before it starts: samples are run and what autograd keeps is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eebench.api import Inputs
from eebench.data.base import Data
from eebench.data.lengths import TRAINED
from eebench.engine.features import CACHE_BYTES, lengths_of
from eebench.engine.model import EarlyExitModel

__all__ = ["Memory", "estimate_memory", "kept_bytes"]

TRANSIENT = 0.25  # what a backward pass makes on its way, as a share of what was kept for it: 0.18 to 0.28 measured
PROBES = (8, 16, 32)  # tokens: what a transformer keeps is a polynomial of degree 2 in its length


@dataclass(frozen=True)
class Memory:
    """Bytes, on the device that trains."""

    weights: int  # parameters and buffers
    optimizer: int  # gradients and Adam's two moments
    activations: int  # what the largest part of a step keeps for its backward pass, and what that pass makes
    features: int  # cached features of the frozen backbone behind every exit, where a phase uses them
    samples: int  # of the largest part
    tokens: int | None  # its length; None for images

    @property
    def training(self) -> int:
        """With the backbone trained; Python and its libraries, about half a gigabyte, are not in it."""
        return self.weights + self.optimizer + self.activations

    @property
    def frozen(self) -> int:
        """With the exits alone trained on cached features: their own activations are small beside those."""
        return self.weights + self.features

    @property
    def peak(self) -> int:
        """The larger of the two."""
        return max(self.training, self.frozen)


def estimate_memory(model: EarlyExitModel, data: Data, batch_size: int) -> Memory:
    """What training this model takes, found by running two samples of it.

    Args:
        model: backbone and exits; put in train mode for the while.
        data: whose training split is trained on.
        batch_size: samples a step.

    Returns:
        An estimate: what is kept is counted, what comes and goes on top is taken as ``TRANSIENT`` of it.
    """
    was, model = model.training, model.train()
    statistics = [(buffer, buffer.clone()) for buffer in model.buffers()]  # batch norm's move with every pass
    state = {id(t): t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()]}
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    lengths = lengths_of(model.backbone, data.train)
    if lengths is None:
        probe = model.backbone.prepare([data.train.inputs[i] for i in (0, min(1, len(data.train) - 1))])
        size = min(batch_size, len(data.train))
        kept, tokens = kept_bytes(model, probe) / 2 * size, None
        held = sum(layout.dim * (layout.tokens or 0) for layout in _behind(model)) * len(data.train)
    else:
        kept, size, tokens = _longest_part(model, lengths, batch_size)
        held = sum(layout.dim for layout in _behind(model)) * int(lengths.sum())
    model.train(was)
    for buffer, before in statistics:
        buffer.copy_(before)
    features = 0 if data.augments or 4 * held > CACHE_BYTES else 4 * held
    return Memory(sum(state.values()), 3 * parameters, int((1 + TRANSIENT) * kept), features, size, tokens)


def kept_bytes(model: EarlyExitModel, inputs: Inputs) -> int:
    """What autograd keeps of one forward pass through blocks and exits, weights not counted."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, tuple[int, Any]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), storage)  # held, so that its address is not used again
        return tensor

    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answers = [visit.logits for visit in model.trace(inputs)]
    del answers
    return sum(size for size, _ in kept.values())


def _longest_part(model: EarlyExitModel, lengths: np.ndarray, batch_size: int) -> tuple[float, int, int]:
    """Bytes, texts and tokens of the part that takes most, of all that the training texts can make."""
    found = []
    for length in PROBES:
        example = model.backbone.example(length)
        assert isinstance(example, dict)
        pair = {name: column.repeat(2, 1) for name, column in example.items()}
        mask = torch.ones_like(pair["input_ids"])
        mask[0, -1] = 0  # padding, as parts have it
        found.append(kept_bytes(model, {**pair, "attention_mask": mask}) / 2)
    fit = np.polyfit(PROBES, found, 2)
    counts = np.arange(1, len(lengths) + 1)  # texts that are as long at most
    ordered = np.sort(lengths)
    texts = np.minimum(np.minimum(counts, batch_size), np.maximum(1, TRAINED // ordered))
    needed = texts * np.polyval(fit, ordered)
    worst = int(needed.argmax())
    return float(needed[worst]), int(texts[worst]), int(ordered[worst])


def _behind(model: EarlyExitModel) -> list[Any]:
    return [model.backbone.layouts[block - 1] for block in model.blocks]
