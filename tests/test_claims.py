"""CLAIMS.md is what the reference records and the cards hold, and its verdicts follow from their tables."""

from types import SimpleNamespace

import pandas as pd
import pytest

from tests.claims_text import CLAIMS, CONTESTS, ORDER, card, claims_text, contest, records, verdict


def test_the_page_is_what_the_records_say():
    assert CLAIMS.read_text(encoding="utf-8") == claims_text()


def test_every_claim_of_these_cards_is_on_the_page():
    text = CLAIMS.read_text(encoding="utf-8")
    for method in ORDER:
        for claim in card(method).get("claims") or []:
            assert f"| {claim['setting']} |" in text
    for run in records():
        assert f"`{run.name}`" in text
    assert all(claim in text for *_, claim in CONTESTS)


def made(difference, p, met=(True, True)):
    """A record of two methods with one pair at half of the MACs."""
    points = pd.DataFrame(
        {"method": ["a", "b"], "kind": "dynamic", "target": "macs_50", "met": [str(flag) for flag in met]}
    )
    pair = {"target": "macs_50", "method_a": "b", "method_b": "a", "difference": difference, "p_holm": p}
    return SimpleNamespace(targets=["drop_1", "macs_50"], points=points, pairs=pd.DataFrame([pair]))


@pytest.mark.parametrize(
    ("difference", "p", "words"),
    [(0.02, 0.01, "does not hold"), (0.02, 0.2, "not told apart"), (-0.02, 0.01, "holds")],
)
def test_a_contest_is_read_from_the_pair_whichever_way_round_it_stands(difference, p, words):
    assert contest(made(difference, p), "a", "b") == [("macs_50", -100 * difference, p, words)]


def test_there_is_no_contest_at_a_budget_that_one_cannot_keep():
    assert contest(made(0.02, 0.01, met=(True, False)), "a", "b") == []


def test_verdicts_join():
    assert verdict([]) == "not measured"
    assert verdict(["not told apart"] * 3) == "not told apart"
    assert verdict(["holds", "not told apart"]) == "holds"
    assert verdict(["holds", "does not hold"]) == "depends on the budget or the task"
