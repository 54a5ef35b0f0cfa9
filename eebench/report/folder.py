"""Where a report may be written, and how it gets there whole. Light, so that it is asked before hours of work."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from eebench.errors import UserError, shown
from eebench.leases import InUseError, Leases

__all__ = ["check_folder", "staged"]

_OURS = {"report.html", "report.md", "figures", "tables"}


def check_folder(out_dir: Path) -> None:
    """Refuse a report folder whose exchange would destroy what no report put there.

    Raises:
        UserError: a file, or a folder that holds something else.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f"report folder {shown(out_dir)} is a file")
    foreign = sorted({path.name for path in out_dir.iterdir()} - _OURS) if out_dir.exists() else []
    if foreign:
        what = f"holds {shown(foreign[0])}, which is no part of a report"
        raise UserError(f"report folder {shown(out_dir)} {what}; choose another folder")


@contextmanager
def staged(out_dir: Path) -> Iterator[Path]:
    """An empty folder to build a report in; it takes the place of the one that is there when the block ends well.

    One process at a time does so, the others wait; what killed ones have left is removed.

    Raises:
        UserError: it cannot be written there.
    """
    with ExitStack() as stack:
        try:
            out_dir.parent.mkdir(parents=True, exist_ok=True)
            _wait_for(stack, Leases(out_dir.parent / ".leases"), f"report-{out_dir.name}")
            _sweep(out_dir)
            stage = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
        except OSError as error:
            raise UserError(f"report folder {out_dir} cannot be written to: {error.strerror}") from error
        try:
            yield stage
            _swap(stage, out_dir)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def _wait_for(stack: ExitStack, leases: Leases, name: str) -> None:
    while True:
        try:
            stack.enter_context(leases.holding(name))
            return
        except InUseError:
            time.sleep(0.2)


def _sweep(out_dir: Path) -> None:
    """Remove what killed processes left beside a report; the caller holds its lease."""
    ours = re.compile(rf"\.{re.escape(out_dir.name)}[-~][a-z0-9_]{{8}}")
    for left in out_dir.parent.iterdir():
        if ours.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)


def _swap(stage: Path, out_dir: Path) -> None:
    """Put ``stage`` in the place of ``out_dir``; on failure the old report is put back."""
    if not out_dir.exists():
        stage.rename(out_dir)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}~", dir=out_dir.parent))
    kept = old / out_dir.name
    out_dir.rename(kept)
    try:
        stage.rename(out_dir)
    except OSError:
        kept.rename(out_dir)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
