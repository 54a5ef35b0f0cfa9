"""A run wherever it is asked for: on this machine, or by tasks of a cluster that do what ``--shard`` does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import chdir, nullcontext
from pathlib import Path
from typing import Any

from eebench.errors import StorageError, UserError
from eebench.plugins.registry import Registry
from eebench.plugins.trial import tried_registry
from eebench.progress import Reporter
from eebench.record import read_record
from eebench.runs import runner
from eebench.runs.execution import asked, sendable
from eebench.runs.fleet import cluster_of, dispatch
from eebench.runs.how import Execution
from eebench.runs.orders import Answer, Order
from eebench.runs.prepare import prepare
from eebench.runs.remote_options import Ray, Slurm
from eebench.runs.runner import Outcome
from eebench.runs.runtimes import asked_runtimes
from eebench.runs.search import check_search
from eebench.runs.signals import heeded
from eebench.runs.spec import RunSpec

__all__ = ["execute", "fulfil"]


def execute(
    spec: RunSpec,
    registry: Registry,
    results: Path,
    *,
    reporter: Reporter,
    how: Execution | None = None,
    ready: Callable[[str], None] = lambda name: None,
    **more: Any,
) -> Outcome:
    """Do everything a spec asks for, and write the run directory.

    Args:
        spec: what to run.
        registry: where methods come from.
        results: folder of run directories; with a cluster one that its machines see.
        reporter: hears what goes on.
        how: where.
        ready: called with the run's name before any work; may refuse it.
        **more: what else :func:`eebench.runs.runner.execute` takes.

    Raises:
        UserError: anything wrong with what is asked for, before any work; a cluster that cannot be reached.
    """
    how = how or Execution()
    remote = how.remote
    if remote is None:
        return runner.execute(spec, registry, results, reporter=reporter, how=how, ready=ready, **more)
    return _by_tasks(remote, spec, registry, results, reporter, how, ready, **more)


def fulfil(order: Order) -> Answer:
    """Carry out an order on the machine of a task: make a shard, or join the shards.

    Nothing is raised for what the same task would meet again: a cluster would only try it once more.
    """
    spec = order.spec
    if not order.folder.is_dir():
        return Answer(refused=f"{order.folder} is not on this machine: a cluster's machines must see it")
    signals = heeded() if threading.current_thread() is threading.main_thread() else nullcontext()
    try:
        with signals, chdir(order.folder):
            registry = tried_registry(order.plugins, asked(spec), (spec.dataset, spec.backbone))
            outcome = runner.execute(
                spec,
                registry,
                order.results,
                reporter=Reporter(),
                repair=order.repair,
                samples=order.samples,
                how=Execution(cell_timeout=order.cell_timeout, shard=order.shard),
                runtimes=order.runtimes,
                given_up=order.given_up,
            )
    except (UserError, StorageError) as error:
        return Answer(refused=str(error))
    return Answer(tuple((cell["label"], cell["seed"], str(cell["reason"])) for cell in outcome.failed))


def _by_tasks(
    remote: Slurm | Ray,
    spec: RunSpec,
    registry: Registry,
    results: Path,
    reporter: Reporter,
    how: Execution,
    ready: Callable[[str], None],
    *,
    force: bool = False,
    repair: bool = True,
    samples: bool = True,
    runtimes: Sequence[str] = (),
) -> Outcome:
    if results.exists() and not results.is_dir():
        raise UserError(f"output directory {results} is a file")
    if force:
        raise UserError(f"--force and --executor {remote.name} contradict each other: tasks would redo cells of others")
    if sendable(spec, registry) is None:
        raise UserError(f"--executor {remote.name}: tasks find plugin files, no classes handed over from a program")
    runtimes = asked_runtimes(runtimes)
    prepared = prepare(spec, registry)
    if prepared.spec.search is not None:
        check_search(prepared.methods)
    name = prepared.spec.run_name
    ready(name)
    path = results.resolve() / name
    with cluster_of(remote, path / "logs" / "tasks") as cluster:
        plugins = tuple(p.resolve() if isinstance(p, Path) else p for p in registry.plugins)
        order = Order(
            spec, plugins, results.resolve(), Path.cwd(), cell_timeout=how.cell_timeout, repair=repair,
            samples=samples, runtimes=tuple(runtimes),
        )  # fmt: skip
        reporter.say(f"run {name}: {remote.tasks} tasks of {remote.name}, then one that reads and times")
        dispatch(cluster, fulfil, order, remote.tasks, reporter.say)
    cells = [cell.model_dump(mode="json") for cell in read_record(path).cells]
    return Outcome(path, cells)
