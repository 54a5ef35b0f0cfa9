"""How a run's work is done: in this process or in workers, and what can be handed to them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from eebench.discovery import CONTRACTS, Plugin, installed
from eebench.plugins.chosen import split_list
from eebench.plugins.registry import Registry
from eebench.progress import Reporter
from eebench.runs.how import Execution
from eebench.runs.local import Local
from eebench.runs.plan import Job
from eebench.runs.spec import RunSpec
from eebench.runs.talk import Setup

if TYPE_CHECKING:
    from eebench.runs.prepare import Prepared
    from eebench.runs.store import Store

__all__ = ["asked", "environments", "log_of", "sendable", "workers_of"]


@contextmanager
def workers_of(spec: RunSpec, registry: Registry, reporter: Reporter, how: Execution) -> Iterator[Local | None]:
    """Workers for a run, started and about to prepare it themselves; None where it is done in this process.

    Where strangers' code has a part in the run they have prepared it: what ended nothing there ends nothing here.

    Raises:
        UserError: it cannot be prepared, or a plugin ended the attempt.
    """
    setup = None if how.in_process else sendable(spec, registry, reporter.say)
    if setup is None:
        yield None
        return
    rooms = environments(spec.device, how.workers)
    with Local(setup, reporter, workers=how.workers, timeout=how.cell_timeout, environments=rooms) as local:
        if _foreign(spec, registry):
            local.prepare()
        yield local


def environments(device: str, workers: int) -> list[dict[str, str]]:
    """Variables of each worker: of several GPUs one each, in turn; several workers may share one."""
    if workers < 2 or device not in ("auto", "cuda") or torch.cuda.device_count() < 2:
        return [{} for _ in range(workers)]
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = seen.split(",") if seen else [str(number) for number in range(torch.cuda.device_count())]
    return [{"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} for worker in range(workers)]


def asked(spec: RunSpec) -> list[str]:
    """The methods asked for, without their options."""
    return [text.partition("[")[0].strip() for text in split_list(",".join(spec.methods))]


def log_of(store: Store, prepared: Prepared, job: Job) -> Path:
    """Where what a worker prints while it does a job is kept."""
    label = f"search-{job.label}" if job.kind == "search" else job.label
    return store.path / "logs" / f"{prepared.cell_id(label, job.seed, '')}.log"


def sendable(spec: RunSpec, registry: Registry, say: Callable[[str], None] = lambda line: None) -> Setup | None:
    """What a worker needs to prepare the run by itself; None where it cannot."""
    plugins = tuple(registry.plugins)
    local = [plugin for plugin in plugins if not _found_elsewhere(plugin)]
    if local:
        say(f"cells are made in this process: another one would not find {local[0]!r}")
        return None
    if Registry.installed(registry.plugins).sources != registry.sources:
        say("cells are made in this process: another one would not find the methods handed over")
        return None
    return Setup(spec, plugins, registry.deadly)


def _found_elsewhere(plugin: Plugin) -> bool:
    """Whether another process finds it: a file, or a class of a module that can be imported."""
    if isinstance(plugin, Path):
        return True
    try:
        pickle.dumps(plugin)
        return plugin.__module__ != "__main__" and find_spec(plugin.__module__) is not None
    except (AttributeError, ImportError, ValueError, pickle.PicklingError):
        return False


def _foreign(spec: RunSpec, registry: Registry) -> bool:
    """Whether code that is not eebench's own has a part in a run."""
    names: Sequence[str] = asked(spec)
    sources = [source for name, source in registry.sources.items() if "all" in names or name in names]
    others = [e for group in CONTRACTS for e in installed(group) if e.name in (spec.dataset, spec.backbone)]
    return bool(registry.plugins or others) or any(source.foreign for source in sources)
