"""The memory allocator's part: page faults of a batch-64 forward, with freed memory held and given back.

Each setting runs in a fresh process. Everything else here is timed with memory held (``eebench.runs.environment``).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.harness import Result, Settings
from benchmarks.models import early_exit, images
from eebench.runs.environment import hold_memory

__all__ = ["run"]

FORWARDS = 5


def run(settings: Settings) -> Iterator[Result]:
    """Page faults and time of the plain forward, by setting."""
    name, batch = ("vit_micro", 8) if settings.quick else ("vit_s", 64)
    found = {}
    for setting in ("held", "default"):
        command = [sys.executable, "-m", "benchmarks.malloc", setting, name, str(batch), str(settings.threads)]
        found[setting] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        case = f"{name}, batch {batch}, freed memory {setting if setting == 'held' else 'by default'}"
        detail = found[setting] | {"forwards": FORWARDS}
        yield Result("malloc", f"{case}: page faults a forward", found[setting]["faults"], "faults", detail=detail)
    ratio = found["default"]["cpu_s"] / found["held"]["cpu_s"]
    yield Result("malloc", f"{name}, batch {batch}: CPU time of a forward, by default over held", ratio, "x")


def _child(name: str, batch: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    model = early_exit(name, 10)
    x = images(model, batch)
    faults, times = [], []
    with torch.inference_mode():
        for _ in range(FORWARDS + 1):
            before, started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
            model.backbone.plain(x)
            times.append(time.process_time() - started)
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return {"faults": float(np.median(faults[1:])), "cpu_s": float(np.median(times[1:]))}  # the first one warms up


if __name__ == "__main__":
    setting, name, batch, threads = sys.argv[1:]
    if setting == "held":
        hold_memory()
    print(json.dumps(_child(name, int(batch), int(threads))))
