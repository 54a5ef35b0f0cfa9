"""Memory: tracing and replaying 50,000 samples x 12 exits x 1,000 classes, whose logits alone are 2.4 GB.

A fresh process does it, on a stub network whose logits cost next to nothing, and reports its own peak.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Result, Settings
from eebench.api import Backbone, Features, Inputs, Layout, Task
from eebench.data.base import Split
from eebench.engine.model import EarlyExitModel
from eebench.engine.trace import Trace, collect
from eebench.measure.replay import replay
from eebench.parts import LinearExit
from eebench.rules import Confidence
from eebench.runs.environment import hold_memory

__all__ = ["Stub", "peak_gb", "run"]

DEPTH, WIDTH, KNOBS = 12, 8, 100
GOAL_GB = 2.0


class Stub(Backbone):
    """One token of eight numbers, rotated by one place a block."""

    modality: ClassVar[str] = "vision"

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layouts = (Layout(WIDTH, prefix=1, grid=(0, 0)),) * DEPTH
        self.heads = (1,) * DEPTH
        self.classifier = nn.Linear(WIDTH, classes)

    def embed(self, inputs: Inputs) -> Features:
        """Vectors (B, 8) as tokens (B, 1, 8)."""
        assert isinstance(inputs, Tensor)
        return Features(inputs[:, None], self.layouts[0])

    def block(self, number: int, features: Features) -> Features:
        """The rotation."""
        return Features(features.tokens.roll(1, 2), features.layout)

    def norm(self, features: Features) -> Features:
        """Nothing."""
        return features

    def classify(self, features: Features) -> Tensor:
        """One linear layer."""
        return self.classifier(features.tokens[:, 0])

    def plain(self, inputs: Inputs) -> Tensor:
        """After as many rotations as there are blocks."""
        assert isinstance(inputs, Tensor)
        return self.classifier(inputs.roll(DEPTH, 1))


def run(settings: Settings) -> Iterator[Result]:
    """Peak memory of the process, everything it imports included."""
    samples, classes = (500, 100) if settings.quick else (50_000, 1000)
    command = [sys.executable, "-m", "benchmarks.memory", str(samples), str(classes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    case = f"trace and replay of {samples:,} samples x {DEPTH} exits x {classes:,} classes"
    yield Result("memory", case, found.pop("peak_gb"), "GB", GOAL_GB, detail=found)


def _child(samples: int, classes: int) -> dict[str, float]:
    torch.set_num_threads(1)
    hold_memory()
    before = peak_gb()
    torch.manual_seed(0)
    backbone = Stub(classes)
    model = EarlyExitModel(backbone, {b: LinearExit(backbone.layouts[0], classes) for b in range(1, DEPTH)})
    split = Split(10 * torch.randn(samples, WIDTH), np.random.default_rng(0).integers(0, classes, samples))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as name:
        folder, rule = Path(name), Confidence()
        started = time.perf_counter()
        task = Task(classes=classes)
        trace = collect(model, rule, split, task, device=torch.device("cpu"), logits_file=folder / "logits-test.npy")
        trace.save(folder, "test")
        traced = time.perf_counter()
        trace = Trace.load(folder, "test")
        exits = [replay(rule, trace.seen, knob) for knob in np.linspace(0, 1, KNOBS)]
        replayed = time.perf_counter()
        assert trace.logits is not None
        assert trace.logits.shape == (DEPTH, samples, classes)
        assert 0 < np.mean(exits) < DEPTH - 1
        size = (folder / "logits-test.npy").stat().st_size
    return {
        "peak_gb": peak_gb(),
        "peak_before_gb": before,
        "logits_gb": size / 1e9,
        "trace_s": round(traced - started, 2),
        "replay_s": round(replayed - traced, 2),
    }


def peak_gb() -> float:
    """Peak resident memory of this process, GB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: getrusage would count what the process that started this one held at the fork
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) * 1024 / 1e9, 3)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)


if __name__ == "__main__":
    print(json.dumps(_child(int(sys.argv[1]), int(sys.argv[2]))))
