"""What a plugin's code may change of the process it runs in, behind everybody's back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["changes", "snapshot"]


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


_LOOKED_AT: dict[str, Callable[[], Any]] = {
    "the working directory": _folder,
    "torch's number of threads": torch.get_num_threads,
    "torch's default type": torch.get_default_dtype,
    "whether torch tracks gradients": torch.is_grad_enabled,
    "whether torch is in inference mode": torch.is_inference_mode_enabled,
    "torch's deterministic mode": torch.are_deterministic_algorithms_enabled,
    "torch's precision of matrix products": torch.get_float32_matmul_precision,
    "the handler of SIGTERM": lambda: signal.getsignal(signal.SIGTERM),
    "the environment's variables for threads": lambda: [
        os.environ.get(n) for n in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    ],
}


def snapshot() -> dict[str, Any]:
    """How things are now."""
    return {words: look() for words, look in _LOOKED_AT.items()}


def changes(before: dict[str, Any]) -> tuple[str, ...]:
    """What is otherwise than it was, in words."""
    return tuple(words for words, value in snapshot().items() if value != before[words])
