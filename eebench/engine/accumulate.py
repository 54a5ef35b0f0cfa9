"""A training step in parts: their gradients add up to those of all its samples at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eebench.data.base import Batch
from eebench.errors import UserError

__all__ = ["Room", "accumulate", "halves", "out_of_memory"]


@dataclass
class Room:
    """How much of a step fits into memory at once, as found out by running out of it."""

    most: int | None = None  # pixels or tokens of a part at most; None: nothing has failed to fit yet
    samples: int | None = None  # of the largest part since then, for the log

    def parts(self, parts: Sequence[Batch]) -> Sequence[Batch]:
        """The parts, halved until each fits or cannot be halved."""
        if self.most is None:
            return parts
        fitting: list[Batch] = []
        for part in parts:
            own = halves(part) if _size(part) > self.most else [part]
            fitting += own if len(own) == 1 else self.parts(own)
        return fitting

    def shrink(self, parts: Sequence[Batch]) -> bool:
        """One of these parts did not fit: allow half of the largest from now on; False when that changes nothing."""
        self.most = max(map(_size, parts)) // 2
        smaller = self.parts(parts)
        self.samples = max(len(part.targets) for part in smaller)
        return len(smaller) > len(parts)


def accumulate(
    parts: Sequence[Batch],
    loss_of: Callable[[Batch], Tensor],
    reset: Callable[[], None],
    room: Room | None = None,
) -> tuple[Tensor, int]:
    """Run backward through a step.

    Each part's loss counts by its share of the step's samples, so that a loss that is a mean over samples has the very
    gradients it has on all of them at once, to rounding. Where memory does not suffice the largest parts are halved and
    the step starts again. What a layer takes from a whole batch (BatchNorm's statistics) it then takes from the parts.

    Args:
        parts: the step's samples.
        loss_of: a part's loss, a scalar.
        reset: forget the gradients so far.
        room: what earlier steps found out about memory, and this one may.

    Returns:
        The step's loss, detached, and in how many parts it was computed.

    Raises:
        UserError: not even two samples at once fit.
    """
    total = sum(len(part.targets) for part in parts)
    room = Room() if room is None else room
    while True:
        fitting = room.parts(parts)
        losses = _attempt(fitting, loss_of, reset, total)
        if losses is not None:
            return torch.stack(losses).sum(), len(fitting)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not room.shrink(fitting):
            raise UserError(
                f"out of memory with {max(len(part.targets) for part in fitting)} samples at once; "
                "try a smaller backbone or image, or --max-length for text"
            )


def _attempt(
    parts: Sequence[Batch], loss_of: Callable[[Batch], Tensor], reset: Callable[[], None], total: int
) -> list[Tensor] | None:
    """Every part's loss, gradients added up; None when memory ran out, whose traceback then holds nothing any more."""
    reset()
    try:
        return [_backward(part, loss_of, len(part.targets) / total) for part in parts]
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    reset()
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is a want of memory, a GPU's or the machine's own, however torch puts it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and (
        any(w in words for w in ("out of memory", "not enough memory", "can't allocate memory"))
    )


def halves(batch: Batch) -> list[Batch]:
    """A batch in two, none of a single sample (batch norm cannot train on one); as it is where that cannot be."""
    if len(batch.targets) < 4:
        return [batch]
    middle = len(batch.targets) // 2
    return [_rows(batch, slice(None, middle)), _rows(batch, slice(middle, None))]


def _size(batch: Batch) -> int:
    """Pixels of all images, or tokens of all texts, padding included."""
    inputs = batch.inputs
    return int((next(iter(inputs.values())) if isinstance(inputs, dict) else inputs).numel())


def _rows(batch: Batch, rows: slice) -> Batch:
    inputs = batch.inputs
    some = {name: column[rows] for name, column in inputs.items()} if isinstance(inputs, dict) else inputs[rows]
    return Batch(some, batch.targets[rows], batch.ids[rows])


def _backward(batch: Batch, loss_of: Callable[[Batch], Tensor], share: float) -> Tensor:
    loss = loss_of(batch)
    loss = loss if share == 1 else loss * share
    loss.backward()
    return loss.detach()
