"""Anytime measures against loops and a trace worked out by hand."""

import numpy as np
import pytest

from eebench.measure import (
    conditional_monotonicity,
    hindsight_improvability,
    overthinking,
)

CORRECT = np.array(
    [
        [1, 1, 1],  # right from the first exit
        [0, 1, 1],  # from the second
        [0, 0, 1],  # only at the end
        [0, 1, 0],  # spoiled by the end
        [0, 0, 0],  # never
        [1, 0, 0],  # spoiled early
    ],
    dtype=bool,
)


def test_overthinking_by_hand():
    found = overthinking(CORRECT, [2.0, 5.0, 10.0])
    assert found.destructive == pytest.approx(2 / 3)
    assert found.destructive_of_all == pytest.approx(2 / 6)
    assert found.early_right == pytest.approx(4 / 6)
    assert found.wasteful == pytest.approx(1 - (2 + 5 + 10 + 5 + 10 + 2) / 60)


def test_overthinking_without_mistakes():
    assert overthinking(np.ones((3, 2), bool), [1, 2]).destructive == 0
    alone = overthinking([[True], [False]], [3.0])  # a model without early exits
    assert (alone.destructive, alone.wasteful, alone.early_right) == (0, 0, 0)


def test_hindsight_by_hand():
    # wrong at exit 1: rows 2, 4, 5 (row 5 was right before); wrong at exit 2: rows 3, 4, 5 (3 and 5 were right before)
    np.testing.assert_allclose(hindsight_improvability(CORRECT), [0, 1 / 3, 2 / 3])


def test_overthinking_and_hindsight_equal_loops():
    rng = np.random.default_rng(0)
    correct, costs = rng.random((200, 6)) < 0.6, np.cumsum(rng.random(6) + 0.1)
    improvable = hindsight_improvability(correct)
    for m in range(6):
        wrong = [row for row in correct if not row[m]]
        assert improvable[m] == pytest.approx(np.mean([any(row[:m]) for row in wrong]))
    oracle = [next((c for c, right in zip(costs, row, strict=True) if right), costs[-1]) for row in correct]
    assert overthinking(correct, costs).wasteful == pytest.approx(1 - np.mean(oracle) / costs[-1])
    mistakes = [row for row in correct if not row[-1]]
    assert overthinking(correct, costs).destructive == pytest.approx(np.mean([any(row) for row in mistakes]))
    assert improvable[-1] == pytest.approx(overthinking(correct, costs).destructive)


def test_hindsight_where_nobody_errs():
    assert hindsight_improvability([[False, True], [True, True]]).tolist() == [0, 0]


def test_conditional_monotonicity_equals_all_pairs():
    p = np.random.default_rng(1).random((150, 5))
    got = conditional_monotonicity(p)
    assert list(got) == [0.01, 0.05, 0.1, 0.2, 0.5]
    for drop, share in got.items():
        falls = [any(row[i] - row[j] > drop for i in range(5) for j in range(i + 1, 5)) for row in p]
        assert share == pytest.approx(np.mean(falls))


def test_conditional_monotonicity_by_hand():
    p = [[0.2, 0.5, 0.4], [0.1, 0.1, 0.9], [0.9, 0.1, 0.9]]
    assert conditional_monotonicity(p, drops=(0.05, 0.5, 0.85)) == {0.05: 2 / 3, 0.5: 1 / 3, 0.85: 0}
    assert conditional_monotonicity([[0.4]], drops=(0.0,)) == {0.0: 0}


@pytest.mark.parametrize(
    "call",
    [
        lambda: overthinking(CORRECT, [1.0, 2.0]),
        lambda: overthinking(CORRECT, [0.0, 1.0, 2.0]),
        lambda: overthinking(CORRECT[0], [1.0]),
        lambda: hindsight_improvability(np.zeros((0, 3), bool)),
        lambda: hindsight_improvability([[0.5, 1.0]]),
        lambda: conditional_monotonicity([[1.5, 0.1]]),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call()
