"""WebDataset shards in the data directory, with timm's info file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from eebench.data.kind import DataSet, Request, need_directory
from eebench.errors import UserError

if TYPE_CHECKING:
    from eebench.data.base import Data

__all__ = ["KIND", "WebDataset"]


class WebDataset(DataSet):
    """WebDataset shards in the data directory, with timm's _info.json (needs webdataset)."""

    name = "wds/NAME"
    library = ("webdataset", "webdataset")

    def check(self, request: Request) -> None:
        _info(request)

    def load(self, request: Request) -> Data:
        """They are a stream, so it is read once and the decoded images are held in memory (and counted).

        Raises:
            UserError: no info file, no ``train`` split in it, or fewer readable samples than it promises.
        """
        import numpy as np
        from timm.data import create_dataset

        from eebench.data.images import Source, image_data

        name = request.name
        root, info = _info(request)
        promised = _samples(info)
        names = {"train": "train", "val": "val" if "val" in promised else "validation", "test": "test"}
        sources, size = {}, 0
        for split, theirs in names.items():
            if theirs not in promised:
                continue
            samples = list(create_dataset(name, root=str(root), split=theirs, is_training=False))
            if len(samples) != promised[theirs]:  # what timm cannot read it skips
                raise UserError(
                    f"'{info}' promises {promised[theirs]:,} {theirs} samples; {len(samples):,} could be read"
                )
            images = [image for image, _ in samples]
            size += sum(3 * image.width * image.height for image in images)
            sources[split] = Source(images.__getitem__, np.array([target for _, target in samples], dtype=np.int64))
        classes = 1 + max(int(source.targets.max()) for source in sources.values())
        notes = [f"{sum(promised[names[split]] for split in sources):,} images held in memory: {size / 2**20:,.0f} MiB"]
        return image_data(request, sources, [str(c) for c in range(classes)], notes=notes)


def _info(request: Request) -> tuple[Path, Path]:
    """Folder of the shards, and the info file in it that lists them split by split."""
    root = need_directory(request.root, "data directory")
    for info in (root / "_info.json", root / "info.json"):
        if info.is_file():
            return root, info
    raise UserError(f"data set '{request.name}': '{root}' lacks _info.json, which lists the shards of each split")


def _samples(info: Path) -> dict[str, int]:
    """How many samples each split has, by a WebDataset's info file."""
    try:
        splits = json.loads(info.read_text(encoding="utf-8"))["splits"]
        samples = {split: int(entry["num_samples"]) for split, entry in splits.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{info}' is not an info file of WebDataset splits: {type(error).__name__}: {error}") from None
    if not samples.get("train"):
        raise UserError(f"'{info}' has no training samples; its splits: {', '.join(samples) or 'none'}")
    return {split: count for split, count in samples.items() if count}


KIND = WebDataset()
