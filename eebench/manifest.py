"""Manifests: checksums of what a cell or a record holds, written last. What was damaged since is found when it is read.

A manifest finds accidents (a cut file, a flipped byte, a power cut, a folder copied half) and edits by hand. It is no
signature: whoever rewrites a file and its manifest alike is found out by the live comparison alone, which runs the
weights again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eebench.errors import UserError, shown
from eebench.files import durable, write_json

__all__ = [
    "CLEANED",
    "MANIFEST",
    "DamagedError",
    "UnverifiedWarning",
    "check_cell",
    "check_run",
    "faults_of_cell",
    "faults_of_folder",
    "faults_of_run",
    "is_record_only",
    "seal",
    "sha256",
    "spoilt_arrays",
]

MANIFEST = "manifest.json"
VERSION = 1
TICK = 100_000_000  # nanoseconds: clocks of file systems are coarser than that of the processor
BULK = (".safetensors", ".npz", ".npy")
"""What a published copy of a record leaves out of its cells: weights, traces, costs, logits."""

WEIGHTS = ".safetensors"
CLEANED = ".cleaned"
"""A file in a cell whose weights were removed on purpose."""

_READ = (*BULK, ".json")  # kinds of files that are read if they are there: one that nobody listed is foreign
_known: dict[tuple[int, int, int, int], str] = {}  # checksums by (device, inode, size, time of change)


class DamagedError(UserError):
    """What is stored is not what was written."""


class UnverifiedWarning(UserWarning):
    """A record without checksums, as older versions of eebench wrote them: nothing can be said for or against it."""


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; read once a process as long as size and time of change stay."""
    about = path.stat()
    key = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
    if key in _known:
        return _known[key]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time_ns() - about.st_mtime_ns > TICK:  # a change within one tick of the file system's clock would not show
        _known[key] = found
    return found


