"""JEI-DNN's exit rule: by hand, against its definition, at its extremes, and a grid without holes."""

import math

import numpy as np
import pytest
from scipy import special

from eebench.measure.replay import replay as engine_replay
from eebench.testing import replay
from eebench_methods.jei_dnn.gates import GateBias, turning_biases

GATES = [  # of three exits before the last, at bias 0
    [0.6, 0.1, 0.1],  # 0.6 >= 1/2
    [0.4, 0.35, 0.1],  # 0.35 < 1/2, but 0.35 >= 1/2 · (1 - 0.4)
    [0.1, 0.2, 0.4],  # 0.2 < 1/2 · 0.9, 0.4 >= 1/2 · 0.7
    [0.1, 0.1, 0.1],  # 0.1 < 1/2 · 0.8
]
GOLDEN = {  # bias: where each sample stops, 3 being the last exit
    -1e6: [3, 3, 3, 3],
    # odds 3/2, 1/9; 2/3, 7/13, 1/9; 1/9, 1/4, 2/3; 1/9 divided by 9: none of the gates above 1/7, all sums below 1
    -math.log(9): [3, 3, 3, 3],
    0.0: [0, 1, 2, 3],
    # odds times 4: gates 6/7; 8/11; 4/13 (twice that is below 1) and 1/2 (1 + 4/13); 4/13 thrice (8/13, 12/13, 16/13)
    math.log(4): [0, 0, 1, 2],
    math.log(10): [0, 0, 0, 0],  # odds 1/9 become 10/9, a gate above 1/2
    1e6: [0, 0, 0, 0],
}


@pytest.mark.parametrize(("bias", "where"), GOLDEN.items())
def test_golden_trace(bias, where):
    assert replay(GateBias(), {"logit": special.logit(np.array(GATES, dtype=np.float32))}, bias).tolist() == where


def probabilities_by_definition(gates):
    """p_l = max(0, min(g_l, 1 - sum_{j<l} g_j)), in double precision."""
    p = []
    for place, gate in enumerate(gates):
        p.append(max(0.0, min(gate, 1 - sum(gates[:place]))))
    return p


def stop_by_definition(logits, bias):
    """g = 1 / (1 + exp(-s - b)), a_l = clip(p_l / prod_{j<l} (1 - a_j), 0, 1); the first exit with a_l >= 1/2."""
    product = 1.0
    for place, p in enumerate(probabilities_by_definition([1 / (1 + math.exp(-s - bias)) for s in logits])):
        a = min(1.0, max(0.0, p / product))
        if a >= 0.5:
            return place
        product *= 1 - a
    return len(logits)


@pytest.mark.parametrize("bias", [-2.0, -0.5, 0.0, 0.5, 2.0])
def test_rule_is_its_definition(bias):
    logits = np.random.default_rng(0).normal(-1.5, 2, (500, 7)).astype(np.float32)
    expected = [stop_by_definition(row.tolist(), bias) for row in logits]
    assert len(set(expected)) > 2
    assert replay(GateBias(), {"logit": logits}, bias).tolist() == expected


def test_a_gate_that_float32_calls_certain_can_be_held_back():
    logits = np.array([[30.0, 90.0, -90.0], [1e5, 1e5, 1e5], [-1e5, 40.0, 0.0]], dtype=np.float32)
    assert (1 / (1 + np.exp(-logits[:2, 0])) == 1).all()
    where = {bias: replay(GateBias(), {"logit": logits}, bias).tolist() for bias in (-1e6, -60.0, -95.0, 0.0, 1e6)}
    assert where == {-1e6: [3, 3, 3], -60.0: [1, 0, 3], -95.0: [3, 0, 3], 0.0: [0, 0, 1], 1e6: [0, 0, 0]}


def test_never_and_always_hold_whatever_the_gates_say():
    logits = np.random.default_rng(1).normal(0, 1e4, (200, 11)).astype(np.float32)
    rule = GateBias()
    assert (replay(rule, {"logit": logits}, rule.knob.never) == 11).all()
    assert (replay(rule, {"logit": logits}, rule.knob.always) == 0).all()


RANDOM_GATES = {  # mean and spread of the log-odds, gates a sample
    "mostly shut": (-4.0, 2.0, 11),
    "even": (0.0, 1.0, 11),
    "mostly open": (3.0, 3.0, 11),
    "certain in float32": (40.0, 20.0, 5),
    "nearly alike": (-1.0, 0.01, 23),
}


def random_logits(kind, samples=300):
    mean, spread, gates = RANDOM_GATES[kind]
    return np.random.default_rng(2).normal(mean, spread, (samples, gates)).astype(np.float32)


@pytest.mark.parametrize("kind", RANDOM_GATES)
def test_turning_biases_are_where_samples_turn(kind):
    logits = random_logits(kind, 40)
    turning = turning_biases(logits)
    assert (np.diff(turning, axis=1) <= 0).all()
    for sample, row in enumerate(logits):
        for place in range(logits.shape[1]):
            for side in (-1e-6, 1e-6):
                where = stop_by_definition(row.tolist(), turning[sample, place] + side)
                assert (where <= place) == (side > 0)


@pytest.mark.parametrize("kind", RANDOM_GATES)
def test_mean_exit_falls_smoothly_over_the_grid(kind):
    seen, rule = {"logit": random_logits(kind)}, GateBias()
    grid = rule.grid(seen)
    assert {-1e6, 0.0, 1e6} <= set(grid)
    assert grid == sorted(grid)
    means = np.array([engine_replay(rule, seen, bias).mean() for bias in grid])
    gates = seen["logit"].shape[1]
    assert (means[0], means[-1]) == (gates, 0)
    steps = -np.diff(means)
    assert (steps >= 0).all(), "a larger bias stops earlier"
    assert steps.max() < gates / 20, "no hole: from a trained set of gates every mean exit can be had"
