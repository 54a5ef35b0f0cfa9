"""A worker process: prepares the run by itself, then does one task after another, each with a log of its own.

Started as ``python -m eebench.runs.worker DESCRIPTOR`` by :mod:`eebench.runs.hand`, so that it needs nothing of the
main module of whoever runs the benchmark: a script, a notebook, a test.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from eebench.errors import TerminatedError, UserError
from eebench.runs.signals import heeded

__all__ = ["main"]

GRACE = 60.0  # seconds to write a checkpoint when whoever started this process is gone
STOPPED = 128 + signal.SIGTERM


def main(descriptor: int) -> NoReturn:
    """Serve until the other end says no more."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    status = 0
    try:
        with heeded():
            _serve(Connection(descriptor))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # nobody is interested any more
    except (TerminatedError, KeyboardInterrupt):
        status = STOPPED
    os._exit(status)  # threads that a plugin has left behind do not hold it up


def _watch(parent: int) -> None:
    """Stop, by way of a checkpoint, when whoever started this process is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(STOPPED)


def _serve(connection: Connection[Any, Any]) -> None:
    from eebench.runs.talk import Announced, Ask, Channel, Make, Ready, Refused, RemoteReporter

    channel = Channel(connection)
    reporter = RemoteReporter(channel)
    setup = channel.receive()
    channel.send(Announced("loading libraries"))
    try:
        tasks = _prepared(setup, channel, reporter)
    except Exception as error:
        channel.send(Refused(error if isinstance(error, UserError) else UserError(_line(error))))
        return
    channel.send(Ready())
    tasks.begin(channel.receive())
    while (task := channel.receive()) is not None:
        with _logged(task.log):
            if isinstance(task, Make):
                answer = tasks.guarded(lambda task=task: tasks.maker.make(task.job, task.before))
            else:
                assert isinstance(task, Ask)
                answer = tasks.guarded(lambda task=task: tasks.answers.to(task.question))
        channel.send(answer)


def _prepared(setup: Any, channel: Any, reporter: Any) -> _Tasks:
    from eebench.plugins.registry import Registry
    from eebench.runs.environment import hold_memory
    from eebench.runs.prepare import prepare
    from eebench.runs.talk import Announced

    registry = Registry.installed(list(setup.plugins))
    registry.deadly = dict(setup.deadly)
    prepared = prepare(setup.spec, registry, lambda words: channel.send(Announced(words)))
    hold_memory(prepared.data.modality)
    return _Tasks(prepared, reporter)


class _Tasks:
    """What this process can do once the run is prepared."""

    def __init__(self, prepared: Any, reporter: Any) -> None:
        self.prepared, self.reporter = prepared, reporter

    def begin(self, begin: Any) -> None:
        """Learn where work goes."""
        import torch

        from eebench.runs.answers import Answers
        from eebench.runs.maker import Maker
        from eebench.runs.store import Store

        torch.set_num_threads(begin.threads)
        store = Store(begin.results, begin.run, repair=begin.repair, say=self.reporter.say)
        self.maker = Maker(self.prepared, store, self.reporter, force=begin.force)
        self.answers = Answers(self.prepared, store, self.reporter)

    def guarded(self, work: Any) -> Any:
        """Do a task; say what it was about to leave otherwise in this process."""
        from eebench.runs.plan import Undone
        from eebench.runs.state import changes, snapshot
        from eebench.runs.talk import Done, log_line

        before = snapshot()
        try:
            outcome = work()
        except (TerminatedError, EOFError, BrokenPipeError):
            raise
        except BaseException as error:  # sys.exit() in a plugin, or a KeyboardInterrupt that nobody typed
            outcome = Undone(_line(error), traceback.format_exc())
        if isinstance(outcome, Undone):
            outcome = replace(outcome, error=_portable(outcome.error))
            log_line(outcome.log)
        return Done(outcome, changes(before))


def _portable(error: BaseException | None) -> BaseException | None:
    """An error that the other end can do something with; a stranger's class it may not know."""
    if error is None or type(error).__module__ not in ("builtins", "eebench.errors"):
        return None
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return None


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Whatever is printed in this block, by whatever means, goes to a file; a crash leaves its stack there too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", buffering=1, encoding="utf-8") as file:
        file.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} process {os.getpid()} on {os.uname().nodename}\n")
        kept = [(number, os.dup(number)) for number in (1, 2)]
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        faulthandler.enable(file, all_threads=False)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # a plugin may have closed it
                    stream.flush()
            faulthandler.disable()
            for number, before in kept:
                os.dup2(before, number)
                os.close(before)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


if __name__ == "__main__":
    main(int(sys.argv[1]))
