"""How often the nested intervals cover, by simulation. docs/measures.md quotes what it prints (-m slow -s)."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from eebench.measure import Candidates, Rule, Split, nested, nested_bootstrap
from tests.measure.worlds import WORLDS, make_world

POPULATION, TRAINED, EXPERIMENTS = 8000, 45, 250
SEED_NOISE = {"none": 0.0, "usual": 0.03, "large": 0.1}  # probits of all exits' accuracy: 0.3 to 1.7 points


def make_pool(name, noise):
    """Many trained models over one population: (plain, correct, cost) of each."""
    shape = replace(WORLDS[name], seeds=noise, knobs=30)
    return [make_world(shape, i, POPULATION, population=1) for i in range(TRAINED)]


def split_of(world, rows):
    right = np.ones(len(rows), int)
    answers = Candidates(world.correct[rows].astype(int), world.cost[rows])
    return Split(right, world.plain[rows].astype(int), 1.0, answers)


def truth(pool, rule, samples, draws, rng):
    """Mean true (score, drop, log speed-up) of what the rule chooses, over draws of validation samples and models."""
    found = []
    for _ in range(draws):
        rows = rng.integers(POPULATION, size=samples)
        for world in pool:
            # The choice itself, by the package: the test split is one sample of every knob's true cost.
            val = split_of(world, rows)
            cost = world.cost.mean(0, dtype=np.float64)
            test = Split([1], [1], 1.0, Candidates(np.ones((1, len(cost)), int), cost))
            speedup = nested_bootstrap([(val, test)], rule, n=2).speedup.estimate
            chosen = np.abs(1 / cost - speedup).argmin()
            found.append([1 - world.drop[chosen], world.drop[chosen], -np.log(cost[chosen])])
    return np.mean(found, 0)


def other_intervals(draws):
    """What else could be made of the same draws (S, 1 + n): the textbook's kinds, over the mean of the seeds."""
    estimate, means = draws[:, 0].mean(), draws[:, 1:].mean(0)
    low, high = np.quantile(means, (0.025, 0.975))
    below = np.clip((means < estimate).mean() + (means == estimate).mean() / 2, 1e-3, 1 - 1e-3)
    corrected = np.quantile(means, stats.norm.cdf(2 * stats.norm.ppf(below) + np.array([-1.96, 1.96])))
    half = 1.96 * means.std(ddof=1)
    seeds = np.random.default_rng(0).integers(len(draws), size=(len(draws), len(means)))
    two_level = np.quantile(draws[:, 1:][seeds, np.arange(len(means))].mean(0), (0.025, 0.975))
    return {
        "percentile": (low, high),
        "basic": (2 * estimate - high, 2 * estimate - low),
        "normal": (estimate - half, estimate + half),
        "bias-corrected": corrected,
        "seeds resampled": two_level,
    }


def coverage(pool, count, samples, rule, pooled, own, monkeypatch):
    """Share of experiments whose intervals of drop and speed-up hold the truth, for every kind of interval."""
    rng, drawn, inside = np.random.default_rng([count, samples]), [], defaultdict(lambda: np.zeros(2))
    ours = nested._interval
    monkeypatch.setattr(nested, "_interval", lambda draws, *rest: drawn.append(draws) or ours(draws, *rest))
    for i in range(EXPERIMENTS):
        seeds = [i % len(own)] if count == 1 else rng.choice(TRAINED, count, replace=False)
        val, test = rng.integers(POPULATION, size=(2, samples))
        drawn.clear()
        found = nested_bootstrap(
            [(split_of(pool[s], val), split_of(pool[s], test)) for s in seeds], rule, n=200, seed=i
        )
        true = own[i % len(own)] if count == 1 else pooled
        ours_at = {1: (found.drop.low, found.drop.high), 2: np.log((found.speedup.low, found.speedup.high))}
        for k, interval in ours_at.items():
            kinds = {"ours": tuple(interval)} | other_intervals(drawn[k])
            for kind, (low, high) in kinds.items():
                inside[kind][k - 1] += low <= true[k] <= high
    monkeypatch.undo()
    return {kind: hits / EXPERIMENTS for kind, hits in inside.items()}


@pytest.mark.slow
def test_nominal_95_covers_95(monkeypatch):
    table = defaultdict(list)  # (seed noise, seeds, kind) -> coverages of drop and speed-up
    for name, noise in (
        ("deep", "none"),
        ("better than plain", "usual"),
        ("six exits", "usual"),
        ("six exits", "large"),
    ):
        pool = make_pool(name, SEED_NOISE[noise])
        for samples, rule in ((500, Rule(drop=0.02)), (1500, Rule(drop=0.02)), (1000, Rule(budget=0.7))):
            rng = np.random.default_rng(7)
            pooled = truth(pool, rule, samples, 25, rng)
            own = [truth([world], rule, samples, 250, rng) for world in pool[:4]]
            for count in (1, 3, 5):
                for kind, share in coverage(pool, count, samples, rule, pooled, own, monkeypatch).items():
                    table["large" if noise == "large" else "usual", count, kind].append(share)
    print("\nseed noise, seeds, kind: coverage of drop and speed-up: mean, lowest, highest")
    for (noise, count, kind), rows in table.items():
        print(noise, count, kind, *(f(rows, 0).round(3).tolist() for f in (np.mean, np.min, np.max)))
    for count in (1, 3, 5):
        ours = table["usual", count, "ours"]
        assert np.mean(ours, 0) == pytest.approx([0.95, 0.95], abs=0.02)
        assert np.min(ours) > 0.93 - 3 * np.sqrt(0.95 * 0.05 / EXPERIMENTS)
        assert np.min(table["large", count, "ours"]) > 0.85
