"""WebDataset shards in the data directory, with timm's info file. Read from disk, image by image, in any order.

A shard is an uncompressed tar file: once it is known where each image begins, none need be unpacked, held in memory or
read in sequence. So training sees every image in an order that is a function of (seed, epoch), as of any data set.
"""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eebench.data.kind import DataSet, Request, need_directory
from eebench.errors import UserError, shown

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from eebench.data.base import Data
    from eebench.data.images import Source

__all__ = ["KIND", "WebDataset"]

MEMBER = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
"""A sample's key and what this part of it is, parted as the webdataset library does."""

IMAGES = ("jpg", "jpeg", "png", "webp")


class WebDataset(DataSet):
    """WebDataset shards (tar files) in the data directory, with timm's _info.json."""

    name = "wds/NAME"

    def check(self, request: Request) -> None:
        _info(request)

    def load(self, request: Request) -> Data:
        """Splits ``train``, and ``val`` or ``validation`` or ``test``; targets are ``.cls`` or a field of ``.json``.

        Raises:
            UserError: no info file, no ``train`` split in it, a shard that is missing or damaged, a sample without
                image or target, or another number of samples than the info file promises.
        """
        from eebench.data.images import image_data

        root, info = _info(request)
        splits = _splits(info)
        names = {"train": "train", "val": "val" if "val" in splits else "validation", "test": "test"}
        sources = {split: _source(root, info, splits[theirs]) for split, theirs in names.items() if theirs in splits}
        classes = 1 + max(int(source.targets.max()) for source in sources.values())
        return image_data(request, sources, [str(c) for c in range(classes)])


def _info(request: Request) -> tuple[Path, Path]:
    """Folder of the shards, and the info file in it that lists them split by split."""
    root = need_directory(request.root, "data directory")
    for info in (root / "_info.json", root / "info.json"):
        if info.is_file():
            return root, info
    raise UserError(f"data set '{request.name}': '{root}' lacks _info.json, which lists the shards of each split")


def _splits(info: Path) -> dict[str, dict[str, Any]]:
    """Splits that have samples: ``name``, ``num_samples``, ``filenames`` and perhaps ``alt_label`` of each."""
    try:
        found = json.loads(info.read_text(encoding="utf-8"))["splits"]
        splits = {
            name: {
                "name": name,
                "num_samples": int(entry["num_samples"]),
                "filenames": [str(file) for file in entry["filenames"]],
                "alt_label": entry.get("alt_label", ""),
            }
            for name, entry in found.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{info}' is not an info file of WebDataset splits: {type(error).__name__}: {error}") from None
    splits = {name: split for name, split in splits.items() if split["num_samples"]}
    if "train" not in splits:
        raise UserError(f"'{info}' has no training samples; its splits: {', '.join(found) or 'none'}")
    return splits


def _source(root: Path, info: Path, split: dict[str, Any]) -> Source:
    """A split's images, none of them read yet."""
    import numpy as np

    from eebench.data.images import Source
    from eebench.data.index import files_stamp

    files = [root / file for file in split["filenames"]]
    places, targets = [], []
    for number, file in enumerate(files):
        for start, size, target in _samples_in(file, split["alt_label"]):
            places.append((number, start, size))
            targets.append(target)
    if len(targets) != split["num_samples"]:
        raise UserError(
            f"'{info}' promises {split['num_samples']:,} {split['name']} samples; the shards hold {len(targets):,}"
        )
    where = np.array(places, dtype=np.int64)
    stamp = files_stamp(files)
    read = _Shards(files, where)
    chosen = np.array(targets, dtype=np.int64)
    return Source(read, chosen, raw=read.raw, stamp=lambda ids: stamp + where[ids].tobytes())


def _samples_in(shard: Path, field: str) -> list[tuple[int, int, int]]:
    """(start of the image in bytes, its size, target) of every sample of a shard."""
    samples: list[tuple[int, int, int]] = []
    image: tuple[int, int] | None = None
    target: int | None = None
    current = ""

    def finish() -> None:
        if not current:
            return
        if image is None or target is None:
            lacks = f"an image ({', '.join(IMAGES)})" if image is None else f"a target ({field or 'cls'})"
            raise UserError(f"sample '{shown(current)}' of shard '{shown(shard)}' lacks {lacks}")
        if target >= 0:  # those below are unlabelled
            samples.append((*image, target))

    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                parted = MEMBER.fullmatch(member.name)
                if not member.isfile() or parted is None:
                    continue
                key, part = parted.group(1), parted.group(2).lower()
                if key != current:
                    finish()
                    current, image, target = key, None, None
                if part in IMAGES:
                    image = (member.offset_data, member.size)
                elif part == ("json" if field else "cls"):
                    content = tar.extractfile(member)
                    text = content.read() if content is not None else b""
                    target = int(json.loads(text)[field]) if field else int(text)
            finish()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"shard '{shown(shard)}' cannot be read: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"sample '{shown(current)}' of shard '{shown(shard)}' has no whole number: {error}") from None
    return samples


class _Shards:
    """Reads images out of tar files; a class, so that loader processes can be handed it."""

    def __init__(self, files: list[Path], where: np.ndarray) -> None:
        self.files, self.where = files, where

    def raw(self, index: int) -> bytes:
        number, start, size = self.where[index].tolist()
        with self.files[number].open("rb") as file:
            file.seek(start)
            return file.read(size)

    def __call__(self, index: int) -> Image.Image:
        import io

        from PIL import Image

        from eebench.data.preprocessing import UNREADABLE, rgb, unreadable

        try:
            with Image.open(io.BytesIO(self.raw(index))) as image:
                return rgb(image)
        except UNREADABLE as error:
            raise unreadable(f"number {index} of {self.files[self.where[index][0]]}", error) from None


KIND = WebDataset()
