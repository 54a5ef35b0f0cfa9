"""Made-up early-exit models whose true drop, cost and seed noise are known: what statistical promises are tested on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri


@dataclass(frozen=True)
class Shape:
    """What a world is like. Samples have a difficulty all models share; exits and seeds add their own noise."""

    exits: int = 12
    first: float = 0.6  # accuracy of an exit at depth 0
    last: float = 0.9  # accuracy of the last exit
    shared: float = 0.7  # correlation of two models' margins
    noise: float = 0.5  # of the confidences: how badly the rule knows which samples are easy
    lost: float = 0.0  # accuracy of the plain backbone above the last exit's
    seeds: float = 0.0  # standard deviation of the exits' accuracy over seeds, in probits
    knobs: int = 100


@dataclass(frozen=True)
class World:
    """One trained model over a population of M samples."""

    plain: np.ndarray  # (M,) bool
    correct: np.ndarray  # (M, K) bool
    cost: np.ndarray  # (M, K), a share of the plain backbone's
    exits: np.ndarray  # (M, K) where each sample stops

    @property
    def drop(self) -> np.ndarray:
        """(K,) the true drops."""
        return self.plain.mean() - self.correct.mean(0)


WORLDS = {
    "deep": Shape(),
    "good rule": Shape(noise=0.1, shared=0.9),
    "poor rule": Shape(noise=1.0, shared=0.9, lost=0.005),
    "six exits": Shape(exits=6, first=0.7, last=0.95, lost=0.002),
    "better than plain": Shape(first=0.8, last=0.97, shared=0.8, lost=-0.005),
    "worse than plain": Shape(noise=2.0, lost=0.015),
}


def make_world(shape: Shape, seed: int, size: int, population: int = 0) -> World:
    """A model of one training seed; the same ``population`` means the same samples for every seed."""
    rng, people = np.random.default_rng([seed, population, 1]), np.random.default_rng([population, 2])
    hard = people.normal(size=size)
    accuracy = shape.first + (shape.last - shape.first) * np.arange(1, shape.exits + 1) / shape.exits
    own = np.sqrt(1 - shape.shared**2)
    limits = ndtri(accuracy) + shape.seeds * rng.normal() + 0.3 * shape.seeds * rng.normal(size=shape.exits)
    margins = limits - shape.shared * hard[:, None] - own * rng.normal(size=(size, shape.exits))
    # The plain backbone and the last exit have most of their training in common.
    base, together = shape.shared * hard + own * people.normal(size=size), 0.97
    margins[:, -1] = limits[-1] - together * base - np.sqrt(1 - together**2) * rng.normal(size=size)
    right = margins > 0
    confidence = np.abs(margins) + shape.noise * rng.normal(size=margins.shape)
    surest = np.sort(confidence[:20000, :-1].max(1))[::-1]
    limits = np.append(np.inf, surest[np.linspace(0, len(surest) - 1, shape.knobs - 1).astype(int)])
    exits = np.empty((size, shape.knobs), np.int8)
    for k, limit in enumerate(limits):
        stops = confidence >= limit
        stops[:, -1] = True
        exits[:, k] = stops.argmax(1)
    rows = np.arange(size)[:, None]
    cost = ((np.arange(1, shape.exits + 1) / shape.exits).astype(np.float32))[exits]
    return World(ndtri(shape.last + shape.lost) > base, right[rows, exits], cost, exits)


def unrelated(target: float, size: int, knobs: int = 100, seed: int = 0) -> World:
    """The worst case for looking at many knobs: their answers differ from the plain backbone's each on its own samples.

    The drop rises evenly from nothing to twice the target along the knobs.
    """
    rng = np.random.default_rng(seed)
    plain = rng.random(size) < 0.9
    drops = np.linspace(0, 2 * target, knobs)
    spoilt = rng.random((size, knobs)) < (drops + 0.005) / 0.9
    mended = rng.random((size, knobs)) < 0.005 / 0.1
    correct = np.where(plain[:, None], ~spoilt, mended)
    cost = np.broadcast_to(np.linspace(1, 0.2, knobs, dtype=np.float32), (size, knobs))
    return World(plain, correct, cost, np.zeros((size, knobs), np.int8))
