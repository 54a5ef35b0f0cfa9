"""Typos: what each edit does to a word, which words are let alone, how many are hit."""

import numpy as np
import pytest

from eebench.data.base import Split
from eebench.data.typos import _NEAR, KINDS, mistyped, mistyped_texts

SENTENCE = "what is the average speed of a galloping horse in the state of Kentucky 1984 x2y3z4 ?"


def test_keys_beside_a_key():
    assert set(_NEAR["g"]) == set("tyfhvb")
    assert set(_NEAR["q"]) == set("wa")
    assert set(_NEAR["m"]) == set("njk")
    assert all(key in _NEAR[other] for key, near in _NEAR.items() for other in near)


@pytest.mark.parametrize("kind", KINDS)
def test_inner_letters_of_longer_words_alone(kind):
    hit = 0
    for position in range(200):
        found = mistyped(SENTENCE, kind, 5, position).split(" ")
        for before, after in zip(SENTENCE.split(" "), found, strict=True):
            if before == after:
                continue
            hit += 1
            assert len(before) >= 4
            assert before.isalpha()
            assert (before[0], before[-1]) == (after[0], after[-1])
            assert edit_of(kind, before, after)
    words = sum(len(w) >= 4 and w.isalpha() for w in SENTENCE.split(" ")) * 200
    # Swapping the letters of "ee" or "ll" changes nothing: 2 of 3 draws for "speed", 1 of 7 for "galloping".
    same = (2 / 3 + 1 / 7) / 7 if kind == "typo_swap" else 0
    assert hit / words == pytest.approx(0.5 * (1 - same), abs=0.04)


def edit_of(kind, before, after):
    if kind == "typo_swap":
        places = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        return len(places) == 2 and places[1] == places[0] + 1 and sorted(before) == sorted(after)
    if kind == "typo_key":
        places = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        return len(places) == 1 and after[places[0]] in _NEAR[before[places[0]].lower()]
    shorter, longer = sorted((before, after), key=len)
    fits = any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))
    return fits and len(longer) == len(shorter) + 1 and (kind == "typo_drop") == (after == shorter)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_a_severity_is_a_share_of_words(severity):
    texts = ["seven seven seven seven seven seven seven seven seven seven"] * 300
    found = mistyped_texts(Split(texts, np.zeros(300)), "typo_drop", severity)
    words = [word for text in found.inputs for word in text.split(" ")]
    assert np.mean([word != "seven" for word in words]) == pytest.approx(severity / 10, abs=0.03)


def test_a_text_is_mistyped_as_its_position_says():
    assert mistyped(SENTENCE, "typo_key", 5, 3) == mistyped(SENTENCE, "typo_key", 5, 3)
    assert len({mistyped(SENTENCE, "typo_key", 5, i) for i in range(20)}) > 10
    first, second = mistyped((SENTENCE, SENTENCE), "typo_add", 5, 0)
    assert first != second, "what is drawn goes on in the second text"


def test_letters_no_keyboard_has_and_capitals():
    assert mistyped("äöüß", "typo_key", 5, 0) == "äöüß"
    for position in range(30):
        found = mistyped("WORDS", "typo_key", 5, position)
        assert found.isupper()


def test_shortest_words_swap():
    seen = {mistyped("abcd", "typo_swap", 5, i) for i in range(40)}
    assert seen == {"abcd", "acbd"}
