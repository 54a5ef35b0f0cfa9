"""What a run ran on: versions, hardware, code state. Recorded with every run, printed by ``eebench info``."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from eebench import machine
from eebench.errors import UserError
from eebench.files import read_json, write_json

__all__ = ["computing", "describe", "hold_memory", "versions"]

PACKAGES = ("eebench", "torch", "torchvision", "timm", "fvcore", "numpy", "pandas", "scikit-learn", "safetensors")
OPTIONAL = ("transformers", "datasets", "nvidia-ml-py")

_held = False


def versions() -> dict[str, str | None]:
    """Installed versions; None for an optional package that is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in (*PACKAGES, *OPTIONAL):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def describe(device: str = "cpu") -> dict[str, Any]:
    """Versions, machine, threads, GPU and its clocks' state, attention implementation and git state. Imports torch."""
    import torch

    gpu: dict[str, Any] | None = None
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        gpu = {
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
            "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
            "tf32_cudnn": torch.backends.cudnn.allow_tf32,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "state": _nvidia_smi(),
        }
    return {
        **versions(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "waiting_threads": "sleep" if machine.waits_quietly() else "spin",
        "load": machine.load(),
        "gpu": gpu,
        "attention": "torch scaled_dot_product_attention where the model offers it",
        "malloc": "blocks kept, no mmap, no trim" if _held else "default",
        **_git(),
    }


@contextmanager
def computing(threads: int | None, memory: Path | None = None, share: int = 1) -> Iterator[list[str]]:
    """Compute with so many torch threads; None: as many as the machine has free.

    Yields what a reader should know of that, a line or none. Afterwards torch has the threads it had.

    Args:
        threads: as asked for.
        memory: a file with what was chosen before: sums are rounded otherwise by other numbers of threads, so a run
            that goes on after it was cut short computes with as many as it began with.
        share: among how many processes the free threads are parted, where nobody asked for a number.
    """
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        chosen, why = threads, machine.oversubscribed(threads)
    elif (known := _remembered(memory)) is not None:
        chosen = known
        why = "as this run began with" if chosen != before else machine.oversubscribed(chosen)
    else:
        chosen, why = machine.free_threads(before)
        if share > 1:
            chosen, why = max(1, chosen // share), f"{chosen} parted among {share} workers; timing has as many"
        if memory is not None:
            write_json(memory, {"threads": chosen})
    torch.set_num_threads(chosen)
    try:
        yield [f"{chosen} thread{'s' * (chosen > 1)}: {why}"] if why else []
    finally:
        torch.set_num_threads(before)


def _remembered(memory: Path | None) -> int | None:
    """How many threads this run began with; None where nothing tells, or what tells is damaged."""
    if memory is None or not memory.exists():
        return None
    try:
        return int(read_json(memory)["threads"])
    except (UserError, KeyError, TypeError, ValueError):
        return None


def hold_memory(modality: str = "vision") -> bool:
    """Keep freed memory in the process instead of giving it back to the kernel after every forward pass.

    glibc returns large blocks and faults them in again, about 0.9 million page faults a batch-64 forward of ViT-S,
    which shows as 8 to 21 % of noise on whatever is timed. The same setting holds for every method. What trains on
    texts gives back instead: batches of every length leave holes that no later batch fits into, and MiniLM held 2.5 to
    3.8 GB where 1.6 are needed, for 2 % less CPU time. It is asked again before the clock.

    Args:
        modality: of the data that are about to be trained on; "vision" for whatever is timed.

    Returns:
        Whether it took effect (on glibc only); the record says whether it had when the clock was read.
    """
    global _held
    if modality == "text":
        return False
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # malloc.h
    settings = ((m_mmap_max, 0), (m_trim_threshold, 2**31 - 1), (m_top_pad, 256 << 20))
    _held = sum(mallopt(option, value) == 1 for option, value in settings) == len(settings)
    return _held


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git() -> dict[str, Any]:
    """Commit and dirtiness of eebench's own checkout; both None when it was installed from a wheel."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {"git_sha": None, "git_dirty": None}
    status = git("status", "--porcelain", "--", "eebench", "methods")
    return {"git_sha": git("rev-parse", "HEAD"), "git_dirty": None if status is None else bool(status)}


def _nvidia_smi() -> str | None:
    fields = "clocks.sm,clocks.max.sm,power.limit,clocks_throttle_reasons.active,driver_version"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
