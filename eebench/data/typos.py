"""Mistyped test texts: the inner letters of some words swapped, dropped, added, or hit beside their key.

The four edits of Pruthi et al. 2019 (1905.11268), who leave a word's first and last letter alone, as readers hardly
notice typos between them, and words of fewer than four letters. At severity s a word is mistyped with probability
s / 10.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eebench.data.base import Split
from eebench.data.texts import Text

__all__ = ["KINDS", "mistyped", "mistyped_texts"]

SHORTEST = 4  # letters of a word that may be mistyped
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # of a keyboard, each half a key to the right of the one above


def _neighbours() -> dict[str, str]:
    """Keys beside and touching each key."""
    places = {
        letter: (row, 2 * column + row) for row, letters in enumerate(ROWS) for column, letter in enumerate(letters)
    }
    return {
        key: "".join(
            other
            for other, (row, at) in places.items()
            if other != key
            and abs(row - places[key][0]) <= 1
            and abs(at - places[key][1]) <= 2
            and (row != places[key][0] or abs(at - places[key][1]) == 2)
        )
        for key in places
    }


_NEAR = _neighbours()


def _swap(word: str, at: int, random: np.random.Generator) -> str:
    at = min(at, len(word) - 3)  # its right neighbour is an inner letter too
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _drop(word: str, at: int, random: np.random.Generator) -> str:
    return word[:at] + word[at + 1 :]


def _add(word: str, at: int, random: np.random.Generator) -> str:
    return word[:at] + _beside(word[at], random) + word[at:]


def _key(word: str, at: int, random: np.random.Generator) -> str:
    return word[:at] + _beside(word[at], random) + word[at + 1 :]


def _beside(letter: str, random: np.random.Generator) -> str:
    """A key beside a letter's own, in its case; a letter that the keyboard does not have is typed again."""
    near = _NEAR.get(letter.lower())
    if near is None:
        return letter
    found = near[int(random.integers(len(near)))]
    return found.upper() if letter.isupper() else found


KINDS: dict[str, Callable[[str, int, np.random.Generator], str]] = {
    "typo_swap": _swap,
    "typo_drop": _drop,
    "typo_add": _add,
    "typo_key": _key,
}


def mistyped(text: Text, kind: str, severity: int, position: int) -> Text:
    """A text, or a pair of texts, with typos.

    Args:
        text: what is mistyped.
        kind: one of :data:`KINDS`.
        severity: 1 to 5.
        position: in the split; what is drawn depends on it, kind and severity alone.
    """
    random = np.random.default_rng([list(KINDS).index(kind), severity, position])
    if isinstance(text, str):
        return _typed(text, kind, severity, random)
    first, second = (_typed(part, kind, severity, random) for part in text)
    return first, second


def _typed(text: str, kind: str, severity: int, random: np.random.Generator) -> str:
    words = text.split(" ")
    for number, word in enumerate(words):
        if len(word) >= SHORTEST and word.isalpha() and random.random() < severity / 10:
            words[number] = KINDS[kind](word, int(random.integers(1, len(word) - 1)), random)
    return " ".join(words)


def mistyped_texts(split: Split, kind: str, severity: int) -> Split:
    """A split of strings, or pairs of strings, with typos."""
    return Split([mistyped(text, kind, severity, i) for i, text in enumerate(split.inputs)], split.targets)
