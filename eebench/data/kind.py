"""What a data set brings: its names, what it needs, how it is read. Imports nothing heavy; neither should a data set.

A data set of one's own is a class::

    from eebench.data import DataSet, pixel_data

    class Shapes(DataSet):
        \"\"\"2,000 drawn circles and squares, 2 classes.\"\"\"

        name = "shapes"

        def load(self, request):
            pixels, targets = draw()  # (N, C, H, W) uint8 and (N,) int64
            return pixel_data(request, {"train": (pixels, targets)}, ["circle", "square"])

It is found as the entry point ``shapes`` of group ``eebench.datasets``, or in a file named by ``--plugin``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from eebench.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from eebench.data.base import Data

__all__ = ["AUGMENTS", "DEFAULT_ROOT", "DataSet", "Request", "need_directory"]

DEFAULT_ROOT = Path("data")
"""Where data sets are looked for when no data directory is given, as in torchvision's examples."""

AUGMENTS = ("none", "shift", "crop", "crop+mirror", "randaugment")
"""What may be done at random to training images, see :mod:`eebench.data.augment`."""

BLANK = re.compile(r"[A-Z]+$")  # the part of a name that the user fills in: csv:DIR


@dataclass(frozen=True, slots=True)
class Request:
    """A data set as asked for."""

    name: str  # as typed
    key: str = ""  # what stands for the blank of its name: a folder, a task; the name where it has none
    data_dir: Path | None = None
    image_size: int | None = None  # side in pixels; None: the data set's own
    target: str | None = None  # the column to predict
    augment: str | None = None  # one of AUGMENTS; None: the data set's own default
    limit: int | None = None  # most training samples

    @property
    def root(self) -> Path:
        """The data directory, or the one looked in where none is given."""
        return (self.data_dir or DEFAULT_ROOT).expanduser()


class DataSet:
    """A data set, or a family of them under one prefix: subclass it, name it, write ``load``."""

    name: ClassVar[str] = ""
    """What users type. Capitals at its end are a blank they fill in, which ``load`` gets as ``request.key``."""

    modality: ClassVar[str] = "vision"  # or "text"
    library: ClassVar[tuple[str, str] | None] = None
    """A module that must be importable, and what to install where it is not."""

    caches: ClassVar[bool] = False  # the data directory is where downloads are kept: made when missing
    targets: ClassVar[bool] = False  # --target names a column to predict

    def names(self) -> dict[str, str]:
        """Every name users can type, with its line for ``eebench list``: the docstring's first unless overridden."""
        return {self.name: (type(self).__doc__ or "").strip().partition("\n")[0].rstrip(".")}

    def find(self, name: str) -> str | None:
        """The key of a typed name, see ``Request.key``; None where the name is not this data set's.

        Raises:
            UserError: the prefix alone, without what comes after it.
        """
        if name in self.names() and not BLANK.search(name):
            return name
        for pattern in self.names():
            prefix = BLANK.sub("", pattern)
            if prefix != pattern and name.startswith(prefix):
                if name == prefix:
                    raise UserError(f"data set '{name}' lacks what comes after it, as in {pattern}")
                return name.removeprefix(prefix)
        return None

    def check(self, request: Request) -> None:
        """Raise a UserError where files are missing. Reads no data; called before anything is loaded."""

    def load(self, request: Request) -> Data:
        """Read and split the data set: ``pixel_data``, ``image_data`` and ``text_data`` do the rest.

        Raises:
            UserError: whatever is wrong with the files, in one line.
        """
        raise NotImplementedError(f"{type(self).__name__} has no load()")


def check(kind: DataSet, request: Request) -> None:
    """Everything that can be said without reading data; see :func:`eebench.data.check`."""
    name = request.name
    vision = kind.modality == "vision"
    if request.image_size is not None and not vision:
        raise UserError(f"data set '{name}' is text: an image size does not apply")
    if request.image_size is not None and request.image_size < 1:
        raise UserError(f"image size {request.image_size} is not a positive number of pixels")
    if request.target is not None and not kind.targets:
        raise UserError(f"data set '{name}' has its own target: --target applies to csv:DIR only")
    if request.augment is not None and request.augment not in AUGMENTS:
        raise UserError(f"unknown augmentation '{request.augment}'{did_you_mean(request.augment, AUGMENTS)}")
    if request.augment not in (None, "none") and not vision:
        raise UserError(f"data set '{name}' is text: --augment {request.augment} applies to images")
    if request.limit is not None and request.limit < 2:
        raise UserError(f"--limit {request.limit}: at least 2 training samples are needed")
    if request.data_dir is not None and not kind.caches:
        need_directory(request.data_dir, "data directory")
    if kind.library is not None and find_spec(kind.library[0]) is None:
        module, install = kind.library
        raise UserError(f"data set '{name}' needs the {module} library: pip install '{install}'")
    kind.check(request)


def need_directory(path: Path, what: str) -> Path:
    """``path`` when it is a directory; a UserError that says what was looked for otherwise."""
    path = path.expanduser()
    if not path.is_dir():
        state = "is not a directory" if path.exists() else "does not exist"
        raise UserError(f"{what} '{path}' {state}")
    return path


def quoted(paths: Sequence[Path]) -> str:
    """Paths for a message."""
    return ", ".join(f"'{path}'" for path in paths)
