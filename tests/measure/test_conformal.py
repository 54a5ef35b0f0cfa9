"""Conformal sets: hand-computed quantiles, brute force, and the coverage promise by simulation."""

import math

import numpy as np
import pytest

from eebench.measure import conformal_general, conformal_mondrian, conformal_quantile, lac_sets, softmax

SHARPNESS = np.array([6.0, 1.0])  # exit 0 takes easy samples, exit 1 hard ones


def draw(n, rng, classes=5):
    """Calibrated probabilities of easy and hard samples, and where they stopped."""
    exits = (rng.random(n) < 0.4).astype(int)
    p = softmax(rng.normal(size=(n, classes)) * SHARPNESS[exits][:, None])
    return p, (p.cumsum(1) > rng.random((n, 1))).argmax(1), exits


def test_quantile_by_hand():
    scores = [0.5, 0.1, 0.4, 0.2, 0.3, 0.9, 0.8, 0.7, 0.6]
    assert conformal_quantile(scores, 0.1) == 0.9  # rank ceil(10 * .9) = 9
    assert conformal_quantile(np.arange(1, 100), 0.42) == 58  # 100 * (1 - .42) is a little more in floating point
    assert conformal_quantile(scores, 0.5) == 0.5
    assert conformal_quantile(scores, 0.09) == math.inf  # rank 10 of 9
    assert conformal_quantile([], 0.5) == math.inf


@pytest.mark.parametrize("n", [19, 50, 333])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.37])
def test_quantile_equals_numpys_higher(n, alpha):
    scores = np.random.default_rng(n).random(n)
    rank = math.ceil((n + 1) * (1 - alpha) - 1e-9)
    assert conformal_quantile(scores, alpha) == np.quantile(scores, (rank - 1) / (n - 1), method="higher")


def test_sets():
    p = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]])
    assert lac_sets(p, 0.7).tolist() == [[True, False, False], [True, True, False]]
    assert lac_sets(p, [math.inf, 0.1]).tolist() == [[True] * 3, [False] * 3]  # a set may be empty


def test_reports_equal_brute_force():
    rng = np.random.default_rng(0)
    (cp, cy, ce), (p, y, e) = draw(80, rng), draw(300, rng)
    general, mondrian = conformal_general(cp, cy, p, y, e, 0.1), conformal_mondrian(cp, cy, ce, p, y, e, 0.1)

    def one_quantile(rows):
        scores = sorted(1 - cp[i, cy[i]] for i in rows)
        return scores[math.ceil((len(scores) + 1) * 0.9) - 1]

    for report, rows_of in ((general, lambda _: range(80)), (mondrian, lambda k: np.flatnonzero(ce == k))):
        sizes, covered = [], []
        for i in range(300):
            chosen = [c for c in range(5) if 1 - p[i, c] <= one_quantile(rows_of(e[i]))]
            sizes.append(len(chosen))
            covered.append(y[i] in chosen)
        assert report.size == pytest.approx(np.mean(sizes))
        assert report.coverage == pytest.approx(np.mean(covered))
        for k in (0, 1):
            assert report.exits[k].n == (e == k).sum()
            assert report.exits[k].size == pytest.approx(np.mean(np.array(sizes)[e == k]))
            assert report.exits[k].coverage == pytest.approx(np.mean(np.array(covered)[e == k]))
            assert not report.exits[k].fallback
        assert report.fallback_samples == report.fallback_exits == 0
    assert [x.n_calibration for x in general.exits] == [80, 80]
    assert [x.n_calibration for x in mondrian.exits] == [(ce == 0).sum(), (ce == 1).sum()]


def test_coverage_is_kept_over_many_draws():
    """General covers overall but not the hard exit; Mondrian covers each exit. Both within 1/(n+1) of exact."""
    rng, alpha, n = np.random.default_rng(1), 0.2, 60
    general, mondrian = [], []
    for _ in range(300):
        (cp, cy, ce), (p, y, e) = draw(n, rng), draw(400, rng)
        one, each = conformal_general(cp, cy, p, y, e, alpha), conformal_mondrian(cp, cy, ce, p, y, e, alpha)
        general.append([one.coverage, one.exits[1].coverage])
        mondrian.append([x.coverage for x in each.exits])
    (overall, hard), per_exit = np.mean(general, 0), np.mean(mondrian, 0)
    slack = 4 * np.std(mondrian, 0).max() / math.sqrt(300)
    assert 1 - alpha - slack < overall < 1 - alpha + 1 / (n + 1) + slack
    assert hard < 1 - alpha - 0.05
    assert (per_exit > 1 - alpha - slack).all()
    assert (per_exit < 1 - alpha + 1 / 15 + slack).all()  # at least about 15 calibration samples an exit


def test_too_few_samples_name_every_class_or_say_so():
    rng = np.random.default_rng(2)
    (cp, cy, ce), (p, y, e) = draw(200, rng), draw(100, rng)
    ce[:] = 0
    ce[:5] = 1
    full = conformal_mondrian(cp, cy, ce, p, y, e, alpha=0.1)
    assert full.exits[1].quantile == math.inf
    assert full.exits[1].size == 5
    assert full.exits[1].coverage == 1
    assert full.exits[1].fallback
    assert (full.fallback_exits, full.fallback_samples) == (1, (e == 1).sum())
    borrowed = conformal_mondrian(cp, cy, ce, p, y, e, alpha=0.1, fallback="general")
    assert borrowed.exits[1].quantile == conformal_quantile(1 - cp[np.arange(200), cy], 0.1)
    assert borrowed.exits[1].fallback
    assert borrowed.exits[0] == full.exits[0]
    tiny = conformal_general(cp[:5], cy[:5], p, y, e, alpha=0.1)
    assert (tiny.size, tiny.coverage, tiny.fallback_samples) == (5, 1, 100)


def test_an_exit_nobody_tests_and_one_nobody_calibrated():
    rng = np.random.default_rng(3)
    (cp, cy, ce), (p, y, _) = draw(60, rng), draw(40, rng)
    unused = conformal_mondrian(cp, cy, ce + 1, p, y, np.ones(40, int), alpha=0.2)
    assert [x.n for x in unused.exits] == [0, 40, 0]
    assert math.isnan(unused.exits[2].size)
    unseen = conformal_mondrian(cp, cy, ce, p, y, np.full(40, 2), alpha=0.2)
    assert unseen.exits[2].n_calibration == 0
    assert unseen.coverage == 1
    assert unused.fallback_exits == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda p, y: conformal_quantile([0.5], 0),
        lambda p, y: conformal_quantile([0.5, np.nan], 0.1),
        lambda p, y: conformal_general(p, y, p, y, y[:-1]),
        lambda p, y: conformal_general(p, y + 5, p, y, y),
        lambda p, y: conformal_general(p * 3, y, p, y, y),
        lambda p, y: conformal_mondrian(p, y, y[:-1], p, y, y),
        lambda p, y: conformal_mondrian(p, y, y, p, y, y, fallback="guess"),
    ],
)
def test_bad_input(call):
    p, y, _ = draw(30, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"."):
        call(p, y)
