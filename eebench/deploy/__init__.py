"""A trained early-exit model outside its training library: exported as segments, run stretch by stretch.

A *segment* is one graph per stretch of blocks between two exits: the blocks, the exit behind them, and what its rule
observes there. What decides between two segments is numpy (:mod:`eebench.decisions`). ``Runner`` imports no torch;
``export`` needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eebench.deploy.export import export
    from eebench.deploy.runner import Answer, Runner
    from eebench.deploy.torch_runner import TorchRunner

__all__ = ["Answer", "Runner", "TorchRunner", "export"]

_HOME = {"Answer": "runner", "Runner": "runner", "TorchRunner": "torch_runner", "export": "export"}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that the runner's users load no torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'eebench.deploy' has no attribute {name!r}")
    return getattr(import_module(f"eebench.deploy.{_HOME[name]}"), name)
