"""What a change of code must not change: every method's MACs, logits, observations, decisions and trained weights.

``python tests/identity.py > after.csv`` prints one row a method, tiny network and exit, and one a method and network
with hashes. It runs on this layout and on the one before the rooms (commit 8e191ad), so that two checkouts can be
compared on one machine: ``diff before.csv after.csv``. The hashes belong to a machine and a torch version; the MACs do
not, and ``tests/engine/test_golden_macs.py`` holds them to ``tests/golden/macs.csv``.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

try:
    from eebench.api import Task
    from eebench.engine.macs import exit_costs
    from eebench.engine.model import EarlyExitModel
    from eebench.engine.trace import collect
    from eebench.engine.train import fit
    from eebench.plugins.registry import Registry
except ImportError:  # before the rooms
    from eebench.data.base import Task
    from eebench.measure.macs import exit_costs
    from eebench.model import EarlyExitModel
    from eebench.registry import Registry
    from eebench.trace import collect
    from eebench.train import fit

try:
    from eebench.testing import tiny_backbone, tiny_data
except ImportError:
    try:
        from eebench.plugins.tiny import tiny_backbone, tiny_data
    except ImportError:
        from eebench.tiny import tiny_backbone, tiny_data

KINDS = ("vit", "swin", "text")
METHODS = (
    "berxit",
    "berxit[exit=lte]",
    "branchynet",
    "branchynet[deep=mlp]",
    "branchynet[deep=block,weights=early]",
    "jei_dnn",
    "jei_dnn[im_weighting=p_exit_detached]",
    "lgvit",
    "lgvit[gah=avg,target_norm=true]",
    "lgvit[blocks=1+2+4]",
    "pabee",
    "pabee[last=own]",
    "palbert",
    "palbert[last_mass=learned,previous=diff,prior=normal]",
    "pcee",
    "pcee[patience=1,weights=descending]",
    "pondernet",
    "pondernet[exit=quantile,classifier=per_exit]",
    "pondernet[exit=expectation]",
    "sdn",
    "sdn[answer=most_confident]",
    "sdn[training=ramped]",
    "sdn[training=ic_only,blocks=2+4]",
    "vit_ee",
    "vit_ee[head=mlp,regime=classifier_wise]",
    "vit_ee[head=cnn_project]",
    "vit_ee[head=mixer]",
    "vit_ee[head=resmlp]",
    "ztw",
    "ztw[ensemble=false]",
    "ztw[cascade=false]",
    "ztw[cascade=false,ensemble=false]",
)
COSTS = ("method", "network", "block", "backbone", "heads", "gates", "static")
HASHES = ("method", "network", "logits", "fixed", "seen", "decisions", "weights")
TASK = Task(classes=4)
CPU = torch.device("cpu")


class Case:
    """A method on a tiny network, its weights disturbed so that samples stop all over the place."""

    def __init__(self, label: str, kind: str) -> None:
        self.label, self.kind = label, kind
        self.data = tiny_data(kind, TASK)
        self.model, self.rule, _ = _made(label, kind)
        generator = torch.Generator().manual_seed(1)
        for parameter in self.model.eval().requires_grad_(False).parameters():
            if parameter.ndim > 1:
                parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))

    def costs(self) -> list[list[Any]]:
        """One row an exit, in whole multiply-accumulates."""
        counted = exit_costs(self.model, self.inputs([0]))
        columns = (counted.blocks, counted.backbone, counted.heads, counted.gates, counted.static)
        return [[self.label, self.kind, *map(int, row)] for row in zip(*columns, strict=True)]

    def hashes(self) -> list[str]:
        """The row of hashes."""
        trace = collect(self.model, self.rule, self.data.test, TASK, device=CPU)
        whole = self.inputs(range(len(self.data.test)))
        with torch.inference_mode():
            logits = [visit.logits.numpy() for visit in self.model.trace(whole)]
            fixed = [self.model.static(whole, block).numpy() for block in self.model.blocks]
        seen = [trace.seen[name] for name in sorted(trace.seen)]
        return [self.label, self.kind, *map(_sha, (logits, fixed, seen, self.decisions(trace.seen), self.trained()))]

    def decisions(self, seen: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Exits and logits of dynamic inference at knobs spread over the rule's own, at batch sizes 1, 7 and 64."""
        grid = sorted({*self.rule.grid(seen), self.rule.knob.never})
        found = []
        for knob in sorted({grid[i] for i in np.linspace(0, len(grid) - 1, 6).round().astype(int)}):
            for size in (1, 7, 64):
                for start in range(0, len(self.data.test), size):
                    ids = range(start, min(start + size, len(self.data.test)))
                    with torch.inference_mode():
                        decision = self.model.dynamic(self.inputs(ids), self.rule, knob, torch.tensor(list(ids)))
                    found += [decision.exit.numpy(), decision.logits.numpy()]
        return found

    def trained(self) -> list[np.ndarray]:
        """All weights and buffers after one epoch of every phase, in the order the model has them."""
        model, _, phases = _made(self.label, self.kind)
        for phase in phases:
            fit(model, phase, _recipe(), self.data, seed=5, device=CPU)
        return [value.numpy() for value in (*model.parameters(), *model.buffers())]

    def inputs(self, ids: Any) -> Any:
        """Test samples as one batch."""
        return self.model.backbone.prepare([self.data.test.inputs[i] for i in ids])


def cases(labels: Iterable[str] = METHODS) -> Iterator[Case]:
    """Every method on every tiny network that it runs on."""
    for label in labels:
        for kind in KINDS:
            try:
                yield Case(label, kind)
            except _SkippedError:
                continue


class _SkippedError(Exception):
    pass


def _made(label: str, kind: str) -> tuple[EarlyExitModel, Any, list[Any]]:
    """The model, its rule and its phases, all weights as seed 0 makes them."""
    torch.manual_seed(0)
    backbone = tiny_backbone(kind, TASK.outputs)
    try:
        (chosen,) = Registry.installed().choose(label)
    except Exception as error:  # a UserError, whose home has moved
        if "blocks" not in str(error):
            raise
        (chosen,) = Registry.installed().choose(label.replace("blocks=", "positions="))  # as it was called before
    if hasattr(chosen, "create"):  # before a method was its options
        if chosen.cls.skip(backbone, TASK) is not None:
            raise _SkippedError
        method = chosen.create(TASK)
        return EarlyExitModel(backbone, method.build(backbone)), method.rule(), list(method.phases())
    from eebench.plugins.needs import unmet

    if unmet(chosen.method, backbone, TASK) is not None:
        raise _SkippedError
    exits = chosen.method.build(backbone, TASK)
    return EarlyExitModel(backbone, dict(exits)), chosen.rule(TASK), list(chosen.method.phases(TASK))


def _recipe() -> Any:
    common = {"epochs": 1, "batch_size": 16, "lr": 1e-3, "weight_decay": 0.05, "warmup": 0.1, "clip": 1.0}
    try:
        from eebench.train import Plan  # before the rooms
    except ImportError:
        from eebench.api import Recipe

        return Recipe(**common)
    return Plan(**common)


def _sha(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    found = list(cases())
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COSTS)
    for case in found:
        writer.writerows(case.costs())
    writer.writerow(HASHES)
    for case in found:
        writer.writerow(case.hashes())


if __name__ == "__main__":
    main()
