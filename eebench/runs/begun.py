"""Folders of cells that are begun and not finished: at rest, found again by name; at work, one process's own.

At work a folder carries the token of its owner's lease. Whoever takes a lease over renames what the owner before has
left: that one, should it only have slept, finds its folder gone and can spoil nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from eebench.leases import Lease
from eebench.manifest import DamagedError, seal, spoilt_arrays

__all__ = ["UNFINISHED", "begin", "begun", "begun_cell", "leave", "remove", "seal_made", "try_to_remove"]

UNFINISHED = ".unfinished-"
_OWN = "~"


def begun_cell(folder: Path) -> str:
    """The name of the cell that a folder was begun for; any hidden folder among cells."""
    if folder.name.startswith(UNFINISHED):
        return folder.name.removeprefix(UNFINISHED).partition(_OWN)[0]
    return folder.name[1:].rpartition("-")[0]


def begun(cells: Path, cell_id: str) -> list[Path]:
    """Folders in which a cell was begun, the latest first."""
    found = [*cells.glob(f"{UNFINISHED}{cell_id}"), *cells.glob(f"{UNFINISHED}{cell_id}{_OWN}*")]
    return sorted(found, key=_changed, reverse=True)


def begin(cells: Path, lease: Lease, elsewhere: Iterator[Path], *, fresh: bool) -> Path:
    """A folder for the holder of a cell's lease to make it in.

    Args:
        cells: folder of a run's cells.
        lease: of the cell.
        elsewhere: folders of other runs' cells, where it may have been begun.
        fresh: go on with nothing that was left.
    """
    own = cells / f"{UNFINISHED}{lease.name}{_OWN}{lease.owner.token[:12]}"
    left = begun(cells, lease.name)
    if fresh:
        for folder in left:
            remove(folder)
        own.mkdir()
        return own
    for folder in [*left, *(path for other in elsewhere for path in begun(other, lease.name))]:
        with suppress(FileNotFoundError):
            os.replace(folder, own)
            break
    else:
        own.mkdir()
    for half in [*own.glob(".*"), *own.glob("tracing-*"), *own.glob("checkpoints/*.tmp")]:
        remove(half)  # whoever has it open writes on into what is no file's any more
    return own


def leave(folder: Path, lease: Lease) -> None:
    """The owner stops: what there is rests until somebody goes on with it, if it is its own to leave."""
    if not folder.exists():
        return
    if lease.intact() and any(folder.iterdir()):
        os.replace(folder, folder.with_name(f"{UNFINISHED}{lease.name}"))
    else:
        shutil.rmtree(folder, ignore_errors=True)


def seal_made(folder: Path, name: str) -> None:
    """Write the manifest of what has just been made.

    Raises:
        DamagedError: an array is not as it was computed; its file is removed, so that it is made again.
    """
    spoilt = spoilt_arrays(folder)
    for path in spoilt:
        path.unlink()
    if spoilt:
        raise DamagedError(f"{spoilt[0].name} was changed while its cell was made; the same command makes it again")
    seal(folder, cell=name)


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def try_to_remove(path: Path) -> None:
    """Remove it if that can be done: another run may be at the same."""
    with suppress(OSError):
        remove(path)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # taken over a moment ago
        return 0.0
