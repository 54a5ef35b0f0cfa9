"""The gallery: samples that stop early and late, right and wrong, where the record has them."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from PIL import Image

from eebench.errors import UserError
from eebench.report.blocks import Block, Fold, Gallery, Section, Shot, Text
from eebench.report.frames import Record
from eebench.report.scene import Scene
from eebench.report.targets import target
from eebench.report.text import DASH

__all__ = ["Sheet", "gallery", "sheet"]

FILE = "samples.npz"
COLUMNS = 16
LARGEST = 110_000  # bytes of a page's thumbnails
SMALL = 32  # pixels: thumbnails up to this side are enlarged with sharp edges


@dataclass(frozen=True)
class Sheet:
    """All thumbnails of a page in one picture: ``COLUMNS`` side by side, ``rows`` of them."""

    uri: str
    rows: int
    count: int
    sharp: bool

    def rules(self) -> str:
        """Style rules: class ``thumb``, and ``t<number>`` for which."""
        high = 100 * self.rows
        edges = ";image-rendering:pixelated" if self.sharp else ""
        size = f"background-size:{100 * COLUMNS}% {high}%"
        lines = [f".thumb{{background-image:url({self.uri});{size}{edges}}}"]
        for number in range(self.count):
            row, column = divmod(number, COLUMNS)
            down = 100 * row / (self.rows - 1) if self.rows > 1 else 0
            lines.append(f".t{number}{{background-position:{100 * column / (COLUMNS - 1):.4g}% {down:.4g}%}}")
        return "\n".join(lines) + "\n"


def sheet(record: Record) -> Sheet | None:
    """The thumbnails of the record's samples; None where it has none.

    Raises:
        UserError: samples.npz cannot be read, or has fewer thumbnails than samples.csv names.
    """
    named = record.table("samples")["tile"].dropna()
    path = record.path / FILE
    if named.empty or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            tiles = file["tiles"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if tiles.dtype != np.uint8 or tiles.ndim not in (3, 4) or named.max() >= len(tiles):
        raise UserError(f"{path} does not hold the thumbnails that samples.csv names")
    rows = math.ceil(len(tiles) / COLUMNS)
    side = tiles.shape[1]
    whole = np.zeros((rows * COLUMNS, *tiles.shape[1:]), np.uint8)
    whole[: len(tiles)] = tiles
    whole = whole.reshape(rows, COLUMNS, *tiles.shape[1:]).swapaxes(1, 2)
    picture = Image.fromarray(whole.reshape(rows * side, COLUMNS * side, *tiles.shape[3:]))
    return Sheet(_encoded(picture), rows, len(tiles), side <= SMALL)


def _encoded(picture: Image.Image) -> str:
    """A data address: without loss where that is small enough, else as JPEG, coarser until it is."""
    content = _saved(picture, format="PNG", optimize=True)
    kind, share = "png", 1.0
    for quality in (80, 60, 45):
        if len(content) <= LARGEST:
            break
        kind, content = "jpeg", _saved(picture, format="JPEG", quality=quality, optimize=True)
    while len(content) > LARGEST:
        share *= 0.8
        smaller = picture.resize((round(picture.width * share), round(picture.height * share)))
        content = _saved(smaller, format="JPEG", quality=60, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _saved(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, **options)  # type: ignore[arg-type]
    return file.getvalue()


def gallery(scene: Scene, *, pictures: bool) -> list[Section]:
    """The section, where the record has samples; the method that the answer names is open.

    Args:
        scene: the run.
        pictures: whether the page has their thumbnails.
    """
    rows = scene.record.table("samples")
    rows = rows[rows["method"].isin(scene.record.methods)]
    if rows.empty:
        return []
    first = rows.iloc[0]
    seed = f", seed {first['seed']:g}" if scene.write.several else ""
    split = "right and wrong ones" if rows["correct"].notna().any() else "with the number that was asked for"
    about = (
        f"Test samples that stop first and last under each method, {split}, with {target(first['target']).title}{seed}."
        " Among samples that stop behind the same block a fixed random order decides, the same for all methods: they"
        " are drawn, not picked."
    )
    order = [row["method"] for _, row in scene.race(scene.main).ordered(["dynamic"]).iterrows()]
    order = [m for m in dict.fromkeys([*order, *scene.record.methods]) if (rows["method"] == m).any()]
    best = scene.answer.best[0] if scene.answer.best else None
    shown = best if best in order else order[0]
    blocks: list[Block] = [Text(about)]
    for method in [shown, *(m for m in order if m != shown)]:
        groups = _groups(rows[rows["method"] == method], pictures)
        blocks.append(Fold(scene.record.labels[method], [Gallery(groups)], open=method == shown))
    return [Section("samples", "Samples that stop early and late", blocks)]


def _groups(rows: pd.DataFrame, pictures: bool) -> list[tuple[str, list[Shot]]]:
    groups = []
    for stops in ("early", "late"):
        for correct, word in (("True", "right"), ("False", "wrong"), (None, "")):
            same = rows["correct"].isna() if correct is None else rows["correct"] == correct
            mine = rows[(rows["stops"] == stops) & same]
            if len(mine):
                title = f"Stop {stops}{f', {word}' if word else ''}"
                groups.append((title, [_shot(row, pictures) for _, row in mine.iterrows()]))
    return groups


def _shot(row: pd.Series, pictures: bool) -> Shot:
    sure = f", {100 * row['confidence']:.0f} % sure" if math.isfinite(row["confidence"]) else ""
    truth, answer = (_word(row[name]) for name in ("truth", "answer"))
    said = f"{answer}{sure}" if row["correct"] == "True" else f"said {answer}{sure}; is {truth}"
    place = f"block {row['exit']:g}"
    text = row["text"] if isinstance(row["text"], str) else ""
    tile = int(row["tile"]) if pictures and math.isfinite(row["tile"]) else None
    return Shot(f"{place}: {said}", f"test sample {row['sample']:g}, stopped behind {place}, {said}", tile, text)


def _word(value: object) -> str:
    return value if isinstance(value, str) and value else DASH
