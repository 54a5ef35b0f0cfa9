"""Image data sets of the Hugging Face hub, or of a local folder of that layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eebench.data.kind import DataSet, Request
from eebench.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

    from eebench.data.base import Data
    from eebench.data.images import Source

__all__ = ["KIND", "HubImages"]


class HubImages(DataSet):
    """An image data set of the Hugging Face hub, or of a local folder: hfds//path (needs eebench[text])."""

    name = "hfds/NAME"
    library = ("datasets", "eebench[text]")
    caches = True

    def load(self, request: Request) -> Data:
        """Downloaded to its cache if need be. The first image column and the first class column are used.

        Splits: ``train``, and ``validation`` or ``test``.
        """
        import datasets
        import numpy as np

        from eebench.data.hub import load_dataset
        from eebench.data.images import image_data

        name = request.name
        instead = "use folder:DIR with your own images"
        found = load_dataset(name, request.key, None, request.data_dir, instead=instead)
        if "train" not in found:
            raise UserError(f"data set '{name}' has no split 'train'; it has: {', '.join(found)}")
        features = found["train"].features
        images = [column for column, f in features.items() if isinstance(f, datasets.Image)]
        classes = [column for column, f in features.items() if isinstance(f, datasets.ClassLabel)]
        if not images or not classes:
            raise UserError(f"data set '{name}' lacks an image or a class column; it has: {', '.join(features)}")
        sources, notes = {}, []
        for split, theirs in (("train", "train"), ("val", "validation"), ("test", "test")):
            if theirs not in found:
                continue
            targets = np.asarray(found[theirs][classes[0]][:], dtype=np.int64)
            if targets.min(initial=0) < 0:
                notes.append(f"the labels of its {theirs} split are hidden: not used")
                continue
            sources[split] = _source(found[theirs], images[0], targets)
        return image_data(request, sources, features[classes[0]].names, notes=notes)


def _source(table: Any, column: str, targets: Any) -> Source:
    import datasets

    from eebench.data.images import Source

    rows = table.cast_column(column, datasets.Image(decode=False)).select_columns([column])
    made = str(table._fingerprint).encode()
    return Source(_Rows(rows, column), targets, raw=_Rows(rows, column).raw, stamp=lambda ids: made + ids.tobytes())


class _Rows:
    """Reads images out of a table; a class, so that loader processes can be handed it."""

    def __init__(self, rows: Any, column: str) -> None:
        self.rows, self.column = rows, column

    def raw(self, index: int) -> bytes:
        cell = self.rows[index][self.column]
        if cell["bytes"] is not None:
            return cell["bytes"]
        with open(cell["path"], "rb") as file:
            return file.read()

    def __call__(self, index: int) -> Image.Image:
        import io

        from PIL import Image

        from eebench.data.preprocessing import UNREADABLE, rgb, unreadable

        try:
            with Image.open(io.BytesIO(self.raw(index))) as image:
                return rgb(image)
        except UNREADABLE as error:
            raise unreadable(f"number {index}", error) from None


KIND = HubImages()
