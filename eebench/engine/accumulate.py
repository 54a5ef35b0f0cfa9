"""A training step in parts: their gradients add up to those of all its samples at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from eebench.data.base import Batch
from eebench.errors import UserError

__all__ = ["accumulate", "halves"]


def accumulate(
    parts: Sequence[Batch], loss_of: Callable[[Batch], Tensor], reset: Callable[[], None]
) -> tuple[Tensor, int]:
    """Run backward through a step.

    Each part's loss counts by its share of the step's samples, so that a loss that is a mean over samples has the very
    gradients it has on all of them at once. Where a GPU's memory does not suffice every part is halved and the step
    starts again.

    Args:
        parts: the step's samples.
        loss_of: a part's loss, a scalar.
        reset: forget the gradients so far.

    Returns:
        The step's loss, detached, and in how many parts it was computed.

    Raises:
        UserError: not even two samples at once fit.
    """
    total = sum(len(part.targets) for part in parts)
    while True:
        reset()
        try:
            losses = [_backward(part, loss_of, len(part.targets) / total) for part in parts]
            return torch.stack(losses).sum(), len(parts)
        except torch.OutOfMemoryError as error:
            smaller = [half for part in parts for half in halves(part)]
            if len(smaller) == len(parts):
                raise UserError(
                    f"out of memory with {max(len(part.targets) for part in parts)} samples at once; "
                    "try a smaller backbone or image, or --max-length for text"
                ) from error
            parts = smaller
            torch.cuda.empty_cache()


def halves(batch: Batch) -> list[Batch]:
    """A batch in two, none of a single sample (batch norm cannot train on one); as it is where that cannot be."""
    if len(batch.targets) < 4:
        return [batch]
    middle = len(batch.targets) // 2
    return [_rows(batch, slice(None, middle)), _rows(batch, slice(middle, None))]


def _rows(batch: Batch, rows: slice) -> Batch:
    inputs = batch.inputs
    some = {name: column[rows] for name, column in inputs.items()} if isinstance(inputs, dict) else inputs[rows]
    return Batch(some, batch.targets[rows], batch.ids[rows])


def _backward(batch: Batch, loss_of: Callable[[Batch], Tensor], share: float) -> Tensor:
    loss = loss_of(batch)
    loss = loss if share == 1 else loss * share
    loss.backward()
    return loss.detach()
