"""In which runtimes a run is timed: as it is asked for, checked before any work, and opened once all is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from eebench.errors import UserError, did_you_mean
from eebench.schema import EAGER, RUNTIMES

if TYPE_CHECKING:
    from eebench.progress import Reporter
    from eebench.timing.entrant import Entrant

__all__ = ["asked_runtimes", "in_other_runtimes"]

NEEDS = {"onnxruntime": ("onnxruntime", "onnxscript")}
"""Packages that a runtime needs beside eebench's own."""


def asked_runtimes(names: Sequence[str]) -> tuple[str, ...]:
    """Names of runtimes, eager PyTorch first: it is always timed, for all other figures are in it.

    Raises:
        UserError: no such runtime, or one that is not installed.
    """
    for name in names:
        if name not in RUNTIMES:
            raise UserError(f"--runtimes: no runtime '{name}'{did_you_mean(name, RUNTIMES)}")
        missing = [package for package in NEEDS.get(name, ()) if find_spec(package) is None]
        if missing:
            raise UserError(f"--runtimes {name} needs {missing[0]}: pip install 'eebench[onnx]'")
    return tuple(dict.fromkeys((EAGER, *names)))


@contextmanager
def in_other_runtimes(entrants: Sequence[Entrant], runtimes: Sequence[str], reporter: Reporter) -> Iterator[None]:
    """Models opened in the runtimes that were asked for; where one cannot be, it is said and left out there.

    Args:
        entrants: trained models; brought to the CPU.
        runtimes: names.
        reporter: hears how it goes.
    """
    names = [name for name in runtimes if name != EAGER]
    if not names:
        yield
        return
    from eebench.timing.blame import blamed
    from eebench.timing.runtimes import open_in

    with TemporaryDirectory() as folder:
        with reporter.task(f"opening {len(entrants)} models in {', '.join(names)}") as update:
            for done, entrant in enumerate(entrants, 1):
                entrant.model.cpu()
                with blamed((entrant.label, "cpu", "single", 1, entrant.path)):  # should it end the process
                    opened = open_in(names, entrant.model, entrant.rule, Path(folder) / str(done))
                entrant.runtimes, entrant.unopened = opened
                for name, reason in entrant.unopened.items():
                    who = entrant.label if entrant.path == "plain" else f"{entrant.label} {entrant.path}"
                    reporter.say(f"{who} cannot be timed in {name}: {reason}")
                update(done, len(entrants))
        yield
        for entrant in entrants:
            entrant.runtimes = {}
