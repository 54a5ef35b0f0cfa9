"""Your own images: ``folder:DIR``, or the directory alone.

``DIR/train/CLASS/*`` with ``test/`` and perhaps ``val/``, or ``DIR/CLASS/*`` that eebench splits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from eebench.data.kind import DataSet, Request, need_directory
from eebench.errors import UserError, shown

if TYPE_CHECKING:
    from eebench.data.base import Data

__all__ = ["KIND", "Folder", "load_folder", "split_folders"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test",)}


class Folder(DataSet):
    """Your images: DIR/train/CLASS/*.jpg, test/, perhaps val/; or DIR/CLASS/*.jpg, which eebench splits."""

    name = "folder:DIR"

    def check(self, request: Request) -> None:
        split_folders(Path(request.key))

    def load(self, request: Request) -> Data:
        return load_folder(request, Path(request.key), own=True)


def load_folder(request: Request, root: Path, *, own: bool) -> Data:
    """A folder of images, class by class.

    Args:
        request: what was asked for.
        root: the folder.
        own: the user's own images; False for a known data set of photographs.

    Raises:
        UserError: see ``split_folders``; a class folder without images; fewer than two classes; a class that only the
            test images have; a link that leads back into its own folder; a class name that is not UTF-8.
    """
    import numpy as np
    from timm.utils import natural_key

    from eebench.data.images import file_source, image_data

    folders = split_folders(root)
    labels = sorted(class_folders(folders["train"]), key=natural_key)
    ids = {label: i for i, label in enumerate(labels)}
    notes: list[str] = []
    sources = {}
    suffixes = " ".join(SUFFIXES)
    for split, folder in folders.items():
        strange = sorted(set(class_folders(folder)) - set(labels))
        if strange:
            known = shown(folders["train"])
            raise UserError(f"'{shown(folder / strange[0])}' is a class that the training images in '{known}' lack")
        found, ignored = [], 0
        for file in _files(folder):
            label = file.parent.relative_to(folder).parts
            if file.suffix.lower() in SUFFIXES and label and label[0] in ids:
                found.append((file, ids[label[0]]))
            else:
                ignored += 1
        found.sort(key=lambda pair: natural_key(str(pair[0])))
        targets = np.array([target for _, target in found], dtype=np.int64)
        if not found:
            raise UserError(f"image folder '{shown(folder)}' holds no images ({suffixes})")
        empty = [labels[c] for c in np.setdiff1d(np.arange(len(labels)), targets)]
        if empty and split == "train":
            raise UserError(f"class folder '{shown(folder / empty[0])}' holds no images ({suffixes})")
        notes += [f"no {split} image of class {', '.join(empty)}"] if empty else []
        notes += (
            [f"{ignored:,} files in '{shown(folder)}' are no images of a class and were ignored"] if ignored else []
        )
        sources[split] = file_source([file for file, _ in found], targets)
    return image_data(request, sources, labels, flip=not own, own=own, notes=notes)


def split_folders(root: Path) -> dict[str, Path]:
    """Folders of an image folder's splits, keyed train, val, test; just ``train`` (the root) where there are none.

    Raises:
        UserError: no such directory, no class folders, test images without training images, or two names of one split.
    """
    root = need_directory(root, "image folder")
    present = {split: [root / n for n in names if (root / n).is_dir()] for split, names in SPLIT_FOLDERS.items()}
    for folders in present.values():
        if len(folders) > 1:
            raise UserError(
                f"image folder '{shown(root)}' has both {folders[0].name}/ and {folders[1].name}/: keep one"
            )
    found = {split: folders[0] for split, folders in present.items() if folders}
    if found and "train" not in found:
        raise UserError(f"image folder '{shown(root)}' has {next(iter(found.values())).name}/ but no train/")
    found = found or {"train": root}
    for folder in found.values():
        if not class_folders(folder):
            raise UserError(f"image folder '{shown(folder)}' has no class sub-folders")
    return found


def class_folders(folder: Path) -> list[str]:
    """Names of the class folders; those that start with a dot are no classes."""
    found = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for name in found:
        if shown(name) != name:
            raise UserError(f"class folder '{shown(folder / name)}': its name cannot be printed as UTF-8; rename it")
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Every file below, links followed, but for hidden folders' at the top.

    Raises:
        UserError: a link that leads back to a folder above it, which would never end.
    """
    todo = [(folder, frozenset[tuple[int, int]]())]
    while todo:
        here, above = todo.pop()
        state = here.stat()
        key = (state.st_dev, state.st_ino)
        if key in above:
            raise UserError(f"'{shown(here)}' is a link that leads back to a folder above it: remove it")
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"image folder '{shown(here)}' cannot be read: {error.strerror}") from None
        for entry in entries:
            try:
                folder_too = entry.is_dir()
            except OSError:  # a link to itself: what reads it will say so
                folder_too = False
            if folder_too:
                if here != folder or not entry.name.startswith("."):
                    todo.append((Path(entry.path), above | {key}))
            else:
                yield Path(entry.path)


KIND = Folder()
