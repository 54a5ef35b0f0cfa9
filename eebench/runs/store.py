"""Where runs live: ``results/<run>/`` with its tables, and finished cells that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from eebench.engine.requests import requests
from eebench.errors import StorageError, UserError, shown
from eebench.files import durable, storage_trouble
from eebench.leases import InUseError, Lease, LeaseLostError, Leases, Owner
from eebench.manifest import DamagedError, faults_of_cell, faults_of_run, is_record_only, spoilt_arrays
from eebench.record import RunRecord
from eebench.runs.begun import begin, begun, leave, remove, seal_made, try_to_remove
from eebench.runs.probed import probed
from eebench.runs.publishing import publish
from eebench.runs.sweeping import ASIDE, at_work, sweep

__all__ = ["Store"]

LEASES = ".leases"  # folder of the results: runs beside each other share cells


class Store:
    """One run's directory.

    Args:
        root: the results folder, made if need be.
        run: the run's folder name.
        repair: set damaged cells aside, so that they are made again; otherwise refuse them.
        say: hears what was damaged.

    Raises:
        UserError: ``root`` is a file, or cannot be written to.
        StorageError: the disk is full.
    """

    def __init__(
        self, root: Path, run: str, *, repair: bool = True, say: Callable[[str], None] = lambda line: None
    ) -> None:
        if root.exists() and not root.is_dir():
            raise UserError(f"output directory {root} is a file")
        self.root, self.repair, self.say = root, repair, say
        self.path = root / run
        self.leases = Leases(root / LEASES, lost=_stop)
        self.record_lease = f"record-{run}"
        self._recording: Lease | None = None
        try:
            (self.path / "cells").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path) as file:
                file.write(bytes(1 << 16))
                file.flush()
        except OSError as error:
            trouble = storage_trouble(error, self.path) if self.path.is_dir() else None
            if trouble is not None:
                raise StorageError(trouble) from error
            raise UserError(f"output directory {root} cannot be written to: {error.strerror}") from None
        sweep(self.path, self.leases, self.record_lease)

    def about(self, at: str, **more: Any) -> dict[str, Any]:
        """What a lease says of itself: of this run, at what, and more."""
        return {"run": self.path.name, "at": at, **more}

    def others(self, *at: str) -> list[Owner]:
        """Processes, this one too, that are at something in this run now."""
        return at_work(self.leases, self.path.name, at)

    def cell(self, cell_id: str) -> Path | None:
        """A finished cell of this run, or of a sister run, from which it is then linked; None when there is none.

        A cell of this run that is not as it was written is set aside, one of a sister run left alone.

        Raises:
            DamagedError: it would be set aside, and the store repairs nothing.
            InUseError: another process is about to put it there.
        """
        own = self.path / "cells" / cell_id
        if own.exists():
            faults = faults_of_cell(own, cell_id)
            if faults:
                with self._at(cell_id) if self.repair else nullcontext():
                    if faults_of_cell(own, cell_id):  # or a run beside this one has made it again
                        self._set_aside(own, faults[0], cell_id)
            elif not is_record_only(own):
                return own
            else:
                self.say(f"to be made again: {shown(own)}: it has no weights")
        for other in sorted(self.root.glob(f"*/cells/{cell_id}")):
            faults = faults_of_cell(other, cell_id)
            if faults or is_record_only(other):
                self.say(f"not taken over: {shown(other)}: {faults[0] if faults else 'it has no weights or traces'}")
                continue
            with self._at(cell_id) as lease, self._replacing(own, lease) as folder:
                shutil.copytree(other, folder, dirs_exist_ok=True, copy_function=_link)
            return own
        return None

    def beside(self, unit: str) -> Path | None:
        """A sealed folder beside the cells, by its path within the run; None when there is none.

        One that is not as it was written is set aside.

        Raises:
            DamagedError: it would be set aside, and the store repairs nothing.
        """
        own = self.path / unit
        if not own.exists():
            return None
        faults = faults_of_cell(own, unit)
        if faults:
            self._set_aside(own, faults[0], unit.replace("/", "-"))
        return None if faults else own

    def _set_aside(self, damaged: Path, fault: str, name: str) -> None:
        """Move what is damaged out of the way, for somebody to look at.

        Raises:
            DamagedError: the store repairs nothing.
        """
        if not self.repair:
            raise DamagedError(f"{shown(damaged)}: {fault}; without --no-repair it is set aside and made again")
        aside = self.path / ASIDE
        aside.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # a run beside this one has done it
            remove(aside / name)
            os.replace(damaged, aside / name)
        self.say(f"set aside, to be made again: {shown(damaged)}: {fault}")

    def check(self) -> None:
        """Say that the record, which is written anew at the end, is not as it was written; refuse it without repair.

        Cells are looked at as they are needed; without repair all of them here, before any work.

        Raises:
            DamagedError: the record or a cell is not as it was written, and the store repairs nothing.
        """
        for fault in (faults_of_run(self.path) or [])[:1]:
            if not self.repair:
                raise DamagedError(f"{shown(self.path)}: {fault}; without --no-repair the record is written anew")
            self.say(f"to be written anew: {shown(self.path)}: {fault}")
        for cell in () if self.repair else sorted((self.path / "cells").glob("[!.]*")):
            self.cell(cell.name)
        for unit in () if self.repair else probed(self.path):
            self.beside(unit)

    @contextmanager
    def writing(self, cell_id: str) -> Iterator[Path]:
        """A folder to fill; it becomes the cell when the block ends well, and vanishes when it does not."""
        with self._at(cell_id) as lease, self._replacing(self.path / "cells" / cell_id, lease) as temporary:
            yield temporary
            seal_made(temporary, cell_id)

    @contextmanager
    def writing_beside(self, unit: str) -> Iterator[Path]:
        """A folder to fill; it becomes the sealed folder of that path within the run when the block ends well.

        Whoever reads this run does so, under the lease of its record.
        """
        (self.path / unit).parent.mkdir(parents=True, exist_ok=True)
        with self._replacing(self.path / unit, None) as temporary:
            yield temporary
            seal_made(temporary, unit)

    @contextmanager
    def _replacing(self, target: Path, lease: Lease | None) -> Iterator[Path]:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            yield temporary
            if lease is not None:
                lease.renew()
            self._put(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @contextmanager
    def making(self, cell_id: str, *, fresh: bool = False) -> Iterator[Path]:
        """A folder to make a cell in, found again by the cell's name when whoever made it was stopped or killed.

        It becomes the cell when the block ends well. When it does not, it stays as it is, if there is anything in it;
        so it does for a sister run, which takes it over. With ``fresh`` nothing that was left is gone on with.

        Raises:
            InUseError: another process makes this cell, has just made it, or times what it reads of this run.
            LeaseLostError: another process has taken it over, this one having slept.
        """
        cells = self.path / "cells"
        with self._at(cell_id) as lease:
            if not fresh and (cells / cell_id).exists() and not is_record_only(cells / cell_id):
                raise InUseError(cell_id, None)
            folder = begin(cells, lease, self.root.glob("*/cells"), fresh=fresh)
            try:
                for spoilt in spoilt_arrays(folder):
                    self.say(f"to be made again: {shown(spoilt)}: it is not as it was computed")
                    spoilt.unlink()
                yield folder
                seal_made(folder, cell_id)
                lease.renew()
                self._put(folder, cells / cell_id)
            except Exception as error:
                if not isinstance(error, LeaseLostError) and not lease.intact():
                    raise LeaseLostError(f"another process has taken {cell_id} over") from error
                raise
            finally:
                leave(folder, lease)

    @contextmanager
    def _at(self, cell_id: str) -> Iterator[Lease]:
        """Hold a cell's lease while nobody reads and times this run."""
        with self.leases.holding(cell_id, **self.about("cell")) as lease:
            reader = self.leases.holder(self.record_lease)
            if reader is not None and (self._recording is None or reader != self._recording.owner):
                raise InUseError(self.record_lease, reader)
            yield lease

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Read, time and publish in this block, alone: no cell of this run is begun meanwhile, by whomever.

        Raises:
            InUseError: another process is at that.
        """
        if self._recording is not None:
            yield
            return
        with self.leases.holding(self.record_lease, **self.about("record")) as self._recording:
            try:
                yield
            finally:
                self._recording = None

    def _put(self, folder: Path, target: Path) -> None:
        if target.exists():
            shutil.rmtree(target)
        os.replace(folder, target)
        durable(target.parent)

    def forget(self, cell_id: str) -> None:
        """Remove a finished cell."""
        shutil.rmtree(self.path / "cells" / cell_id, ignore_errors=True)

    def abandon(self, cell_id: str) -> None:
        """Remove what there is of an unfinished cell, if nobody is at it."""
        with suppress(InUseError), self.leases.holding(cell_id):
            for left in begun(self.path / "cells", cell_id):
                try_to_remove(left)

    def publish(
        self,
        tables: Mapping[str, Iterable[Mapping[str, Any]]],
        raw: Mapping[str, Mapping[str, np.ndarray]],
        record: RunRecord,
    ) -> Path:
        """Put a record in the place of the one that is there: all files are written before the first is exchanged.

        Args:
            tables: rows of the documented tables, by name.
            raw: arrays of files beside them, by file name without ``.npz``.
            record: what becomes ``run.json``, with the checksums of everything else.

        Returns:
            The path of ``run.json``.
        """
        try:
            with self.recording():
                assert self._recording is not None
                return publish(self.path, tables, raw, record, self._recording.renew)
        except InUseError as error:
            raise UserError(f"{shown(self.path)}: {error.owner or 'another process'} is writing this record") from None
        except LeaseLostError:
            words = "this process was stopped for so long that another one took over; run the same command again"
            raise UserError(f"{shown(self.path)}: {words}") from None


def _stop() -> None:
    """This process has slept so long that its cell is another one's: a training that goes on here stops."""
    with suppress(LeaseLostError):
        requests.ask_to_stop(LeaseLostError("another process has taken the cell over"))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
