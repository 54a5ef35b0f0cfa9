"""Image data sets through timm's factory: torchvision's, image folders, the Hugging Face hub, WebDataset shards."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from eebench.data import disk
from eebench.data.base import Data
from eebench.data.images import Source, image_data, rgb
from eebench.data.names import TORCH
from eebench.data.pixels import pixel_data
from eebench.errors import UserError

__all__ = ["load_folder", "load_hfds", "load_torch", "load_wds"]

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # Pillow's errors on damaged files
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def load_torch(name: str, key: str, data_dir: Path | None, image_size: int | None) -> Data:
    """One of torchvision's data sets, never downloaded. Small ones are held in memory, the rest read as needed.

    Raises:
        UserError: not there, or its checksums fail; the message has the line that fetches it.
    """
    entry = TORCH[key]
    root = disk.torch_root(key, data_dir)
    made = {"train": _torch_split(key, root, "train"), "test": _torch_split(key, root, entry.test)}
    targets = {split: _torch_targets(dataset) for split, dataset in made.items()}
    labels = _torch_labels(made["train"], targets["train"])
    if entry.small:
        pixels = {split: (_torch_pixels(dataset), targets[split]) for split, dataset in made.items()}
        return pixel_data(name, pixels, labels, image_size=image_size, augment=True, flip=entry.flip)
    sources = {split: Source(partial(_torch_image, dataset), targets[split]) for split, dataset in made.items()}
    notes = [] if entry.test == "test" else ["the validation split serves as the test set: no other has public labels"]
    return image_data(name, sources, labels, image_size=image_size, flip=entry.flip, notes=notes)


def _torch_split(key: str, root: Path, split: str) -> Any:
    """One split through timm's factory, or from torchvision itself where timm's does not know the set."""
    import timm.data
    import torchvision.datasets

    try:
        if TORCH[key].timm:
            return timm.data.create_dataset(f"torch/{key}", root=str(root), split=split, download=False)
        return getattr(torchvision.datasets, TORCH[key].cls)(root=str(root), split=split, download=False)
    except (RuntimeError, OSError) as error:  # torchvision's words for "not there" and "checksum differs"
        raise disk.missing_torch(key, root) from error


def _torch_targets(dataset: Any) -> np.ndarray:
    """Class ids (N,), without decoding images: torchvision has no one name for them."""
    for attribute in ("targets", "labels", "_labels"):
        if hasattr(dataset, attribute):
            values = np.asarray(getattr(dataset, attribute), dtype=np.int64)
            return values if values.ndim == 1 else values[:, 0]  # QMNIST: eight columns, the class first
    return np.array([category for category, _ in dataset.index], dtype=np.int64)  # INaturalist


def _torch_labels(dataset: Any, targets: np.ndarray) -> list[str]:
    names = getattr(dataset, "classes", None) or getattr(dataset, "all_categories", None)
    if names is None:  # SVHN: the digits themselves
        return [str(c) for c in range(int(targets.max()) + 1)]
    return [n[0] if isinstance(n, tuple) else str(n) for n in names]  # ImageNet: synonyms, the commonest first


def _torch_pixels(dataset: Any) -> torch.Tensor:
    """(N, C, H, W) uint8 of an in-memory set: grey (N, H, W), CIFAR (N, H, W, C) or SVHN (N, C, H, W)."""
    pixels = torch.as_tensor(dataset.data)
    if pixels.ndim == 3:
        return pixels[:, None]
    return pixels.permute(0, 3, 1, 2) if pixels.shape[-1] == 3 else pixels


def _torch_image(dataset: Any, index: int) -> Image.Image:
    try:
        return rgb(dataset[index][0])
    except UNREADABLE as error:
        raise UserError(f"image {index} of {type(dataset).__name__} cannot be read: {error}") from None


def load_folder(name: str, root: Path, image_size: int | None) -> Data:
    """Your own images: ``train/CLASS/*`` with ``test/`` and perhaps ``val/``, or ``CLASS/*`` that eebench splits.

    Raises:
        UserError: see ``disk.split_folders``; a class folder without images; fewer than two classes; a class that
            only the test images have.
    """
    from timm.data import create_dataset
    from timm.utils import natural_key

    folders = disk.split_folders(root)
    labels = sorted(disk.class_folders(folders["train"]), key=natural_key)
    ids = {label: i for i, label in enumerate(labels)}
    notes: list[str] = []
    sources = {}
    for split, folder in folders.items():
        strange = sorted(set(disk.class_folders(folder)) - set(labels))
        if strange:
            raise UserError(f"'{folder / strange[0]}' is a class that the training images in '{folders['train']}' lack")
        options: dict[str, Any] = {"class_map": ids, "input_key": ";".join(SUFFIXES), "search_split": False}
        try:
            dataset = create_dataset("", root=str(folder), **options)
        except RuntimeError:
            raise UserError(f"image folder '{folder}' holds no images ({' '.join(SUFFIXES)})") from None
        targets = np.array([target for _, target in dataset.reader.samples], dtype=np.int64)
        empty = [labels[c] for c in np.setdiff1d(np.arange(len(labels)), targets)]
        if empty and split == "train":
            raise UserError(f"class folder '{folder / empty[0]}' holds no images ({' '.join(SUFFIXES)})")
        notes += [f"no {split} image of class {', '.join(empty)}"] if empty else []
        ignored = sum(len(files) for _, _, files in os.walk(folder, followlinks=True)) - len(targets)
        notes += [f"{ignored:,} files in '{folder}' are no images of a class and were ignored"] if ignored else []
        files = [Path(file) for file, _ in dataset.reader.samples]
        sources[split] = Source(partial(_read, dataset.reader), targets, files)
    return image_data(name, sources, labels, image_size=image_size, notes=notes)


def _read(reader: Any, index: int) -> Image.Image:
    """One image from a timm reader. timm's own data set would put the next image in place of an unreadable one."""
    file, _ = reader[index]
    try:
        with file, Image.open(file) as image:
            return rgb(image)
    except UNREADABLE as error:
        raise UserError(f"image '{reader.filename(index, absolute=True)}' cannot be read: {error}") from None


def load_hfds(name: str, path: str, data_dir: Path | None, image_size: int | None) -> Data:
    """An image data set of the Hugging Face hub (or a local folder of that layout), downloaded to its cache if need be.

    The first image column and the first class column are used. Splits: ``train``, and ``validation`` or ``test``.
    """
    import datasets
    from timm.data import create_dataset

    from eebench.data.hub import load_dataset

    found = load_dataset(name, path, None, data_dir, instead="use folder:DIR with your own images")
    if "train" not in found:
        raise UserError(f"data set '{name}' has no split 'train'; it has: {', '.join(found)}")
    features = found["train"].features
    images = [column for column, f in features.items() if isinstance(f, datasets.Image)]
    classes = [column for column, f in features.items() if isinstance(f, datasets.ClassLabel)]
    if not images or not classes:
        raise UserError(f"data set '{name}' lacks an image or a class column; it has: {', '.join(features)}")
    root = str(data_dir.expanduser()) if data_dir else None
    keys = {"input_key": images[0], "target_key": classes[0]}
    sources, notes = {}, []
    for split, theirs in (("train", "train"), ("val", "validation"), ("test", "test")):
        if theirs not in found:
            continue
        targets = np.asarray(found[theirs][classes[0]][:], dtype=np.int64)
        if targets.min() < 0:
            notes.append(f"the labels of its {theirs} split are hidden: not used")
            continue
        reader = create_dataset(f"hfds/{path}", root=root, split=theirs, **keys).reader
        sources[split] = Source(partial(_read, reader), targets)
    return image_data(name, sources, features[classes[0]].names, image_size=image_size, notes=notes)


def load_wds(name: str, data_dir: Path | None, image_size: int | None) -> Data:
    """WebDataset shards. They are a stream, so it is read once and the decoded images are held in memory (and counted).

    Raises:
        UserError: no info file, no ``train`` split in it, or fewer readable samples than it promises.
    """
    from timm.data import create_dataset

    root, info = disk.wds_root(name, data_dir)
    promised = _wds_samples(info)
    names = {"train": "train", "val": "val" if "val" in promised else "validation", "test": "test"}
    sources, size = {}, 0
    for split, theirs in names.items():
        if theirs not in promised:
            continue
        samples = list(create_dataset(name, root=str(root), split=theirs, is_training=False))
        if len(samples) != promised[theirs]:  # what timm cannot read it skips
            raise UserError(f"'{info}' promises {promised[theirs]:,} {theirs} samples; {len(samples):,} could be read")
        images = [image for image, _ in samples]
        size += sum(3 * image.width * image.height for image in images)
        sources[split] = Source(images.__getitem__, np.array([target for _, target in samples], dtype=np.int64))
    classes = 1 + max(int(source.targets.max()) for source in sources.values())
    notes = [f"{sum(promised[names[split]] for split in sources):,} images held in memory: {size / 2**20:,.0f} MiB"]
    return image_data(name, sources, [str(c) for c in range(classes)], image_size=image_size, notes=notes)


def _wds_samples(info: Path) -> dict[str, int]:
    """How many samples each split has, by a WebDataset's info file."""
    try:
        splits = json.loads(info.read_text(encoding="utf-8"))["splits"]
        samples = {split: int(entry["num_samples"]) for split, entry in splits.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{info}' is not an info file of WebDataset splits: {type(error).__name__}: {error}") from None
    if not samples.get("train"):
        raise UserError(f"'{info}' has no training samples; its splits: {', '.join(samples) or 'none'}")
    return {split: count for split, count in samples.items() if count}
