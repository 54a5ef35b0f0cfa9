"""The simulation of nodes, against cases worked out by hand."""

import itertools

import numpy as np
import pytest

from benchmarks.nodes import Task, measured, reading_time, simulate, study


def dying(*times):
    """The first node dies at these ages, the others never."""
    return lambda node: itertools.chain(times if node == 0 else (), itertools.repeat(np.inf))


CHAIN = [Task(10), Task(5, (0,)), Task(7, (1,))]
FAN = [Task(10), Task(5, (0,)), Task(5, (0,)), Task(6, (0,))]
TWICE = [*FAN, *(Task(task.seconds, tuple(need + 4 for need in task.needs)) for task in FAN)]


@pytest.mark.parametrize(
    ("plan", "nodes", "seconds"),
    [
        (CHAIN, 1, 22),
        (CHAIN, 5, 22),
        (FAN, 1, 26),
        (FAN, 2, 21),  # 10, then 5 and 5, then 6
        (FAN, 3, 16),
        (
            [*FAN, *(Task(t.seconds, tuple(n + 4 for n in t.needs)) for t in FAN)],
            2,
            27,
        ),  # until 10, 15, 20 and 21, 25 and 27
    ],
)
def test_without_deaths(plan, nodes, seconds):
    assert simulate(plan, nodes) == seconds


def test_a_death_takes_a_cell_back_to_its_checkpoint_and_the_others_wait():
    """Dead at 50 with 40 of 100 saved, free at 170: 60 more."""
    how = {"every": 20, "patience": 120}
    assert simulate([Task(100)], 2, dying(50), **how) == 230
    assert simulate([Task(100)], 1, dying(50), away=30, **how) == 230
    assert simulate([Task(100)], 1, dying(50), away=200, **how) == 310
    assert simulate([Task(100, alone=True)], 2, dying(50), **how) == 270


def test_a_node_dies_again_and_one_without_work_takes_nothing_along():
    """Dead at 50 with 40 saved, back and free at 60; dead at 90 with 20 more saved; 40 more from 100 on."""
    assert simulate([Task(100)], 1, dying(50, 30), away=10, patience=10, every=20) == 140
    assert simulate([Task(10), Task(10, (0,))], 2, lambda node: iter([5.0, *[np.inf] * 9] if node else [np.inf])) == 20


def test_the_study_is_a_thousand_cells_with_times_as_measured():
    times = measured()
    assert all(times.values())
    plan = study(times, 0.1, np.random.default_rng(0))
    assert sum(not task.alone for task in plan) == 1000
    known = {value for values in times.values() for value in values}
    assert all(task.seconds in known for task in plan if not task.alone)
    assert 0 < reading_time() < 60
    assert all(need < place for place, task in enumerate(plan) for need in task.needs)


def test_more_nodes_are_faster_and_never_faster_than_the_work_allows():
    plan = study({"backbone": [3.0], "static": [1.0], "method": [2.0]}, 0.1, np.random.default_rng(0), 2, 2)
    work = sum(task.seconds for task in plan)
    spans = [simulate(plan, nodes) for nodes in (1, 2, 8, 64)]
    assert spans[0] == pytest.approx(work)
    assert spans == sorted(spans, reverse=True)
    assert all(span >= work / nodes for span, nodes in zip(spans, (1, 2, 8, 64), strict=True))
