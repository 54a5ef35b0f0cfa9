"""P-values and bounds against scipy.stats, loops, and their promise by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from eebench.measure import binomial_p_value, bounds, hb_p_value, hb_upper_bound, wsr_p_value, wsr_upper_bound


def loop_wealth(losses, risk, delta):
    """The gambler's largest log wealth, loss by loss."""
    n, total, squares, variance, wealth, best = len(losses), 0.5, 0.25, 0.25, 0.0, -math.inf
    for i, x in enumerate(losses, start=1):
        bet = min(math.sqrt(2 * math.log(1 / delta) / (n * variance)), 1)  # variance: of the losses before this one
        wealth += math.log(1 - bet * (x - risk))
        best = max(best, wealth)
        total += x
        squares += (x - total / (1 + i)) ** 2
        variance = squares / (1 + i)
    return best


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 0.6])
def test_binomial_p_value_equals_scipy(epsilon):
    totals = np.arange(0, 101, 5)
    np.testing.assert_allclose(binomial_p_value(totals, 100, epsilon), stats.binom.cdf(totals, 100, epsilon))


@pytest.mark.parametrize("epsilon", [0.02, 0.3])
def test_hb_p_value_equals_its_formula(epsilon):
    n = 50
    for total in (0.0, 0.4, 1.0, 7.3, 15.0, 40.5, 50.0):
        mean = min(total / n, epsilon)
        kl = (mean * math.log(mean / epsilon) if mean else 0) + (1 - mean) * math.log((1 - mean) / (1 - epsilon))
        want = min(math.exp(-n * kl), math.e * stats.binom.cdf(math.ceil(total), n, epsilon), 1)
        assert hb_p_value(total, n, epsilon) == pytest.approx(want)


def test_a_binary_loss_is_tested_more_sharply_by_the_binomial():
    totals = np.arange(0, 10)
    exact, loose = binomial_p_value(totals, 200, 0.05), hb_p_value(totals, 200, 0.05)
    assert exact[0] == pytest.approx(loose[0])  # without a loss both are (1 - epsilon)^n
    assert (exact[1:] < loose[1:]).all()


@pytest.mark.parametrize(("total", "n"), [(0, 50), (3, 50), (49, 50)])
def test_inverted_binomial_is_clopper_pearson(total, n):
    want = stats.beta.ppf(0.9, total + 1, n - total)
    assert bounds.invert(binomial_p_value, total, n, 0.1) == pytest.approx(want, abs=1e-9)


def test_hb_bound_is_where_its_p_value_falls_to_delta():
    losses = np.random.default_rng(0).random(80) * 0.3
    bound = hb_upper_bound(losses, delta=0.05)
    assert losses.mean() < bound < 0.5
    assert hb_p_value(losses.sum(), 80, bound) == pytest.approx(0.05, rel=1e-6)
    assert hb_upper_bound(np.ones(20)) == 1
    assert hb_upper_bound(2 * losses, delta=0.05, bound=2) == pytest.approx(2 * bound)


@pytest.mark.parametrize("kind", ["binary", "signed", "float"])
def test_betting_equals_the_loop(kind):
    rng = np.random.default_rng(1)
    losses = {
        "binary": rng.random(150) < 0.04,
        "signed": rng.choice([-1, 0, 1], p=[0.05, 0.85, 0.1], size=150),
        "float": rng.random(150) * 0.4 - 0.1,
    }[kind]
    p = wsr_p_value(losses, 0.1, delta=0.05)
    assert p == pytest.approx(math.exp(-max(0, loop_wealth(losses.astype(float), 0.1, 0.05))))
    bound = wsr_upper_bound(losses, delta=0.05)
    assert loop_wealth(losses.astype(float), bound, 0.05) == pytest.approx(math.log(1 / 0.05), abs=1e-6)


def test_betting_bound_and_p_value_agree():
    rng = np.random.default_rng(2)
    certified = []
    for rate in np.linspace(0, 0.2, 60):
        losses = (rng.random(120) < rate).astype(int)
        certified.append(wsr_upper_bound(losses, 0.1) <= 0.1)
        assert (wsr_p_value(losses, 0.1, 0.1) <= 0.1) == certified[-1]
    assert 10 < sum(certified) < 50


def test_betting_bound_at_its_ends_and_in_other_units():
    assert wsr_upper_bound(np.ones(30)) == 1
    assert wsr_upper_bound(-np.ones(300)) == 0
    losses = np.random.default_rng(3).random(100)
    assert wsr_upper_bound(2 * losses, bound=2) == pytest.approx(2 * wsr_upper_bound(losses))


@pytest.mark.parametrize("kind", ["binary", "signed", "float"])
def test_upper_bounds_hold_with_the_promised_probability(kind):
    rng, delta, draws = np.random.default_rng(4), 0.1, 600
    missed = {"wsr": 0, "hb": 0}
    for _ in range(draws):
        if kind == "binary":
            losses, mean = (rng.random(100) < 0.07).astype(float), 0.07
        elif kind == "signed":
            losses, mean = rng.choice([-1, 0, 1], p=[0.05, 0.83, 0.12], size=100), 0.07
        else:
            losses, mean = rng.beta(0.5, 4.5, size=100), 0.1
        missed["wsr"] += wsr_upper_bound(losses, delta) < mean
        if kind != "signed":
            missed["hb"] += hb_upper_bound(losses, delta) < mean
    slack = 3 * math.sqrt(delta * (1 - delta) / draws)
    assert missed["wsr"] / draws <= delta + slack
    assert missed["hb"] / draws <= delta + slack


@pytest.mark.parametrize(
    "call",
    [
        lambda: wsr_upper_bound([]),
        lambda: wsr_upper_bound([[0.1]]),
        lambda: wsr_upper_bound([1.5]),
        lambda: wsr_upper_bound([np.nan]),
        lambda: wsr_upper_bound([0.5], delta=0),
        lambda: wsr_p_value([0.5], epsilon=1.0),
        lambda: hb_upper_bound([-0.1]),
        lambda: hb_upper_bound([0.1], bound=0),
    ],
)
def test_bad_input(call):
    with pytest.raises(ValueError, match=r"."):
        call()
