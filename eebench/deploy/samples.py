"""Raw samples as a deployed model's first segment takes them: numpy, Pillow and, for text, tokenizers. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from eebench.errors import UserError
from eebench.raw import Raw

__all__ = ["RESIZE", "TOKENIZER", "Images", "Texts"]

RESIZE = "resize.npy"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Images(Raw):
    """What happens to a raw image, in numpy: see :class:`eebench.data.preprocessing.Preprocessing`."""

    def batch(self, samples: Any, resize: np.ndarray | None = None) -> np.ndarray:
        """Raw images as one batch (N, channels, size, size), float32, normalised.

        Args:
            samples: one image or several, in any form that a run's own preprocessing takes.
            resize: (size, native) weights that bring the rows, and so the columns, of a small image to ``size``.

        Raises:
            UserError: a sample that is no image.
        """
        values = self.values(samples)
        if not values:
            raise UserError("no samples")
        images = np.stack(values).astype(np.float32)
        if resize is not None:
            images = resize @ images @ resize.T
        if self.scale != 1:
            images = images / np.float32(self.scale)
        mean, std = (np.asarray(each, dtype=np.float32)[:, None, None] for each in (self.mean, self.std))
        images = (images - mean) / std
        return np.ascontiguousarray(np.broadcast_to(images, (len(images), self.channels, *images.shape[2:])))


class Texts:
    """A tokenizer as the backbone used it.

    Args:
        folder: the exported folder.
        raw: what a sample is: a text, or a pair.
        pads: padding's ``id``, ``type_id`` and ``token``, and the ``max_tokens`` of a text.
        names: what the first segment takes.
    """

    def __init__(self, folder: Path, raw: Raw, pads: dict[str, Any], names: set[str]) -> None:
        self.raw, self.names = raw, names
        self._file, self._pads = folder / TOKENIZER, pads

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise UserError("texts need tokenizers: pip install 'eebench[onnx]'") from None
        found = Tokenizer.from_file(str(self._file))
        found.enable_truncation(self._pads["max_tokens"], strategy="longest_first")
        found.enable_padding(
            direction="right",
            pad_id=self._pads["id"],
            pad_type_id=self._pads["type_id"],
            pad_token=self._pads["token"],
        )
        return found

    def batch(self, samples: Any) -> dict[str, np.ndarray]:
        """Texts or pairs as padded (N, L) int64 arrays by name.

        Raises:
            UserError: a sample that is no text, or no pair where the data set has pairs.
        """
        texts = self.raw.texts(samples)
        if not texts:
            raise UserError("no samples")
        encoded = self._tokenizer.encode_batch(texts)
        columns = {
            "input_ids": [each.ids for each in encoded],
            "token_type_ids": [each.type_ids for each in encoded],
            "attention_mask": [each.attention_mask for each in encoded],
        }
        return {name: np.array(column, dtype=np.int64) for name, column in columns.items() if name in self.names}
