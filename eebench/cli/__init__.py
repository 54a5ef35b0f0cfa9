"""The command line, one file a command. It starts fast: torch, timm and pandas are imported when work begins."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import typer

from eebench.cli.check import check
from eebench.cli.compare import compare
from eebench.cli.cost import cost
from eebench.cli.doctor import doctor
from eebench.cli.exchange import export_predictions, import_
from eebench.cli.export import export
from eebench.cli.info import info
from eebench.cli.input import say
from eebench.cli.listing import listing
from eebench.cli.merge import merge
from eebench.cli.new import new
from eebench.cli.queue import queue
from eebench.cli.report import report
from eebench.cli.reproduce import reproduce
from eebench.cli.run import run
from eebench.cli.shelf import clean, ls
from eebench.cli.show import show
from eebench.cli.status import status as progress_of_run
from eebench.cli.submissions import leaderboard, submit, verify
from eebench.cli.tune import tune
from eebench.errors import StorageError, TerminatedError, UserError
from eebench.files import storage_trouble
from eebench.machine import wait_quietly
from eebench.manifest import UnverifiedWarning
from eebench.runs.signals import heeded

__all__ = ["app", "main"]

app = typer.Typer(
    name="eebench",
    help="Fair, honest benchmarks of early-exit methods for transformers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "run": run, "status": progress_of_run, "report": report, "cost": cost, "tune": tune, "list": listing,
    "export": export, "queue": queue,
    "import": import_, "export-predictions": export_predictions, "submit": submit, "verify": verify,
    "leaderboard": leaderboard, "reproduce": reproduce, "show": show, "check": check, "doctor": doctor, "new": new,
    "info": info,
    "ls": ls, "clean": clean, "merge": merge,
    "compare": compare,
}  # fmt: skip
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"eebench {version('eebench')}")
        raise typer.Exit


@app.callback()
def _whole(
    version: Annotated[
        bool, typer.Option("--version", help="Print eebench's version and end.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Options that stand before any command."""


INTERRUPTED, TERMINATED = 130, 143  # 128 + SIGINT and 128 + SIGTERM, as shells have it
STOPPED = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}


def main() -> NoReturn:
    """Entry point: user errors become one line and exit status 2."""
    _speak_plainly()
    wait_quietly()  # before torch is loaded
    try:
        with heeded(), _one_line_warnings():
            status = app(standalone_mode=False) or 0
    except typer.Abort as error:  # click makes one of an EOFError too, as reading a cut file raises
        if isinstance(error.__context__, EOFError):
            raise error.__context__ from None
        status = INTERRUPTED
    except KeyboardInterrupt:
        status = INTERRUPTED
    except TerminatedError:
        status = TERMINATED
    except typer.Exit as error:
        status = error.exit_code
    except Exception as error:
        status = _told(error)
    if status in STOPPED:  # of an interrupt versions of typer make different things
        say(f"{STOPPED[status]}{_how()}")
    sys.exit(status)


def _told(error: Exception) -> int:
    """Say on one line what went wrong, and return its exit status; what is eebench's own mistake is raised again."""
    if isinstance(error, UserError):
        return say(f"error: {' '.join(str(error).split())}", 2)
    if isinstance(error, StorageError):
        return _storage(str(error))
    if hasattr(error, "format_message"):  # click's own usage errors; none where it has printed help
        words = " ".join(error.format_message().split())
        return say(f"error: {words}", 2) if words else 2
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return say(f"error: {str(error.filename)[:40]}… is a longer name than the file system takes", 2)
    trouble = storage_trouble(error, _written(error))
    if trouble is None:
        raise error
    return _storage(trouble)


def _how() -> str:
    return "; what is done is kept, the same command goes on from there" if "run" in sys.argv[1:2] else ""


def _storage(trouble: str) -> int:
    """Say what the disk did; it is nobody's input that was wrong, so the status is 1."""
    return say(f"error: {trouble}{_how()}", 1)


def _written(error: Exception) -> Path:
    """Where something was being written when the disk failed, as far as the error tells."""
    name = getattr(error, "filename", None)
    return Path(os.fsdecode(name)).parent if isinstance(name, (str, bytes)) else Path()


def _speak_plainly() -> None:
    """A terminal that lacks a sign shows a question mark in its place; it ends no run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="replace")


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """What is said of a record without checksums is a line for the reader, without the line of code it came from."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", UnverifiedWarning)
        usual = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, UnverifiedWarning):
                say(f"note: {message}")
            else:
                usual(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
