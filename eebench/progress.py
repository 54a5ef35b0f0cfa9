"""What a run says while it runs: bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from eebench.errors import shown

__all__ = ["Bar", "Remaining", "Reporter"]


class Remaining(ProgressColumn):
    """Time left if the rest goes as fast as what is done, in whole minutes and seconds; nothing before a first step.

    A run's steps take minutes: rich's own column looks at the last 30 seconds alone and mostly knows nothing.
    """

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """``ETA 1:02:03``."""
        done, elapsed = task.completed, task.elapsed
        if not done or task.total is None or elapsed is None:
            return Text("")
        seconds = math.ceil(elapsed / done * max(task.total - done, 0))
        hours, rest = divmod(seconds, 3600)
        minutes, seconds = divmod(rest, 60)
        text = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        return Text(f"ETA {text}", style="progress.remaining")


class Reporter:
    """Progress and log of a run.

    Args:
        console: where to; a terminal gets live bars, everything else one line a finished step.
        quiet: say nothing at all (the Python API's default).
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True, quiet=quiet)
        self.lines: list[str] = []  # everything said, for the record
        self._bars = Progress(
            TextColumn("[progress.description]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            Remaining(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self._all: TaskID | None = None

    @contextmanager
    def run(self, steps: int) -> Iterator[None]:
        """Bars for a run of so many steps (cells, measurements)."""
        with self._bars:
            self._all = self._bars.add_task("run", total=steps, note="")
            yield

    def say(self, text: str) -> None:
        """One line."""
        text = shown(text)  # names may hold signs that a terminal obeys
        self.lines.append(text)
        self.console.print(escape(text), highlight=False, soft_wrap=True)

    def step_done(self) -> None:
        """One step of the run is finished."""
        if self._all is not None:
            self._bars.advance(self._all)

    def bar(self, name: str) -> Bar:
        """A bar of its own for a stretch of work."""
        return Bar(self._bars, name)

    @contextmanager
    def task(self, name: str) -> Iterator[Callable[..., None]]:
        """A stretch of work with a bar of its own: yields ``update(done, total, loss=nan)``; its time is said."""
        bar = self.bar(name)
        started = time.perf_counter()
        last = [math.nan]

        def update(done: int, total: int, loss: float = math.nan) -> None:
            if not math.isnan(loss):
                last[0] = loss
            bar.update(done, total, last[0])

        try:
            yield update
        finally:
            bar.close()
        tail = "" if math.isnan(last[0]) else f", loss {last[0]:.3f}"
        self.say(f"{name}: {time.perf_counter() - started:.1f} s{tail}")


class Bar:
    """One bar among a run's.

    Args:
        bars: the run's.
        name: of the work.
    """

    def __init__(self, bars: Progress, name: str) -> None:
        self._bars = bars
        self._task = bars.add_task(escape(name), total=None, note="")

    def update(self, done: int, total: int, loss: float) -> None:
        """How far the work is; ``loss`` is NaN where there is none."""
        note = "" if math.isnan(loss) else f"loss {loss:.3f}"
        self._bars.update(self._task, completed=done, total=total, note=note)

    def close(self) -> None:
        """The work is over, one way or another."""
        self._bars.remove_task(self._task)