def seal(folder: Path, names: Iterable[str] | None = None, **facts: Any) -> Path:
    """Write a folder's manifest, everything that it lists being on the disk before it.

    Args:
        folder: of a cell or of a record.
        names: files to list, relative to it; everything in it but hidden files when not given.
        **facts: what the manifest says of the whole, such as ``cell="pabee-s0-…"``.
    """
    listed = sorted(_files(folder) if names is None else names)
    found = {}
    for name in listed:
        durable(folder / name)
        found[name] = {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
    path = write_json(folder / MANIFEST, {"version": VERSION, **facts, "files": found})
    durable(path)
    durable(folder)
    return path


def faults_of_cell(folder: Path, cell: str, expected: str | None = None) -> list[str]:
    """What is wrong with a cell, a few words each; nothing when it is as it was written.

    Args:
        folder: of the cell.
        cell: the cell's name.
        expected: SHA-256 of its manifest as a record has it.
    """
    try:
        listed = _listed(folder)
    except DamagedError as error:
        return [str(error)]
    path = folder / MANIFEST
    if expected is not None and sha256(path) != expected:
        return ["it is another cell than the one the record was made from"]
    if listed.get("cell") != cell:
        return [f"{MANIFEST} is that of another cell, {listed.get('cell')}"]
    files = listed["files"]
    if is_record_only(folder):
        files = {name: facts for name, facts in files.items() if not name.endswith(BULK) or (folder / name).exists()}
    return [*_faults(folder, files), *_foreign(folder, listed["files"])]


def faults_of_folder(folder: Path) -> list[str]:
    """What is wrong with a folder that was sealed whole: files that changed, are missing, or nobody listed."""
    try:
        listed = _listed(folder)["files"]
    except DamagedError as error:
        return [str(error)]
    strange = [f"{shown(name)} is not the folder's own" for name in _files(folder) if name not in listed]
    return [*_faults(folder, listed), *strange]


def spoilt_arrays(folder: Path) -> list[Path]:
    """Array files (.npz) whose content is not what was computed, before there is a manifest.

    numpy writes each with a checksum of the array as it was in memory.
    """
    found = []
    for path in sorted(folder.glob("*.npz")):
        try:
            with zipfile.ZipFile(path) as file:
                spoilt = file.testzip() is not None
        except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
            spoilt = True
        if spoilt:
            found.append(path)
    return found


def is_record_only(folder: Path) -> bool:
    """Whether a cell is a published copy, without weights and traces, or one that ``eebench clean`` took weights from.

    Weights that are gone otherwise are damage.
    """
    try:
        bulk = [name for name in _listed(folder)["files"] if name.endswith(BULK)]
    except DamagedError:
        return False
    taken = [name for name in bulk if name.endswith(WEIGHTS)] if (folder / CLEANED).exists() else bulk
    return bool(taken) and not any((folder / name).exists() for name in taken)


def check_cell(folder: Path, cell: str, checksums: Mapping[str, str]) -> None:
    """Refuse a cell that is not as the record has it.

    Args:
        folder: of the cell.
        cell: the cell's name.
        checksums: of the record; an older one has none, and nothing is checked.

    Raises:
        DamagedError: cut, edited, foreign or lacking something.
    """
    if checksums and (faults := faults_of_cell(folder, cell, checksums.get(f"cells/{cell}/{MANIFEST}"))):
        raise DamagedError(f"{shown(folder)}: {faults[0]}; run the benchmark here again and it is made anew")


def faults_of_run(run: Path) -> list[str] | None:
    """What is wrong with ``run.json`` and the tables, a few words each; None when nothing tells (an older record)."""
    checksums = _checksums(run)
    if not (run / MANIFEST).exists():
        return [f"{MANIFEST} is missing"] if checksums else None
    try:
        listed = _listed(run)
    except DamagedError as error:
        return [str(error)]
    own = _faults(run, listed["files"])
    if own:
        return own
    top = {name: {"sha256": value} for name, value in checksums.items() if not name.endswith(f"/{MANIFEST}")}
    if not all(map(_inside, top)):
        return ["run.json lists files outside the run"]
    # a published copy may do without a whole folder beside its tables: who needs it says so
    top = {name: facts for name, facts in top.items() if "/" not in name or (run / name.partition("/")[0]).exists()}
    tables = [*run.glob("*.csv"), *run.glob("*.npz")]
    strange = sorted(path.name for path in tables if path.name not in top)
    return [*_faults(run, top), *(f"{shown(name)} is not the run's own" for name in strange)]


def check_run(run: Path) -> None:
    """Refuse a record that is not as it was written; one without checksums is warned of.

    Raises:
        DamagedError: ``run.json`` or a table was cut, edited, exchanged or is missing.
    """
    faults = faults_of_run(run)
    if faults is None:
        warnings.warn(f"{shown(run)}: unverified, an older eebench wrote no checksums", UnverifiedWarning, stacklevel=3)
    elif faults:
        raise DamagedError(f"{shown(run)}: {faults[0]}; run the benchmark here again and the record is written anew")


def _checksums(run: Path) -> dict[str, str]:
    """Those that run.json has of its tables and cells; none of what cannot be read: whoever reads it says so."""
    try:
        found = json.loads((run / "run.json").read_bytes()).get("checksums")
    except (OSError, ValueError, AttributeError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _listed(folder: Path) -> dict[str, Any]:
    """A manifest's content.

    Raises:
        DamagedError: missing or damaged itself.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_bytes())
        if all(_inside(name) and isinstance(facts["sha256"], str) for name, facts in found["files"].items()):
            return found
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(f"{MANIFEST} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise DamagedError(f"{MANIFEST} is damaged") from None


def _inside(name: str) -> bool:
    """Whether a listed name stays within the folder that lists it."""
    return not os.path.isabs(name) and ".." not in Path(name).parts


def _faults(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = []
    for name, facts in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if not path.is_file():
                found.append(f"{shown(name)} is no file")
            elif size != facts.get("bytes", size):
                found.append(f"{shown(name)} has {size} of {facts['bytes']} bytes")
            elif sha256(path) != facts["sha256"]:
                found.append(f"{shown(name)} is not as it was written")
        except FileNotFoundError:
            found.append(f"{shown(name)} is missing")
        except OSError as error:
            found.append(f"{shown(name)} cannot be read: {error.strerror}")
    return found


def _foreign(folder: Path, files: Mapping[str, Any]) -> list[str]:
    names = (name for name in _files(folder) if name not in files and "/" not in name and name.endswith(_READ))
    return [f"{shown(name)} is not the cell's own" for name in names]


def _files(folder: Path) -> list[str]:
    """Files below a folder by their relative names, but hidden ones and the manifest itself."""
    found = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [p.as_posix() for p in found if p.name != MANIFEST and not any(part.startswith(".") for part in p.parts)]
