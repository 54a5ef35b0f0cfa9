"""The one kind of error a user can mend: one clear line, exit status 2, no traceback."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

__all__ = ["StorageError", "TerminatedError", "UserError", "did_you_mean", "shown"]


class UserError(Exception):
    """Bad input. The message is one line that says what is wrong and, where possible, the mend."""


class StorageError(Exception):
    """A disk that is full, read-only or gone, on one line; exit status 1. Nobody's method is to blame."""


class TerminatedError(BaseException):
    """SIGTERM, as KeyboardInterrupt is SIGINT: everything is tidied up on the way out, and nothing catches it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'pabee'?`` or, when nothing is near, ``; known: …``. For the end of an error line."""
    known = sorted(known)
    folded = {each.casefold(): each for each in reversed(known)}  # papers write LGViT, nobody types that twice
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{folded[near[0]]}'?"
    return f"; known: {', '.join(known)}" if known else ""


def shown(path: str | os.PathLike[str]) -> str:
    """A path for a message: bytes that are not UTF-8 and control characters as escapes, so that it can be printed."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode()  # "surrogates" stand for bytes of no UTF-8
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
