"""Data sets of texts, whole in memory."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from eebench.api import Task
from eebench.data.base import Data, Split
from eebench.data.kind import Request
from eebench.data.preprocessing import Preprocessing
from eebench.data.splits import Digests, Part, divide

__all__ = ["Text", "normal", "text_data"]

Text = str | tuple[str, str]


def normal(text: str) -> str:
    """A text as duplicates are told: Unicode's compatible forms (NFKC), case and runs of white space made one."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_data(
    request: Request | str,
    texts: Mapping[str, Sequence[Text]],
    targets: Mapping[str, np.ndarray],
    task: Task,
    notes: Sequence[str] = (),
) -> Data:
    """A text data set out of whatever splits there are (see ``splits.divide``).

    Args:
        request: what was asked for; a name alone asks for nothing in particular.
        texts: by split, a string or a pair of strings a sample.
        targets: by split, (N,) int64 class ids or float32 numbers.
        task: what is predicted.
        notes: said in the log and the record.
    """
    request = Request(request) if isinstance(request, str) else request
    labels = None if task.kind == "regression" else (task.labels or [str(c) for c in range(task.classes)])
    digests: dict[str, Digests] = {split: _digests(column) for split, column in texts.items()}
    parts = divide(targets, request.name, labels=labels, limit=request.limit, digests=digests)

    def split(part: Part) -> Split:
        return Split([texts[part.source][i] for i in part.ids], targets[part.source][part.ids])

    return Data(
        name=request.name,
        modality="text",
        task=task,
        train=split(parts.train),
        val=split(parts.val),
        test=split(parts.test),
        split_hash=parts.sha256,
        notes=[*notes, *parts.notes],
        preprocessing=Preprocessing(
            modality="text", labels=tuple(task.labels or ()), pairs=isinstance(texts["train"][0], tuple)
        ),
        official=parts.official,
        copies=parts.copies,
    )


def _digests(texts: Sequence[Text]) -> Digests:
    def found(ids: np.ndarray) -> list[bytes]:
        return [_digest(texts[int(i)]) for i in ids]

    return found


def _digest(text: Text) -> bytes:
    parts = (text,) if isinstance(text, str) else text
    return hashlib.blake2b("\0".join(map(normal, parts)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
