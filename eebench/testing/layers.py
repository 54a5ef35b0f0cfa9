"""What exits run, layer by layer, and what they hold that is no parameter and no buffer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from eebench.engine.model import EarlyExitModel
from eebench.parts import Borrowed

__all__ = ["calls", "disturbed", "strays"]


@contextmanager
def _watched(model: EarlyExitModel, watch: Callable[[str, Any], Any]) -> Iterator[None]:
    """Have ``watch(name, output)`` called for every layer with weights that an exit runs; it may replace the output."""
    handles = []
    for name, module in model.exits.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            handles.append(module.register_forward_hook(lambda _, __, output, name=name: watch(name, output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def calls(model: EarlyExitModel, run: Callable[[], Any]) -> list[str]:
    """Names of the layers with weights that a call runs in exits, in order."""
    names: list[str] = []
    with _watched(model, lambda name, _: names.append(name)):
        run()
    return names


@contextmanager
def disturbed(model: EarlyExitModel, number: int) -> Iterator[None]:
    """The output of call ``number`` (from 0) of the exits' layers has noise added."""
    generator, count = torch.Generator().manual_seed(number), itertools.count()

    def disturb(name: str, output: Any) -> Any:
        if next(count) != number or not isinstance(output, Tensor) or not output.is_floating_point():
            return None
        return output + torch.randn(output.shape, generator=generator)

    with _watched(model, disturb):
        yield


def strays(model: EarlyExitModel) -> list[str]:
    """Tensors and modules that exits hold where torch does not see them, as ``exits.3.prototypes``.

    They are neither saved nor trained nor moved to another device with the model.
    """
    known = {id(thing) for thing in (*model.parameters(), *model.buffers(), *model.modules())}
    found = []
    for name, module in model.exits.named_modules():
        for attribute, value in vars(module).items():
            if attribute.startswith("_") and attribute in vars(nn.Module()):  # torch's own book-keeping
                continue
            found += [f"exits.{name}.{attribute}" for thing in _inside(value) if id(thing) not in known]
    return found


def _inside(value: Any) -> Iterator[Any]:
    """Tensors and modules in a value, in the containers of Python and in plain objects."""
    if isinstance(value, Tensor | nn.Module):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _inside(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _inside(part)
    elif type(value).__module__ != "builtins" and not isinstance(value, type | Borrowed) and hasattr(value, "__dict__"):
        yield from (part for part in vars(value).values() if isinstance(part, Tensor | nn.Module))
