"""ImageNet-1K as folders ``train/`` and ``val/``; the latter is the test set, as everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eebench.data.kind import DataSet, Request, quoted
from eebench.data.kinds.folder import SPLIT_FOLDERS, load_folder, split_folders
from eebench.errors import UserError

if TYPE_CHECKING:
    from eebench.data.base import Data

__all__ = ["KIND", "ImageNet"]


class ImageNet(DataSet):
    """ImageNet-1K as folders train/ and val/; val/ is the test set."""

    name = "imagenet"

    def check(self, request: Request) -> None:
        split_folders(_folder(request.root))

    def load(self, request: Request) -> Data:
        return load_folder(request, _folder(request.root), own=False)


def _folder(root: Path) -> Path:
    """The folder that holds ``train/``: the data directory or its sub-folder ``imagenet``."""
    folders = [root, root / "imagenet"]
    for folder in folders:
        if (folder / "train").is_dir() and any((folder / val).is_dir() for val in SPLIT_FOLDERS["val"]):
            return folder
    raise UserError(f"data set 'imagenet' not found in {quoted(folders)}; expected train/CLASS/ and val/CLASS/ there")


KIND = ImageNet()
