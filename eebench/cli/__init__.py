"""The command line, one file a command. It starts fast: torch, timm and pandas are imported when work begins."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from eebench.errors import TerminatedError, UserError
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
    wait_quietly()  # before torch is loaded
    try:
        with heeded(), _one_line_warnings():
            status = app(standalone_mode=False) or 0
    except UserError as error:
        status = say(f"error: {' '.join(str(error).split())}", 2)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except TerminatedError:
        status = TERMINATED
    except typer.Exit as error:
        status = error.exit_code
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        words = " ".join(error.format_message().split())  # click's own usage errors; none where it has printed help
        status = say(f"error: {words}", 2) if words else 2
    if status in STOPPED:  # of an interrupt versions of typer make different things
        how = "; what is done is kept, the same command goes on from there" if "run" in sys.argv[1:2] else ""
        say(f"{STOPPED[status]}{how}")
    sys.exit(status)


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
