"""Shards of a plan: every job in one, even by cost, whole seeds where possible, and complete with what they need."""

import random
from types import SimpleNamespace

import pytest

from eebench.errors import UserError
from eebench.runs.how import Execution
from eebench.runs.plan import Job
from eebench.runs.shards import cost_of, own_shard, with_needs


def plan_of(seeds, methods=("a", "b", "c"), search=False):
    plan = []
    for seed in range(seeds):
        base = Job("backbone", "backbone", seed)
        plan.append(base)
        for label in methods:
            needs = (base.key,)
            if search:
                found = f"search {label} seed 0"
                if seed == 0:
                    plan.append(Job("search", label, 0, (base.key,)))
                needs = (base.key, found)
            plan.append(Job("method", label, seed, needs))
    return plan


def even(job):
    return 1.0


def test_as_many_shares_as_seeds_have_a_seed_each():
    plan = plan_of(3)
    for number in (1, 2, 3):
        assert {job.seed for job in own_shard(plan, even, number, 3)} == {number - 1}


def test_shares_by_hand():
    """Costs 4 1 1 2, cut at 4: middles at 2, 4.5, 5.5, 7."""
    plan = plan_of(1)
    cost = dict(zip([job.key for job in plan], (4, 1, 1, 2), strict=True))
    first, second = (own_shard(plan, lambda job: cost[job.key], number, 2) for number in (1, 2))
    assert [job.label for job in first] == ["backbone"]
    assert [job.label for job in second] == ["a", "b", "c"]
    assert with_needs(plan, second) == plan, "whoever has the methods makes their backbone, if nobody else has"
    assert with_needs(plan, first) == first


def test_every_job_is_in_one_share_and_no_share_is_far_from_even():
    rng = random.Random(0)
    for _ in range(200):
        plan = plan_of(rng.randint(1, 5), [f"m{i}" for i in range(rng.randint(1, 6))])
        cost = {job.key: rng.uniform(0.1, 5) for job in plan}
        of = rng.randint(1, 9)
        shards = [own_shard(plan, lambda job, cost=cost: cost[job.key], number, of) for number in range(1, of + 1)]
        assert sorted(job.key for shard in shards for job in shard) == sorted(cost)
        for shard in shards:
            assert abs(sum(cost[job.key] for job in shard) - sum(cost.values()) / of) <= max(cost.values()) + 1e-9


def test_a_search_stays_with_its_method_on_every_seed():
    plan = plan_of(3, search=True)
    homes = {}
    for number in range(1, 5):
        for job in own_shard(plan, even, number, 4):
            if job.kind != "backbone":
                homes.setdefault(job.label, set()).add(number)
    assert all(len(numbers) == 1 for numbers in homes.values())
    shard = [job for job in plan if job.label == "b"]
    assert {job.label for job in with_needs(plan, shard)} == {"b", "backbone"}


def test_more_shares_than_jobs_leave_some_empty():
    plan = plan_of(1, ["a"])
    sizes = [len(own_shard(plan, even, number, 7)) for number in range(1, 8)]
    assert sum(sizes) == 2
    assert max(sizes) == 1


def test_costs_are_passes_over_the_data():
    recipe = SimpleNamespace(epochs=10)
    prepared = SimpleNamespace(
        depth=12,
        spec=SimpleNamespace(search=4),
        backbone=lambda: SimpleNamespace(layouts=[SimpleNamespace(dim=8)]),
        common_recipe=lambda width: recipe,
        method_epochs=lambda: 6,
    )
    cost = cost_of(prepared)
    jobs = [Job("backbone", "x", 0), Job("static", "x", 0, (), 3), Job("static", "x", 0, (), 12)]
    jobs += [Job("search", "x", 0), Job("method", "x", 0)]
    assert [cost(job) for job in jobs] == [10, 4, 6, 24, 6]


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1/0", "a/b", "1", "1/2/3", "-1/2", "1.5/2", "", "1/99999999"])
def test_what_is_no_share_is_one_line(shard):
    with pytest.raises(UserError, match=r"--shard: .* is no shard; use i/n"):
        Execution(shard=shard)


def test_a_share():
    assert Execution(shard="2/4").part == (2, 4)
    assert Execution().part is None
