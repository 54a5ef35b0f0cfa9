"""Samples that stop early and late, right and wrong: what a reader of the report looks at.

They are written into the record as ``samples.csv`` and, for images, thumbnails in ``samples.npz``: a report reads the
record alone. Nothing of private data is written with ``--no-samples``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from eebench.report.targets import main_target

if TYPE_CHECKING:
    from eebench.data.base import Data
    from eebench.data.preprocessing import Preprocessing
    from eebench.runs.headlines import Seed
    from eebench.runs.score import Point, Row

__all__ = ["SHOWN", "picture", "sample_rows"]

SHOWN = 4  # samples a method, early or late, right or wrong
SIDE = 48  # pixels of a thumbnail at most
LETTERS = 200  # of a text at most


def sample_rows(seed: Seed, data: Data) -> tuple[list[Row], dict[str, dict[str, np.ndarray]]]:
    """Rows of samples.csv for the methods of one seed, and the thumbnails of images.

    A method's samples are those that stop first and last at the target that the report opens with, up to
    :data:`SHOWN` each that are right and that are wrong. Among samples that stop behind the same block the same
    fixed random order decides for every method: nobody's are picked by hand, and methods share them.

    Args:
        seed: the seed whose models are shown.
        data: the run's data set.

    Returns:
        The rows, and the arrays of ``samples.npz`` under its name: ``tiles`` (n, side, side) or (n, side, side, 3),
        bytes. Nothing of the second for texts, and where no input is a picture.
    """
    order = np.random.default_rng(0).permutation(len(data.test))
    rows: list[Row] = []
    for label, scored in seed.models.items():
        chosen = {c.target: c.test for c in scored.chosen.get("dynamic", [])}
        if chosen:
            target = main_target(chosen)
            who = {"method": label, "seed": seed.number, "target": target}
            rows += [who | row for row in _of_method(chosen[target], order)]
    if data.modality == "text":
        for row in rows:
            row["text"] = _beginning(data.test.inputs[row["sample"]])
        return rows, {}
    found = {}
    for sample in dict.fromkeys(row["sample"] for row in rows):
        one = picture(data.test.inputs[sample], data.preprocessing)
        if one is not None:
            found[sample] = one
    places = {sample: place for place, sample in enumerate(found)}
    for row in rows:
        row["tile"] = places.get(row["sample"])
    return rows, {"samples": {"tiles": _tiles(list(found.values()))}} if found else {}


def _of_method(point: Point, order: np.ndarray) -> list[Row]:
    """Rows of one operating point: which samples, where they stopped, what was answered."""
    trace, task, exits = point.of.trace, point.of.task, point.exits
    classify = task.kind == "classification"
    right = trace.correct[np.arange(len(exits)), exits] if classify else np.ones(len(exits), bool)
    ranked = order[np.argsort(exits[order], kind="stable")]  # from the first exit to the last
    rows = []
    for stops, ids in (("early", ranked), ("late", ranked[::-1])):
        other = exits.max() if stops == "early" else exits.min()
        ids = ids[exits[ids] != other] if exits.min() < exits.max() else ids if stops == "early" else ids[:0]
        for wanted in (True, False):
            for i in ids[right[ids] == wanted][:SHOWN]:
                row = {"stops": stops, "sample": int(trace.ids[i]), "exit": trace.blocks[exits[i]]}
                row |= {"truth": _name(task, trace.targets[i]), "answer": _name(task, point.predictions[i])}
                if classify:
                    row |= {"correct": bool(wanted), "confidence": float(trace.confidence[i, exits[i]])}
                rows.append(row)
    return rows


def _name(task: Any, value: Any) -> str:
    """A class by its name, a number as it is."""
    if task.kind != "classification":
        return f"{float(value):.4g}"
    return str(task.labels[int(value)]) if task.labels else str(int(value))


def _beginning(text: str | Sequence[str]) -> str:
    """The first letters of a text, or of both texts of a pair."""
    parts = [text] if isinstance(text, str) else list(text)
    most = LETTERS // len(parts)
    short = [" ".join(part[: 4 * most].split()) for part in parts]
    return " | ".join(part if len(part) <= most else f"{part[: most - 1].rstrip()}…" for part in short)


def _tiles(pictures: Sequence[Image.Image]) -> np.ndarray:
    """Thumbnails, (n, side, side) where all are grey, else (n, side, side, 3)."""
    side = min(SIDE, max(max(one.size) for one in pictures))
    mode = "L" if all(one.mode == "L" for one in pictures) else "RGB"
    return np.stack([np.asarray(_squared(one.convert(mode), side)) for one in pictures])


def _squared(image: Image.Image, side: int) -> Image.Image:
    """An image within a square, its shape kept."""
    image.thumbnail((side, side))
    square = Image.new(image.mode, (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def picture(prepared: Any, preprocessing: Preprocessing | None) -> Image.Image | None:
    """A model's input (C, H, W) as an image again; None where it is none.

    The normalisation is undone; without a known one, values are spread from black to white.
    """
    values = np.asarray(prepared, dtype=np.float64) if hasattr(prepared, "shape") else None
    if values is None or values.ndim != 3 or values.shape[0] not in (1, 3) or not np.isfinite(values).all():
        return None
    if preprocessing is not None and preprocessing.modality == "vision":
        mean, std = (np.asarray(v, float)[:, None, None] for v in (preprocessing.mean, preprocessing.std))
        shares = (values * std + mean) * preprocessing.scale / preprocessing.white
    else:
        low, high = values.min(), values.max()
        shares = (values - low) / (high - low) if high > low else np.zeros_like(values)
    levels = (255 * shares.clip(0, 1)).round().astype(np.uint8)
    if (levels == levels[:1]).all():
        return Image.fromarray(levels[0])
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
