"""Risk control: the choice by hand, and the promise itself by simulation over many calibration draws."""

import math

import numpy as np
import pytest

from eebench.measure import accuracy_gap, hb_upper_bound, risk_control, samples_needed, wsr_upper_bound

EPSILON, DELTA, N, DRAWS = 0.05, 0.1, 300, 1000
SLACK = 3 * math.sqrt(DELTA * (1 - DELTA) / DRAWS)


class World:
    """Losses whose true risk is known. Knob k spoils a share ``spoils[k]`` of samples and mends ``mends[k]``."""

    def __init__(self, spoils, mends=None, scale=None):
        self.spoils = np.array(spoils)
        self.mends = np.zeros(len(spoils)) if mends is None else np.array(mends)
        self.scale = scale  # float losses: a spoiled sample loses a Beta(2, 2) of this instead of 1
        self.risk = self.spoils * (1 if scale is None else scale / 2) - self.mends

    def draw(self, n, rng):
        u = rng.random((n, 1))
        spoiled, mended = u < self.spoils, u > 1 - self.mends
        if self.scale is None:
            return spoiled.astype(np.int8) - mended.astype(np.int8)
        return spoiled * rng.beta(2, 2, size=(n, 1)) * self.scale - mended


# The fourth knob is a hair too risky, after safe ones: the place where a test at level delta errs most often.
EDGE = World([0, 0.005, 0.01, 0.0501, 0.2])
MENDING = World([0, 0.02, 0.05, 0.1001, 0.3], mends=[0, 0.01, 0.04, 0.05, 0.05])
FLOATS = World([0, 0.05, 0.1, 0.2505, 0.6], scale=0.4)
BUMPY = World([0, 0.005, 0.0501, 0.01, 0.2])  # not monotone: a safe knob behind a risky one


def simulate(world, method, shift=0, draws=DRAWS):
    """Chosen knob of each draw, ``shift`` places off."""
    rng = np.random.default_rng(7)
    chosen = [risk_control(world.draw(N, rng), EPSILON, DELTA, method) for _ in range(draws)]
    last = len(world.risk) - 1
    return np.array([min(c.index + shift, last) if c.certified or shift else 0 for c in chosen])


def violations(world, method, shift=0):
    return (world.risk[simulate(world, method, shift)] > EPSILON).mean()


@pytest.mark.parametrize("world", [EDGE, MENDING, FLOATS, BUMPY], ids=["edge", "mending", "floats", "bumpy"])
@pytest.mark.parametrize("method", ["ltt", "ucb"])
def test_the_promise_holds(world, method):
    assert violations(world, method) <= DELTA + SLACK


def test_the_promise_is_not_kept_by_doing_nothing():
    """At the edge ltt errs nearly as often as it may, and it nearly always takes the fastest safe knob."""
    chosen = simulate(EDGE, "ltt")
    assert (EDGE.risk[chosen] > EPSILON).mean() > DELTA / 3
    assert (chosen >= 2).mean() > 0.99
    assert (simulate(EDGE, "ucb") >= 2).mean() > 0.9


@pytest.mark.parametrize("method", ["ltt", "ucb"])
def test_one_knob_too_far_breaks_the_promise(method):
    """What returning the first knob that was not certified would do; so the simulation can tell."""
    assert violations(EDGE, method, shift=1) > 0.9


def test_naive_breaks_the_promise():
    rng = np.random.default_rng(7)
    chosen = [risk_control(EDGE.draw(N, rng), EPSILON, DELTA, "naive").index for _ in range(300)]
    assert (EDGE.risk[chosen] > EPSILON).mean() > 0.3


def test_crc_keeps_the_average_and_not_the_probability():
    world = World([0, 0.01, 0.03, 0.045, 0.06, 0.2])
    chosen = simulate(world, "crc", draws=600)
    assert world.risk[chosen].mean() <= EPSILON
    assert (world.risk[chosen] > EPSILON).mean() > DELTA  # weaker than ltt, as documented


def sums(*totals, n=100):
    return (np.arange(n)[:, None] < np.array(totals)).astype(np.int8)


def test_ltt_by_hand():
    # P(Bin(100, .1) <= 0, 3, 5, 7, 4) = .00003, .0078, .0576, .2061, .0237
    found = risk_control(sums(0, 3, 5, 7, 4), epsilon=0.1, delta=0.1)
    np.testing.assert_allclose(found.p_values, [2.66e-5, 0.00784, 0.0576, 0.2061, 0.0237], rtol=2e-3)
    assert found.index == 2  # the last rejected before the first that is not; the fifth is never reached
    assert found.certified
    assert found.risk == pytest.approx(0.05)
    assert 0.05 < found.bound <= 0.1
    assert found.promise == "at most 0.1 lost, with probability 0.9 over draws of 100 samples"


def test_all_certified_and_none():
    everything = risk_control(sums(0, 1, 2), 0.1)
    assert (everything.index, everything.certified) == (2, True)
    nothing = risk_control(sums(20, 30, 0), 0.1)
    assert (nothing.index, nothing.certified) == (0, False)
    assert "nothing can be certified" in nothing.promise


