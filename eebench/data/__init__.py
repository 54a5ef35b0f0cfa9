"""Data sets: ``known`` lists them, ``check`` looks at a name and a directory, ``load`` reads one.

Importing this imports nothing heavy: each data set's libraries are loaded when it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eebench.data import disk
from eebench.data.names import known, parse
from eebench.errors import UserError

if TYPE_CHECKING:
    from eebench.data.base import Data

__all__ = ["check", "known", "load"]

TEXT = ("csv", "glue")


def check(name: str, data_dir: Path | None = None, *, image_size: int | None = None, target: str | None = None) -> None:
    """Say what is wrong with a data set's name, place or options before any work starts. Reads no data.

    Raises:
        UserError: in one line: unknown name (with the nearest one), a missing directory, file or library (named), or
            an option that does not apply.
    """
    kind, rest = parse(name)
    if image_size is not None and kind in TEXT:
        raise UserError(f"data set '{name}' is text: an image size does not apply")
    if image_size is not None and image_size < 1:
        raise UserError(f"image size {image_size} is not a positive number of pixels")
    if target is not None and kind != "csv":
        raise UserError(f"data set '{name}' has its own target: --target applies to csv:DIR only")
    if data_dir is not None and kind not in ("hfds", "glue"):  # there it is a cache, made when missing
        disk.need_directory(data_dir, "data directory")
    if kind in ("hfds", "glue"):
        disk.need_library("datasets", name, "eebench[text]")
    elif kind == "wds":
        disk.need_library("webdataset", name, "webdataset")
        disk.wds_root(name, data_dir)
    elif kind == "idx":
        disk.idx_files(rest, data_dir)
    elif kind == "torch":
        disk.torch_root(rest, data_dir)
    elif kind == "imagenet":
        disk.split_folders(disk.imagenet_folder(data_dir))
    elif kind == "folder":
        disk.split_folders(Path(rest))
    elif kind == "csv":
        disk.csv_files(Path(rest))


def load(name: str, *, data_dir: Path | None = None, image_size: int | None = None, target: str | None = None) -> Data:
    """Read a data set and split it: the same name and files give the same splits everywhere.

    Args:
        name: one of ``known()``, or a directory of images.
        data_dir: where its files are; None looks in ``./data``. For the hub's sets: where they are cached.
        image_size: side in pixels to resize images to. None: small images (up to 32 pixels) keep their own size and
            bring the patch size for it, larger ones get 224. At a size other than its own, a small-image data set is
            fed as pre-trained models expect it: three channels, and the model's own patch size.
        target: ``csv:DIR`` only: a numeric column to predict (regression) in place of the column ``label``.

    Returns:
        The data set. What is worth knowing about it, such as which split serves as the test set, is in its ``notes``.

    Raises:
        UserError: whatever is wrong, in one line.
    """
    check(name, data_dir, image_size=image_size, target=target)
    kind, rest = parse(name)
    if kind == "csv":
        from eebench.data.text import load_csv

        return load_csv(name, Path(rest), target)
    if kind == "glue":
        from eebench.data.glue import load_glue

        return load_glue(name, rest, data_dir)
    if kind == "digits":
        from eebench.data.digits import load_digits

        return load_digits(name, image_size)
    if kind == "idx":
        from eebench.data.idx import load_idx

        return load_idx(name, rest, data_dir, image_size)
    from eebench.data.vision import load_folder, load_hfds, load_torch, load_wds

    if kind == "torch":
        return load_torch(name, rest, data_dir, image_size)
    if kind == "hfds":
        return load_hfds(name, rest, data_dir, image_size)
    if kind == "wds":
        return load_wds(name, data_dir, image_size)
    folder = disk.imagenet_folder(data_dir) if kind == "imagenet" else Path(rest).expanduser()
    return load_folder(name, folder, image_size)
