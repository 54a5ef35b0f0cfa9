"""Data sets: ``known`` lists them, ``check`` looks at a name and a directory, ``load`` reads one.

Importing this imports nothing heavy: each data set's libraries are loaded when it is. Of one's own: a subclass of
``DataSet`` (see :mod:`eebench.data.kind`), or a ``Data`` object made by ``from_arrays``, handed to ``eebench.run``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eebench.data import kind as _kind
from eebench.data.kind import AUGMENTS, DataSet, Request
from eebench.data.registry import Registry
from eebench.discovery import Plugin

if TYPE_CHECKING:
    from eebench.data.arrays import from_arrays
    from eebench.data.base import Data, Split
    from eebench.data.images import image_data
    from eebench.data.pixels import pixel_data
    from eebench.data.preprocessing import Preprocessing
    from eebench.data.texts import text_data

__all__ = [
    "AUGMENTS",
    "Data",
    "DataSet",
    "Preprocessing",
    "Request",
    "Split",
    "check",
    "from_arrays",
    "image_data",
    "known",
    "load",
    "pixel_data",
    "text_data",
]

_HOME = {
    "Data": "base", "Preprocessing": "preprocessing", "Split": "base", "from_arrays": "arrays", "image_data": "images",
    "pixel_data": "pixels", "text_data": "texts",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'eebench.data' has no attribute {name!r}")
    return getattr(import_module(f"eebench.data.{_HOME[name]}"), name)


def known(plugins: Sequence[Plugin] = ()) -> dict[str, str]:
    """Every data set that can be named, in one line each; capitals stand for what the user fills in."""
    return Registry.installed(plugins).known()


def check(
    name: str,
    data_dir: Path | None = None,
    *,
    image_size: int | None = None,
    target: str | None = None,
    augment: str | None = None,
    limit: int | None = None,
    plugins: Sequence[Plugin] = (),
) -> None:
    """Say what is wrong with a data set's name, place or options before any work starts. Reads no data.

    Raises:
        UserError: in one line: unknown name (with the nearest one), a missing directory, file or library (named), or
            an option that does not apply.
    """
    kind, key = Registry.installed(plugins).find(name)
    _kind.check(kind, Request(name, key, data_dir, image_size, target, augment, limit))


def load(
    name: str | Data,
    *,
    data_dir: Path | None = None,
    image_size: int | None = None,
    target: str | None = None,
    augment: str | None = None,
    limit: int | None = None,
    plugins: Sequence[Plugin] = (),
) -> Data:
    """Read a data set and split it: the same name and files give the same splits everywhere.

    Args:
        name: one of ``known()``, a directory of images, or a data set made in Python, which is checked and limited.
        data_dir: where its files are; None looks in ``./data``. For the hub's sets: where they are cached.
        image_size: side in pixels to resize images to. None: small images (up to 32 pixels) keep their own size and
            bring the patch size for it, larger ones get 224. At a size other than its own, a small-image data set is
            fed as pre-trained models expect it: three channels, and the model's own patch size.
        target: ``csv:DIR`` only: a numeric column to predict (regression) in place of the column ``label``.
        augment: what is done to training images at random, one of ``AUGMENTS``; None: the data set's own default.
        limit: most training samples; splits that eebench makes itself shrink in proportion, official ones do not.
        plugins: files or classes that may bring further data sets.

    Returns:
        The data set. What is worth knowing about it, such as which split serves as the test set, is in its ``notes``.

    Raises:
        UserError: whatever is wrong, in one line.
    """
    if not isinstance(name, str):
        from eebench.data.arrays import given

        asked = Request(getattr(name, "name", ""), "", data_dir, image_size, target, augment, limit)
        return given(name, asked)
    kind, key = Registry.installed(plugins).find(name)
    request = Request(name, key, data_dir, image_size, target, augment, limit)
    _kind.check(kind, request)
    from eebench.data.arrays import checked, limited

    return limited(checked(kind.load(request)), limit)
