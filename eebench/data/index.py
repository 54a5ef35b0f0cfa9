"""One pass over images that stay on disk, before anything trains: every one can be read, and which are copies.

What was found is kept in the user's cache folder, by path, size and time of change of every file, so that the second
run of a data set starts at once.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from eebench.data.preprocessing import UNREADABLE, unreadable
from eebench.errors import UserError, shown

__all__ = ["cache_folder", "examine", "files_stamp"]

DIGEST = 16  # bytes an image
MANY = 20_000  # images that take long enough (2 ms each on one core) to say what is being done


def examine(raw: Callable[[int], bytes], name: Callable[[int], str], ids: Sequence[int], stamp: bytes) -> list[bytes]:
    """A digest of every image's bytes; equal for copies.

    Args:
        raw: an image's bytes, as a file of some image format has them.
        name: what to call it in a message.
        ids: positions of the images.
        stamp: fingerprint of what ``raw`` reads for these ids, cheap to make: what was found last time is kept by it.

    Raises:
        UserError: an image that cannot be read, named, and how many more there are.
    """
    kept = cache_folder() / f"images-{hashlib.sha256(stamp).hexdigest()[:32]}.npy"
    try:
        found = np.load(kept)
        if found.shape == (len(ids), DIGEST) and found.dtype == np.uint8:
            return [row.tobytes() for row in found]
    except (OSError, ValueError, EOFError):  # never made, or damaged: it is only a cache
        pass
    if len(ids) > MANY:
        sys.stderr.write(f"reading {len(ids):,} images, once: can all be read, and which are copies?\n")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        answers = list(pool.map(lambda i: _look(raw, i), ids, chunksize=64))
    bad = [(i, answer) for i, answer in zip(ids, answers, strict=True) if isinstance(answer, Exception)]
    if bad:
        more = f" (and {len(bad) - 1:,} more)" if len(bad) > 1 else ""
        raise UserError(f"{unreadable(name(bad[0][0]), bad[0][1])}{more}")
    digests = [answer for answer in answers if isinstance(answer, bytes)]
    _keep(kept, digests)
    return digests


def files_stamp(files: Sequence[Path]) -> bytes:
    """Fingerprint of files by path, size and time of change.

    Raises:
        UserError: one of them is gone or may not be read.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise UserError(f"'{shown(file)}' cannot be read: {error.strerror}") from None
        digest.update(os.fsencode(file) + f"|{state.st_size}|{state.st_mtime_ns}|".encode())
    return digest.digest()


def cache_folder() -> Path:
    """Where what can be made again is kept: ``$XDG_CACHE_HOME/eebench``, by default ``~/.cache/eebench``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eebench"


def _look(raw: Callable[[int], bytes], index: int) -> bytes | Exception:
    """One image's digest, or why it cannot be read."""
    try:
        content = raw(index)
        with Image.open(io.BytesIO(content)) as image:
            image.draft("RGB", (1, 1))  # a JPEG is read to its end, but decoded at an eighth of its size
            image.load()
    except UNREADABLE as error:
        return error
    return hashlib.blake2b(content, digest_size=DIGEST).digest()


def _keep(path: Path, digests: Sequence[bytes]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stage = path.with_suffix(f".{os.getpid()}.tmp.npy")
        np.save(stage, np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), DIGEST))
        stage.replace(path)
    except OSError:  # a full or read-only home: looked at again next time
        pass
