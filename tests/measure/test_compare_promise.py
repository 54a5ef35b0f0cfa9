"""How often methods that are alike are called different, by simulation. docs/measures.md quotes it (-m slow -s)."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from eebench.measure import compare_all, compare_two, critical_difference, tiers
from tests.measure.worlds import WORLDS, make_world

POPULATION, TRAINED, EXPERIMENTS = 8000, 60, 400


def models(noise, worse=0.0):
    """(P, M) bool: many seeds of one method over one population, at one knob that stops early."""
    deep = WORLDS["deep"]
    shape = replace(deep, seeds=noise, knobs=4, first=deep.first - worse, last=deep.last - worse)
    return np.stack([make_world(shape, i, POPULATION, population=1).correct[:, 3] for i in range(TRAINED)])


@pytest.mark.slow
def test_two_methods_that_are_alike_are_called_different_in_5_of_100():
    """All seeds come from one method, so that both are alike over seeds, whatever these seeds do."""
    print("\nseed noise (probits), samples, seeds: share called different at 5 %")
    shares = []
    for noise in (0.0, 0.03, 0.1):
        pool, rng = models(noise), np.random.default_rng(1)
        for samples in (200, 1000):
            for seeds in (1, 2, 3, 5):
                called = 0
                for _ in range(EXPERIMENTS):
                    of, rows = rng.choice(TRAINED, 2 * seeds, replace=False), rng.integers(POPULATION, size=samples)
                    called += compare_two(pool[of[:seeds]][:, rows], pool[of[seeds:]][:, rows]).p <= 0.05
                print(noise, samples, seeds, called / EXPERIMENTS)
                if seeds > 1:  # one seed answers another question: whether these two models differ
                    shares.append(called / EXPERIMENTS)
    print("mean", np.mean(shares), "highest", max(shares))
    assert np.mean(shares) <= 0.05
    assert max(shares) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / EXPERIMENTS)


@pytest.mark.slow
def test_eight_methods_that_are_alike_share_a_tier():
    print("\nseed noise, seeds: share with any of 28 pairs called different after Holm; of pairs before it")
    for noises in ([0.0] * 8, [0.03] * 8, [0.1] * 2 + [0.02] * 6):
        pools = {noise: models(noise) for noise in set(noises)}
        rng = np.random.default_rng(2)
        for seeds in (2, 3, 5):
            any_called, pairs_called, one_tier = 0, 0.0, 0
            for _ in range(EXPERIMENTS // 2):
                rows, left = rng.integers(POPULATION, size=1000), {n: list(rng.permutation(TRAINED)) for n in pools}
                values = [pools[noise][[left[noise].pop() for _ in range(seeds)]][:, rows] for noise in noises]
                pairs, corrected = compare_all(values)
                any_called += (corrected <= 0.05).any()
                pairs_called += np.mean([pairs[i][j].p <= 0.05 for i in range(8) for j in range(i)])
                one_tier += tiers([v.mean() for v in values], corrected).max() == 1
            share = any_called / (EXPERIMENTS // 2)
            print(noises, seeds, share, round(pairs_called / (EXPERIMENTS // 2), 3), one_tier / (EXPERIMENTS // 2))
            assert share <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / (EXPERIMENTS // 2))


@pytest.mark.slow
def test_what_can_be_seen():
    """How often a method that loses so many points is told from each of seven others, three and five seeds."""
    print("\npoints worse, seeds: share of pairs called different after Holm, pooled over methods; two by two")
    found = {}
    for worse in (0.02, 0.04):
        pools, rng = (models(0.03), models(0.03, worse)), np.random.default_rng(3)
        lost = pools[0].mean() - pools[1].mean()
        for seeds in (3, 5):
            pooled, alone = [], []
            for _ in range(EXPERIMENTS // 4):
                rows, order = rng.integers(POPULATION, size=1000), rng.permutation(TRAINED)
                values = [pools[0][order[m * seeds : (m + 1) * seeds]][:, rows] for m in range(7)]
                values.append(pools[1][rng.choice(TRAINED, seeds, replace=False)][:, rows])
                pooled.append((compare_all(values)[1][7, :7] <= 0.05).mean())
                alone.append(compare_two(values[0], values[7]).p <= 0.05 / 28)
            found[worse, seeds] = np.mean(pooled), np.mean(alone)
            print(round(lost, 4), seeds, *np.round(found[worse, seeds], 3))
    assert found[0.04, 5][0] > 0.5
    assert found[0.04, 3][0] > 4 * found[0.04, 3][1]  # what pooling buys with three seeds


@pytest.mark.slow
def test_ranks_over_data_sets():
    rng = np.random.default_rng(4)
    for blocks in (3, 5, 10, 20):
        called = 0
        for _ in range(2000):
            found = critical_difference(rng.normal(size=(blocks, 6)))
            called += np.ptp(found.ranks) > found.difference
        print(f"\n{blocks} data sets: {called / 2000} of all-alike tables have a pair beyond the critical difference")
        assert stats.binom.sf(called - 1, 2000, 0.055) > 1e-3
