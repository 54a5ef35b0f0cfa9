"""The one kind of error a user can mend: one clear line, exit status 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "did_you_mean"]


class UserError(Exception):
    """Bad input. The message is one line that says what is wrong and, where possible, the mend."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'pabee'?`` or, when nothing is near, ``; known: …``. For the end of an error line."""
    known = sorted(known)
    folded = {each.casefold(): each for each in reversed(known)}  # papers write LGViT, nobody types that twice
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{folded[near[0]]}'?"
    return f"; known: {', '.join(known)}" if known else ""