def test_too_few_samples_certify_nothing_not_even_the_full_model():
    for method in ("ltt", "ucb", "crc"):
        found = risk_control(np.zeros((5, 3), np.int8), 0.01, method=method)
        assert (found.index, found.certified) == (0, False)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.01, 0.1), (0.05, 0.05), (0.2, 0.1), (0.5, 0.5)])
def test_samples_needed_is_the_smallest_n(epsilon, delta):
    n = samples_needed(epsilon, delta)
    assert risk_control(np.zeros((n, 1), np.int8), epsilon, delta).certified
    assert n == 1 or not risk_control(np.zeros((n - 1, 1), np.int8), epsilon, delta).certified


def test_crc_and_naive_by_hand():
    totals = sums(0, 3, 8, 9, 12, 5)
    crc = risk_control(totals, epsilon=0.1, method="crc")  # (total + 1) / 101 <= .1 up to a total of 9
    assert (crc.index, crc.certified) == (3, True)
    assert crc.bound == pytest.approx(10 / 101)
    naive = risk_control(totals, epsilon=0.1, method="naive")
    assert (naive.index, naive.certified) == (5, False)  # the fastest that fits, whatever lies between
    assert math.isnan(naive.bound)
    assert risk_control(sums(50), 0.1, method="naive").index == 0


def test_ucb_is_the_last_before_its_bound_exceeds_epsilon():
    rng = np.random.default_rng(0)
    for _ in range(20):
        losses = World(np.sort(rng.random(8)) * 0.2, mends=np.full(8, 0.02)).draw(200, rng)
        over = [max(wsr_upper_bound(losses[:, k], 0.1), losses[:, k].mean()) > 0.1 for k in range(8)]
        run = over.index(True) if any(over) else 8
        found = risk_control(losses, 0.1, 0.1, "ucb")
        assert (found.index, found.certified) == (max(run - 1, 0), run > 0)
        column = losses[:, found.index]
        assert found.bound == pytest.approx(max(wsr_upper_bound(column, 0.1), column.mean()))


def test_ucb_does_not_certify_what_the_samples_themselves_contradict():
    losses = np.zeros((300, 1), np.int8)
    losses[-40:] = 1  # a gambler who stopped before the last 40 would have been sure
    assert wsr_upper_bound(losses[:, 0]) < 0.02
    found = risk_control(losses, 0.1, method="ucb")
    assert found.p_values[0] < 0.1
    assert not found.certified
    assert found.bound == found.risk == pytest.approx(40 / 300)


def test_the_bound_of_a_certified_knob_is_within_epsilon():
    rng = np.random.default_rng(1)
    for method in ("ltt", "ucb", "crc"):
        for world in (EDGE, MENDING, FLOATS):
            found = risk_control(world.draw(N, rng), EPSILON, DELTA, method)
            assert found.certified
            assert found.risk <= found.bound <= EPSILON + 1e-9


def test_mended_answers_pay_under_ucb_only():
    losses = World([0, 0.1], mends=[0, 0.12]).draw(2000, np.random.default_rng(2))
    assert risk_control(losses, 0.05, method="ltt").index == 0
    assert risk_control(losses, 0.05, method="ucb").index == 1


def test_ltt_promises_the_clipped_loss():
    losses = sums(0, 12)
    losses[-8:, 1] = -1  # mends most of what it spoils: mean .04
    found = risk_control(losses, 0.1, method="ltt")
    assert found.index == 0
    np.testing.assert_array_equal(found.p_values, risk_control(sums(0, 12), 0.1).p_values)


def test_integers_get_the_exact_test_and_floats_hoeffding_bentkus():
    losses = sums(0, 5)
    exact, loose = risk_control(losses, 0.1), risk_control(losses.astype(float), 0.1)
    assert (exact.index, loose.index) == (1, 0)
    assert loose.bound == pytest.approx(hb_upper_bound(losses[:, 0].astype(float)))


@pytest.mark.parametrize("method", ["ltt", "ucb", "crc", "naive"])
def test_other_units_change_nothing(method):
    losses = FLOATS.draw(N, np.random.default_rng(3))
    one, two = risk_control(losses, 0.05, method=method), risk_control(losses * 2, 0.1, method=method, bound=2)
    assert (one.index, one.certified) == (two.index, two.certified)
    assert two.risk == pytest.approx(2 * one.risk)
    assert two.bound == pytest.approx(2 * one.bound, nan_ok=True)


def test_accuracy_gap():
    correct, full = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], bool), np.array([1, 0, 1, 0], bool)
    gap = accuracy_gap(correct, full)
    assert gap.tolist() == [[0, 1], [0, -1], [0, 0], [0, 0]]
    np.testing.assert_allclose(gap.mean(0), full.mean() - correct.mean(0))


@pytest.mark.parametrize(
    "call",
    [
        lambda: risk_control([0, 1], 0.1),
        lambda: risk_control(np.zeros((0, 3)), 0.1),
        lambda: risk_control([[1.2]], 0.1),
        lambda: risk_control([[np.nan]], 0.1),
        lambda: risk_control([[0]], 0.0),
        lambda: risk_control([[0]], 1.0),
        lambda: risk_control([[0]], 0.1, delta=1.0),
        lambda: risk_control([[0]], 0.1, method="magic"),
        lambda: accuracy_gap([[True]], [True, False]),
        lambda: samples_needed(0),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call()
